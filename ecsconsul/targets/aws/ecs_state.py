"""Reads the tasks and services of a lab from ECS, which has no call that waits for a change.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from ...errors import LabError
from ...observe.states import Container, EcsState, Service, ServiceEvent, Task
from ..client_errors import client_error, items_of

# DescribeServices takes ten, DescribeTasks and DescribeContainerInstances a hundred
SERVICES_MAX, TASKS_MAX = 10, 100
# A lab of any size asks for at most some ten pages a second, of which ECS sustains twice as many:
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html
LEAST_SECONDS, SECONDS_PER_TASK = 3.0, 0.01
MOST_EVENTS = 20


def ecs_state(ecs: Any, cluster: str, since: int) -> tuple[EcsState, float]:
    """The state, and the seconds until the next question. Its version changes with its content. Raises LabError."""
    from botocore.exceptions import BotoCoreError

    try:
        tasks, services = _tasks(ecs, cluster), _services(ecs, cluster)
    except (client_error(), BotoCoreError) as error:
        raise LabError("ECS does not answer", where=f"cluster {cluster}", why=str(error)) from error
    version = zlib.crc32(msgspec.json.encode((tasks, services)))
    return EcsState(version, tasks, services), max(LEAST_SECONDS, SECONDS_PER_TASK * len(tasks))


def _tasks(ecs: Any, cluster: str) -> tuple[Task, ...]:
    arns = [
        arn
        for status in ("RUNNING", "STOPPED")
        for arn in items_of(ecs, "list_tasks", "taskArns", cluster=cluster, desiredStatus=status)
    ]
    described = [
        task for chunk in _chunks(arns, TASKS_MAX) for task in ecs.describe_tasks(cluster=cluster, tasks=chunk)["tasks"]
    ]
    nodes = _nodes(
        ecs, cluster, {task["containerInstanceArn"] for task in described if task.get("containerInstanceArn")}
    )
    return tuple(sorted((_task(task, nodes) for task in described), key=lambda task: (task.created, task.id)))


def _nodes(ecs: Any, cluster: str, arns: Iterable[str]) -> dict[str, str]:
    found = (
        instance
        for chunk in _chunks(sorted(arns), TASKS_MAX)
        for instance in ecs.describe_container_instances(cluster=cluster, containerInstances=chunk)[
            "containerInstances"
        ]
    )
    return {one["containerInstanceArn"]: one.get("ec2InstanceId", "") for one in found}


def _task(task: Mapping[str, Any], nodes: Mapping[str, str]) -> Task:
    kind, _, name = task.get("group", "").partition(":")
    return Task(
        id=_last(task["taskArn"]),
        service=name if kind == "service" else "",
        node=nodes.get(task.get("containerInstanceArn", ""), ""),
        status=task["lastStatus"],
        desired=task["desiredStatus"],
        revision=_last(task["taskDefinitionArn"]),
        containers=tuple(map(_container, task.get("containers") or ())),
        created=_time(task.get("createdAt")) or 0.0,
        started=_time(task.get("startedAt")),
        stopping=_time(task.get("stoppingAt")),
        stopped=_time(task.get("stoppedAt")),
        stop_code=task.get("stopCode", ""),
        reason=task.get("stoppedReason", ""),
    )


def _container(one: Mapping[str, Any]) -> Container:
    return Container(
        name=one["name"],
        status=one.get("lastStatus", ""),
        ports=tuple(binding["hostPort"] for binding in one.get("networkBindings") or () if "hostPort" in binding),
        exit_code=one.get("exitCode"),
        reason=one.get("reason", ""),
        runtime_id=one.get("runtimeId", ""),
        cpu=int(one.get("cpu") or 0),
        memory=int(one.get("memory") or 0),
    )


def _services(ecs: Any, cluster: str) -> tuple[Service, ...]:
    arns = items_of(ecs, "list_services", "serviceArns", cluster=cluster)
    described = (
        service
        for chunk in _chunks(sorted(arns), SERVICES_MAX)
        for service in ecs.describe_services(cluster=cluster, services=chunk)["services"]
    )
    return tuple(_service(one) for one in described if one["status"] != "INACTIVE")


def _service(one: Mapping[str, Any]) -> Service:
    primary: Mapping[str, Any] = next((d for d in one.get("deployments") or () if d["status"] == "PRIMARY"), {})
    events = [ServiceEvent(e["id"], _time(e["createdAt"]) or 0.0, e["message"]) for e in one.get("events") or ()]
    return Service(
        name=one["serviceName"],
        desired=one["desiredCount"],
        running=one["runningCount"],
        pending=one.get("pendingCount", 0),
        revision=_last(one["taskDefinition"]),
        rollout=primary.get("rolloutState", ""),
        events=tuple(events[:MOST_EVENTS]),
    )


def _chunks(items: list[str], size: int) -> Iterator[list[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _last(arn: str) -> str:
    return arn.rpartition("/")[2]


def _time(when: datetime | None) -> float | None:
    return when.timestamp() if when else None
