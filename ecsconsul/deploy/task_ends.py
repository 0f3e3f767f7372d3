"""Which tasks of a service run, and how the others ended, as far as ECS still knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..targets.client_errors import items_of
from .batching import DESCRIBE_TASKS_MAX, in_chunks

ID_DIGITS = 8


@dataclass(frozen=True)
class TaskEnd:
    """How a task ended, in a few words, and when (seconds since the epoch); None if ECS has forgotten it."""

    at: float | None
    why: str


@dataclass(frozen=True)
class ServiceTasks:
    """The tasks of one service, by the first eight digits of their IDs."""

    running: frozenset[str]
    ended: Mapping[str, TaskEnd]

    def end_of(self, task: str) -> TaskEnd | None:
        """How a task ended; None if it hasn't."""
        return None if task in self.running else self.ended.get(task, TaskEnd(None, ""))


def running_tasks(ecs: Any, cluster: str, service: str) -> frozenset[str]:
    """The tasks of a service that run or start."""
    return frozenset(map(_short, _arns(ecs, cluster, service, "RUNNING")))


def tasks_of(ecs: Any, cluster: str, service: str) -> ServiceTasks:
    """The tasks of a service: two requests, and one for each hundred stopped tasks, which ECS lists for an hour."""
    running = running_tasks(ecs, cluster, service)
    return ServiceTasks(running, ends_of(ecs, cluster, _arns(ecs, cluster, service, "STOPPED")))


def ends_of(ecs: Any, cluster: str, arns: Iterable[str]) -> dict[str, TaskEnd]:
    """How these tasks ended."""
    chunks = in_chunks(list(arns), DESCRIBE_TASKS_MAX)
    tasks = [task for chunk in chunks for task in ecs.describe_tasks(cluster=cluster, tasks=chunk)["tasks"]]
    return {_short(task["taskArn"]): _end(task) for task in tasks}


def _arns(ecs: Any, cluster: str, service: str, status: str) -> list[str]:
    try:
        return items_of(ecs, "list_tasks", "taskArns", cluster=cluster, serviceName=service, desiredStatus=status)
    except (ecs.exceptions.ClusterNotFoundException, ecs.exceptions.ServiceNotFoundException):
        return []


def _end(task: Mapping[str, Any]) -> TaskEnd:
    at = task.get("stoppedAt") or task.get("stoppingAt")
    codes = [f"{c['name']} exited with code {c['exitCode']}" for c in task["containers"] if "exitCode" in c]
    return TaskEnd(at.timestamp() if at else None, ", ".join([task.get("stoppedReason") or "stopped", *codes]))


def _short(arn: str) -> str:
    return arn.rpartition("/")[2][:ID_DIGITS]
