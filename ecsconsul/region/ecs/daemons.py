"""Decides for a DAEMON service on which instances to start a task, and which tasks to stop. Pure.

One task runs on each ACTIVE instance. A deployment replaces the task of an instance where it is, the old one first;
minimumHealthyPercent says how many instances must have a healthy one meanwhile (0 unless it's set). On an instance that
is drained, the daemon's task is the last to go.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_services.html#service_scheduler_daemon
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from .model import ACTIVE, STOPPED, Service, Task
from .scheduler import Plan, is_current, reason_to_stop


def plan_daemon(
    service: Service, tasks: Sequence[Task], active: Sequence[str], busy: Collection[str], now: float
) -> Plan:
    """The next actions for a daemon; `active` and `busy` are the ids of instances, `now` is seconds since the epoch.

    Those that are active have a task each; those that are busy run tasks of other services.
    """
    desired = [task for task in tasks if task.should_run]
    if service.status != ACTIVE:
        leaving = desired
    else:
        here = [task for task in desired if task.instance_id in active]
        drained = [task for task in desired if task.instance_id not in active and task.instance_id not in busy]
        leaving = [*drained, *_outdated(service, here, len(active))]
    return Plan(
        stop=tuple((task, reason_to_stop(service, task)) for task in leaving),
        start_on=_to_start(service, tasks, active, now),
    )


def _outdated(service: Service, here: Sequence[Task], instances: int) -> list[Task]:
    """Tasks of older deployments and unhealthy ones, as far as enough healthy ones stay."""
    old = [task for task in here if not is_current(service, task)]
    healthy = sum(task.passing for task in here)
    spare = max(0, healthy - math.ceil(instances * service.minimum_healthy_percent / 100))
    if service.primary.rollout_state == "FAILED":
        return []
    return [task for task in old if not task.passing] + [task for task in old if task.passing][:spare]


def _to_start(service: Service, tasks: Sequence[Task], active: Sequence[str], now: float) -> tuple[str, ...]:
    """The active instances without a task. One that still stops has its ports."""
    if service.status != ACTIVE or service.primary.rollout_state == "FAILED" or now < service.not_before:
        return ()
    taken = {task.instance_id for task in tasks if task.last_status != STOPPED}
    return tuple(instance for instance in active if instance not in taken)
