"""What a service needs next: which tasks to start and to stop. Pure; the agent does what is decided here.

A rolling deployment holds two limits (ECS's minimumHealthyPercent and maximumPercent): never fewer healthy
tasks than `service.floor`, never more running ones than `service.ceiling`. Healthy means passing in Consul.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-ecs.html
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .model import ACTIVE, STOPPED, Service, Task

# ECS throttles a service whose tasks keep failing; here the first restart is immediate.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html: min(max(3, n/2), 200)
BREAKER_LEAST, BREAKER_MOST = 3, 200


@dataclass(frozen=True)
class Plan:
    """Tasks to start for the primary deployment, and those to stop, each with its reason."""

    start: int = 0
    stop: tuple[tuple[Task, str], ...] = ()


def plan(service: Service, tasks: Sequence[Task], now: float) -> Plan:
    """The next actions for one service, given its tasks; `now` is seconds since the epoch."""
    wanted = [task for task in tasks if task.wanted]
    if service.status != ACTIVE:
        return Plan(stop=tuple((task, _scaling(service)) for task in wanted))
    mine = [task for task in wanted if _belongs(service, task)]
    old = [task for task in wanted if not _belongs(service, task)]
    stop = (*_surplus(service, mine), *_outdated(service, mine, old))
    return Plan(start=_to_start(service, mine, old, now), stop=stop)


def completed(service: Service, tasks: Sequence[Task]) -> bool:
    """Whether the primary deployment has all its tasks passing and every older one is gone."""
    living = [task for task in tasks if task.last_status != STOPPED]
    mine = [task for task in living if task.wanted and _belongs(service, task)]
    return len(mine) == service.desired == len(living) and all(task.passing for task in mine)


def pause(failures: int) -> float:
    """Seconds to wait before the next start after so many failed tasks in a row: 0, 1, 2, 4 ... 60."""
    # no power of two that a float cannot hold, however long it goes on
    return 0.0 if failures <= 1 else min(FIRST_PAUSE * 2 ** min(failures - 2, 30), LONGEST_PAUSE)


def breaker_trips(service: Service) -> bool:
    """Whether ECS's deployment circuit breaker gives the primary deployment up."""
    threshold = min(max(BREAKER_LEAST, -(-service.desired // 2)), BREAKER_MOST)
    in_progress = service.primary.rollout_state == "IN_PROGRESS"
    return bool(service.circuit_breaker.get("enable")) and in_progress and service.primary.failed_tasks >= threshold


def _belongs(service: Service, task: Task) -> bool:
    """Whether the task is of the version wanted, where it may stay."""
    return task.deployment_id == service.primary.id and not task.evicted


def _to_start(service: Service, mine: Sequence[Task], old: Sequence[Task], now: float) -> int:
    if service.primary.rollout_state == "FAILED" or now < service.not_before:
        return 0
    missing = service.desired - len(mine)
    room = service.ceiling - len(mine) - len(old)
    return max(0, min(missing, room))


def _surplus(service: Service, mine: Sequence[Task]) -> list[tuple[Task, str]]:
    """More tasks than wanted (a scale-in): those that serve nobody first, then the youngest."""
    excess = len(mine) - service.desired
    first_to_go = sorted(mine, key=lambda task: (task.passing, -task.created_at))
    return [(task, _scaling(service)) for task in first_to_go[: max(0, excess)]]


def _outdated(service: Service, mine: Sequence[Task], old: Sequence[Task]) -> list[tuple[Task, str]]:
    """Tasks of older deployments that can be spared: all that serve nobody, and healthy ones above the floor."""
    idle = [task for task in old if not task.passing]
    healthy = [task for task in old if task.passing]
    serving = sum(task.passing for task in mine)
    spare = min(serving, service.desired) + len(healthy) - service.floor
    if service.primary.rollout_state == "FAILED" and service.desired:
        idle = []
    leaving = idle + healthy[: max(0, min(spare, len(healthy)))]
    return [(task, _scaling(service)) for task in leaving]


def _scaling(service: Service) -> str:
    # ECS's own words for a task that a deployment or a scale-in stopped
    return f"Scaling activity initiated by (deployment {service.primary.id})"
