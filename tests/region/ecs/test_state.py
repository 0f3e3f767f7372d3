"""The region's ECS state: what each change starts, and that it doesn't grow without bound."""

from __future__ import annotations

import time

from ecsconsul.region.ecs.model import DRAINING, MAX_STOPPED_TASKS, RUNNING, STOPPED, STOPPED_SECONDS, Service
from ecsconsul.region.ecs.placement import Unplaceable
from ecsconsul.region.ecs.state import Ecs
from tests.region.ecs.factories import CLUSTER, definition, instance, new_ecs

V1, V2 = definition(revision=1), definition(revision=2)


def created(ecs: Ecs, desired: int = 1, **request: object) -> Service:
    return ecs.create_service(CLUSTER, "weather", desired, V1, request)


def complete(service: Service) -> None:
    service.deployments = [service.primary]
    service.primary.rollout_state = "COMPLETED"


def test_new_count_starts_no_deployment() -> None:
    ecs = new_ecs()
    service = created(ecs)
    ecs.update_service(service, 3, None, {})
    ecs.update_service(service, 3, V1, {})
    assert (service.desired, len(service.deployments)) == (3, 1)


def test_new_definition_or_force_starts_a_deployment() -> None:
    ecs = new_ecs()
    service = created(ecs)
    ecs.update_service(service, None, V2, {})
    assert [(d.status, d.task_definition["revision"]) for d in service.deployments] == [("PRIMARY", 2), ("ACTIVE", 1)]
    ecs.update_service(service, None, None, {"forceNewDeployment": True})
    assert [d.task_definition["revision"] for d in service.deployments] == [2, 2, 1]
    assert len({d.id for d in service.deployments}) == 3
    assert service.desired == 1


def test_only_a_completed_deployment_is_a_rollback_target() -> None:
    ecs = new_ecs()
    service = created(ecs)
    ecs.update_service(service, None, V2, {})
    assert service.stable_before is None
    complete(service)
    ecs.update_service(service, None, V1, {})
    assert service.stable_before == V2


def test_new_deployment_resets_failures() -> None:
    ecs = new_ecs()
    service = created(ecs)
    service.failures, service.not_before = 7, 1e12
    ecs.deploy(service, V2)
    assert (service.failures, service.not_before) == (0, 0.0)


def test_update_keeps_settings_that_it_omits() -> None:
    ecs = new_ecs()
    request = {"deploymentConfiguration": {"minimumHealthyPercent": 0, "deploymentCircuitBreaker": {"enable": True}}}
    service = created(ecs, **request)
    ecs.update_service(service, 2, None, {})
    assert service.minimum_healthy_percent == 0, "zero is a valid value"
    assert service.maximum_percent == 200
    assert service.circuit_breaker == {"enable": True}


def test_old_deployment_is_dropped_after_its_last_task() -> None:
    ecs = new_ecs(instance())
    service = created(ecs)
    old = ecs.add_task(CLUSTER, V1, "service:weather", overrides={}, service=service)
    for _ in range(5):
        ecs.deploy(service, V2)
    ecs.forget_old_deployments(service)
    assert [d.id for d in service.deployments] == [service.primary.id, old.deployment_id]
    old.last_status = STOPPED
    ecs.forget_old_deployments(service)
    assert service.deployments == [service.primary]


def test_every_change_wakes_the_control_loop() -> None:
    ecs = new_ecs(instance())
    service = created(ecs)
    task = ecs.add_task(CLUSTER, V1, "g", overrides={})
    changes = [
        lambda: ecs.update_service(service, 2, None, {}),
        lambda: ecs.deploy(service, V2),
        lambda: ecs.add_task(CLUSTER, V1, "g", overrides={}),
        lambda: ecs.stop_task(task, "UserInitiated", "why"),
        lambda: ecs.set_instance_status(ecs.instances_of(CLUSTER)[0], DRAINING),
        lambda: ecs.remove_instance("i-1"),
        lambda: ecs.delete_service(service),
    ]
    for change in changes:
        ecs.changed.clear()
        change()
        assert ecs.changed.is_set()


