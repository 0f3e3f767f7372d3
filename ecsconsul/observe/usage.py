"""What containers use of CPU and memory, beside their limits. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from .states import RUNNING, Container, Task

# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html
UNITS_PER_CPU = 1024
MIB = 1024 * 1024


class Used(msgspec.Struct, frozen=True):
    """What one container uses: `cpu` in CPUs (1.0 is one core all the time), `memory` in bytes."""

    cpu: float
    memory: int


class Usage(msgspec.Struct, frozen=True):
    """One container of a task with what it uses; None if it has gone meanwhile."""

    task: Task
    container: Container
    used: Used | None


def running_containers(tasks: Iterable[Task], service: str | None = None) -> list[tuple[Task, Container]]:
    """The running containers of all tasks or of one service's, by service and task."""
    chosen = sorted((t for t in tasks if service in (None, t.service)), key=lambda task: (task.service, task.created))
    return [(task, one) for task in chosen for one in task.containers if one.status == RUNNING and one.runtime_id]


def cpu_of(before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
    """The CPUs that a container used between two samples of Docker's `cpu_stats`; 0.0 if they tell nothing.

    As `docker stats` computes it: https://docs.docker.com/reference/api/engine/version/v1.43/#tag/Container/operation/ContainerStats
    """
    own = after["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    system = after.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    return float(own / system * after.get("online_cpus", 1)) if system > 0 and own > 0 else 0.0


def memory_of(stats: Mapping[str, Any]) -> int:
    """The bytes of Docker's `memory_stats` without the page cache that can be dropped, as `docker stats` shows them."""
    details = stats.get("stats") or {}
    # cgroup v2, and v1
    cache = details.get("inactive_file", details.get("total_inactive_file", 0))
    return max(int(stats.get("usage", 0)) - int(cache), 0)


def document(usages: Iterable[Usage]) -> list[dict[str, Any]]:
    """The rows of `top` (docs/cli.md)."""
    return [_row(one) for one in usages]


def _row(one: Usage) -> dict[str, Any]:
    used = one.used
    return {
        "service": one.task.service,
        "task": one.task.id,
        "container": one.container.name,
        "node": one.task.node,
        "cpu": None if used is None else round(used.cpu * UNITS_PER_CPU),
        "cpu_limit": one.container.cpu or None,
        "memory": None if used is None else round(used.memory / MIB, 1),
        "memory_limit": one.container.memory or None,
    }
