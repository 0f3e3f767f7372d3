"""Joins the endpoints of ECS's running tasks with Consul's instances, to find ghosts and unregistered tasks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..consul.catalog import Instance
from ..targets.client_errors import items_of
from .batching import DESCRIBE_TASKS_MAX, in_chunks


@dataclass(frozen=True)
class Endpoint:
    """A running task of a service: its container instance (a node in Consul) and its host ports."""

    task: str
    service: str
    node: str
    ports: frozenset[int]


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
    return [_endpoint(task, nodes) for task in running if task.get("group", "").startswith("service:")]


def by_service(endpoints: Iterable[Endpoint]) -> Mapping[str, list[Endpoint]]:
    """The endpoints of each service."""
    grouped: defaultdict[str, list[Endpoint]] = defaultdict(list)
    for endpoint in endpoints:
        grouped[endpoint.service].append(endpoint)
    return grouped


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


def _endpoint(task: Mapping[str, Any], nodes: Mapping[str, str]) -> Endpoint:
    bindings = [b for container in task["containers"] for b in container.get("networkBindings") or ()]
    return Endpoint(
        task=task["taskArn"].rpartition("/")[2],
        service=task["group"].partition(":")[2],
        node=nodes.get(task["containerInstanceArn"], ""),
        ports=frozenset(binding["hostPort"] for binding in bindings if "hostPort" in binding),
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