def test_first_stop_reason_is_kept() -> None:
    ecs = new_ecs(instance())
    task = ecs.add_task(CLUSTER, V1, "g", overrides={})
    ecs.stop_task(task, "UserInitiated", "first")
    ecs.stop_task(task, "ServiceSchedulerInitiated", "second")
    assert (task.stop_code, task.stopped_reason, task.last_status) == ("UserInitiated", "first", "PENDING")


def test_tasks_of_a_removed_instance_are_stopped() -> None:
    ecs = new_ecs(instance(), instance("i-2"))
    here, there = (ecs.add_task(CLUSTER, V1, "g", overrides={}) for _ in "12")
    ecs.remove_instance(here.instance_id)
    assert (here.should_run, there.should_run) == (False, True)
    assert here.stop_code == "TerminationNotice"
    assert ecs.instance_arn(here.instance_id) == ""
    ecs.remove_instance("i-none")


def test_draining_evicts_tasks_and_activating_reverts_it() -> None:
    ecs = new_ecs(instance())
    task = ecs.add_task(CLUSTER, V1, "g", overrides={})
    one = ecs.instances_of(CLUSTER)[0]
    ecs.set_instance_status(one, DRAINING)
    assert task.evicted
    assert isinstance(ecs.add_task(CLUSTER, V1, "g", overrides={}), Unplaceable)
    ecs.set_instance_status(one, "ACTIVE")
    assert not task.evicted


def test_repeated_event_is_recorded_once() -> None:
    ecs = new_ecs()
    service = created(ecs)
    for text in ("no place", "no place", "started", "no place"):
        ecs.event(service, text)
    assert [event["message"] for event in service.events] == [
        "(service weather) no place",
        "(service weather) started",
        "(service weather) no place",
    ]
    for number in range(300):
        ecs.event(service, str(number))
    assert len(service.events) == 100


def test_stopped_task_is_kept_for_an_hour() -> None:
    ecs = new_ecs(instance(cpu=10**6, memory=10**6))
    now = time.time()
    for age in (STOPPED_SECONDS + 10, STOPPED_SECONDS - 60, 1.0):
        task = ecs.add_task(CLUSTER, V1, "g", overrides={})
        task.last_status, task.stopped_at = STOPPED, now - age
    old, *kept = ecs.tasks()
    ecs.forget_old_tasks()
    assert ecs.tasks() == kept
    assert old not in kept


def test_most_recently_stopped_tasks_are_kept() -> None:
    """As many as fit in memory, if many tasks stop within an hour."""
    ecs = new_ecs(instance(cpu=10**6, memory=10**6))
    oldest, *others = [ecs.add_task(CLUSTER, V1, "g", overrides={}) for _ in range(MAX_STOPPED_TASKS + 10)]
    alive = ecs.add_task(CLUSTER, V1, "g", overrides={})
    alive.last_status = RUNNING
    for number, task in enumerate((*others, oldest)):
        task.last_status, task.stopped_at = STOPPED, time.time() - 1000 + number / 10
    ecs.forget_old_tasks()
    kept = ecs.tasks()
    assert len(kept) == MAX_STOPPED_TASKS + 1
    assert oldest in kept, "it started first and stopped last"
    assert alive in kept
    assert others[0] not in kept


def test_unstarted_task_is_marked_as_stopped() -> None:
    ecs = new_ecs(instance())
    task = ecs.add_task(CLUSTER, V1, "g", overrides={})
    ecs.remove_instance("i-1")
    ecs.changed.clear()
    ecs.end_unstarted(task)
    assert (task.last_status, task.desired_status, task.stopped_at is not None) == (STOPPED, STOPPED, True)
    assert [c.status for c in task.containers] == [STOPPED]
    assert ecs.changed.is_set(), "a service may be waiting for it"


def test_tags_are_live() -> None:
    ecs = new_ecs(instance())
    service = created(ecs, tags=[{"key": "a", "value": "1"}])
    assert ecs.tagged(service.arn) is service.tags
    assert ecs.tagged("arn:nothing") is None
