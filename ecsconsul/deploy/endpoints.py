"""Where ECS's running tasks listen; joined with Consul's instances, that tells ghosts and the missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..consul.catalog import Instance

# of DescribeTasks and DescribeContainerInstances
AT_ONCE = 100


@dataclass(frozen=True)
class Endpoint:
    """A running task of a service: the ports that it has on its instance, which is a node in Consul."""

    task: str
    service: str
    node: str
    ports: frozenset[int]


def endpoints_of(ecs: Any, cluster: str) -> list[Endpoint]:
    """Those of all running tasks of services: three requests for each hundred tasks, whatever their services."""
    try:
        pages = ecs.get_paginator("list_tasks").paginate(cluster=cluster, desiredStatus="RUNNING")
        arns = [arn for page in pages for arn in page["taskArns"]]
    except ecs.exceptions.ClusterNotFoundException:
        return []
    tasks = [task for some in _groups(arns) for task in ecs.describe_tasks(cluster=cluster, tasks=some)["tasks"]]
    running = [task for task in tasks if task["lastStatus"] == "RUNNING" and task.get("containerInstanceArn")]
    nodes = _nodes(ecs, cluster, {task["containerInstanceArn"] for task in running})
    return [_endpoint(task, nodes) for task in running if task.get("group", "").startswith("service:")]


def ghosts_and_missing(
    instances: Sequence[Instance], endpoints: Iterable[Endpoint]
) -> tuple[list[str], list[str]] | tuple[None, None]:
    """The ids of instances without a task, and of tasks without an instance; None where the two cannot be joined.

    They can when Consul's nodes bear the ids of EC2's instances, which one common node shows.
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
    """Container instance -> EC2 instance."""
    found = [
        instance
        for some in _groups(sorted(arns))
        for instance in ecs.describe_container_instances(cluster=cluster, containerInstances=some)["containerInstances"]
    ]
    return {instance["containerInstanceArn"]: instance.get("ec2InstanceId", "") for instance in found}


def _groups(arns: Sequence[str]) -> Iterable[Sequence[str]]:
    return (arns[start : start + AT_ONCE] for start in range(0, len(arns), AT_ONCE))
