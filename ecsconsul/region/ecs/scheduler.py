"""Decides which tasks of a service to start and to stop next. Pure; the control loop applies the plan.

A rolling deployment keeps two limits (ECS's minimumHealthyPercent and maximumPercent): at least `service.floor`
healthy tasks, and at most `service.ceiling` running ones. Healthy means passing in Consul, and that the essential
containers' own health checks pass. A task that fails them is replaced before it's stopped, if the ceiling allows it.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-ecs.html
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .model import ACTIVE, STOPPED, UNHEALTHY, UNHEALTHY_REASON, Service, Task

# ECS throttles a service whose tasks keep failing; here the first restart is immediate.
MIN_RESTART_DELAY, MAX_RESTART_DELAY = 1.0, 60.0
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html: min(max(3, n/2), 200)
MIN_THRESHOLD, MAX_THRESHOLD = 3, 200


@dataclass(frozen=True)
class Plan:
    """How many tasks to start for the primary deployment, and which ones to stop, each with a reason.

    `start_on`: the instances on which a daemon starts a task.
    """

    start: int = 0
    start_on: tuple[str, ...] = ()
    stop: tuple[tuple[Task, str], ...] = ()


def plan(service: Service, tasks: Sequence[Task], now: float) -> Plan:
    """The next actions for one service, given its tasks; `now` is seconds since the epoch."""
    desired = [task for task in tasks if task.should_run]
    if service.status != ACTIVE:
        return Plan(stop=tuple((task, reason_to_stop(service, task)) for task in desired))
    current = [task for task in desired if is_current(service, task)]
    old = [task for task in desired if not is_current(service, task)]
    stop = (*_surplus(service, current), *_outdated(service, current, old))
    return Plan(start=_to_start(service, current, old, now), stop=stop)


def completed(service: Service, tasks: Sequence[Task]) -> bool:
    """Whether all tasks of the primary deployment are passing and all older tasks have stopped."""
    alive = [task for task in tasks if task.last_status != STOPPED]
    current = [task for task in alive if task.should_run and is_current(service, task)]
    return len(current) == service.desired == len(alive) and all(task.passing for task in current)


def restart_delay(failures: int) -> float:
    """Seconds to wait before the next start after this many failures in a row: 0, 1, 2, 4 ... 60."""
    # The exponent is capped, because a float overflows after a thousand failures.
    return 0.0 if failures <= 1 else min(MIN_RESTART_DELAY * 2 ** min(failures - 2, 30), MAX_RESTART_DELAY)


def breaker_trips(service: Service) -> bool:
    """Whether ECS's deployment circuit breaker fails the primary deployment."""
    threshold = min(max(MIN_THRESHOLD, -(-service.desired // 2)), MAX_THRESHOLD)
    in_progress = service.primary.rollout_state == "IN_PROGRESS"
    return bool(service.circuit_breaker.get("enable")) and in_progress and service.primary.failed_tasks >= threshold


def is_current(service: Service, task: Task) -> bool:
    """Whether the task belongs to the primary deployment and may stay as it is."""
    return task.deployment_id == service.primary.id and not task.evicted and task.health != UNHEALTHY


def _to_start(service: Service, current: Sequence[Task], old: Sequence[Task], now: float) -> int:
    if service.primary.rollout_state == "FAILED" or now < service.not_before:
        return 0
    missing = service.desired - len(current)
    room = service.ceiling - len(current) - len(old)
    return max(0, min(missing, room))


def _surplus(service: Service, current: Sequence[Task]) -> list[tuple[Task, str]]:
    """Tasks beyond the desired count (a scale-in): those that aren't passing first, then the newest."""
    excess = len(current) - service.desired
    first_to_go = sorted(current, key=lambda task: (task.passing, -task.created_at))
    return [(task, reason_to_stop(service, task)) for task in first_to_go[: max(0, excess)]]


def _outdated(service: Service, current: Sequence[Task], old: Sequence[Task]) -> list[tuple[Task, str]]:
    """Tasks of older deployments that may stop: all that aren't passing, and healthy ones above the floor."""
    failing = [task for task in old if _fails_checks(service, task)]
    unhealthy = [task for task in old if not task.passing and task not in failing]
    healthy = [task for task in old if task.passing]
    passing = sum(task.passing for task in current)
    spare = min(passing, service.desired) + len(healthy) - service.floor
    if service.primary.rollout_state == "FAILED" and service.desired:
        unhealthy = []
    leaving = unhealthy + healthy[: max(0, min(spare, len(healthy)))]
    leaving += _replaced(service, failing, passing, service.ceiling - len(current) - len(old))
    return [(task, reason_to_stop(service, task)) for task in leaving]


def _fails_checks(service: Service, task: Task) -> bool:
    """Whether it would be a current task if its containers' checks passed."""
    return task.deployment_id == service.primary.id and not task.evicted and task.health == UNHEALTHY


def _replaced(service: Service, failing: list[Task], passing: int, room: int) -> list[Task]:
    """The tasks that fail their checks and may stop: all once others are healthy, one while there's no room for others.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-configuration-parameters.html
    """
    if passing >= service.desired:
        return failing
    return failing[:1] if room <= 0 else []


def reason_to_stop(service: Service, task: Task) -> str:
    """Why the scheduler stops a task, in ECS's words."""
    return UNHEALTHY_REASON if task.health == UNHEALTHY else _scaling(service)


def _scaling(service: Service) -> str:
    # ECS's own message for a task stopped by a deployment or a scale-in.
    return f"Scaling activity initiated by (deployment {service.primary.id})"
