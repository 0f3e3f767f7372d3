"""Joins the endpoints of ECS's running tasks with Consul's instances, to find ghosts and unregistered tasks.

Tasks that belong to no service, such as those of RunTask, are standalone: what Consul knows of them isn't a service's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..consul.catalog import Instance
from ..targets.client_errors import items_of
from .batching import DESCRIBE_TASKS_MAX, in_chunks

SERVICE_GROUP = "service:"


@dataclass(frozen=True)
class Endpoint:
    """A running task: its container instance (a node in Consul) and its host ports.

    `service` is empty for a standalone task; `definition` is its FAMILY:REVISION.
    `notes` are ECS's reasons of its running containers, such as where a program listens instead of at its host port.
    """

    task: str
    service: str
    node: str
    ports: frozenset[int]
    definition: str = field(default="", compare=False)
    group: str = field(default="", compare=False)
    started_by: str = field(default="", compare=False)
    notes: tuple[str, ...] = ()

    def has(self, instance: Instance) -> bool:
        """Whether an instance in Consul is one of the task's ports."""
        return instance.node == self.node and instance.port in self.ports


def endpoints_of(ecs: Any, cluster: str) -> list[Endpoint]:
    """The endpoints of all running tasks: three requests for each hundred tasks, however many services they have."""
    try:
        arns = items_of(ecs, "list_tasks", "taskArns", cluster=cluster, desiredStatus="RUNNING")
    except ecs.exceptions.ClusterNotFoundException:
        return []
    chunks = in_chunks(arns, DESCRIBE_TASKS_MAX)
    tasks = [task for chunk in chunks for task in ecs.describe_tasks(cluster=cluster, tasks=chunk)["tasks"]]
    running = [task for task in tasks if task["lastStatus"] == "RUNNING" and task.get("containerInstanceArn")]
    nodes = _nodes(ecs, cluster, {task["containerInstanceArn"] for task in running})
    return [_endpoint(task, nodes) for task in running]


def by_service(endpoints: Iterable[Endpoint]) -> Mapping[str, list[Endpoint]]:
    """The endpoints of each service, without those of standalone tasks."""
    grouped: defaultdict[str, list[Endpoint]] = defaultdict(list)
    for endpoint in endpoints:
        if endpoint.service:
            grouped[endpoint.service].append(endpoint)
    return grouped


def standalone(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """The tasks that belong to no service."""
    return [endpoint for endpoint in endpoints if not endpoint.service]


def without(catalog: Mapping[str, Sequence[Instance]], tasks: Sequence[Endpoint]) -> Mapping[str, Sequence[Instance]]:
    """Consul's catalog without the instances of these tasks."""
    if not tasks:
        return catalog
    return {
        name: [instance for instance in instances if not any(task.has(instance) for task in tasks)]
        for name, instances in catalog.items()
    }


def ghosts_and_missing(
    instances: Sequence[Instance], endpoints: Iterable[Endpoint]
) -> tuple[list[str], list[str]] | tuple[None, None]:
    """The ids of instances without a task, and of tasks without an instance; None where the two can't be joined.

    They can be joined when Consul's nodes are named after EC2's instances, which one node in common proves.
    """
    tasks = list(endpoints)
    if not {task.node for task in tasks} & {instance.node for instance in instances}:
        return (None, None) if tasks and instances else ([i.id for i in instances], [task.task for task in tasks])
    listening = {(task.node, port) for task in tasks for port in task.ports}
    registered = {(instance.node, instance.port) for instance in instances}
    ghosts = [instance.id for instance in instances if (instance.node, instance.port) not in listening]
    missing = [task.task for task in tasks if registered.isdisjoint((task.node, port) for port in task.ports)]
    return ghosts, missing


def notes_of(endpoints: Iterable[Endpoint]) -> list[dict[str, str]]:
    """The notes of the tasks, as documents show them."""
    notes = ((one, text) for one in endpoints for text in one.notes)
    return [{"service": one.service or one.group, "task": one.task[:8], "text": text} for one, text in notes]


def _endpoint(task: Mapping[str, Any], nodes: Mapping[str, str]) -> Endpoint:
    bindings = [b for container in task["containers"] for b in container.get("networkBindings") or ()]
    group = task.get("group", "")
    return Endpoint(
        task=task["taskArn"].rpartition("/")[2],
        service=group.removeprefix(SERVICE_GROUP) if group.startswith(SERVICE_GROUP) else "",
        node=nodes.get(task["containerInstanceArn"], ""),
        ports=frozenset(binding["hostPort"] for binding in bindings if "hostPort" in binding),
        definition=task.get("taskDefinitionArn", "").rpartition("/")[2],
        group=group,
        started_by=task.get("startedBy", ""),
        notes=tuple(c["reason"] for c in task["containers"] if c.get("reason") and c.get("lastStatus") == "RUNNING"),
    )


def _nodes(ecs: Any, cluster: str, arns: Iterable[str]) -> dict[str, str]:
    """The EC2 instance of each container instance."""
    described = [
        instance
        for chunk in in_chunks(sorted(arns), DESCRIBE_TASKS_MAX)
        for instance in ecs.describe_container_instances(cluster=cluster, containerInstances=chunk)[
            "containerInstances"
        ]
    ]
    return {instance["containerInstanceArn"]: instance.get("ec2InstanceId", "") for instance in described}
