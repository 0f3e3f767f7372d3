"""The region's state: what a change of it begins, and that it does not grow."""

from __future__ import annotations

from ecsconsul.region.ecs.model import DRAINING, MAX_STOPPED_TASKS, RUNNING, STOPPED, Service
from ecsconsul.region.ecs.placement import Unplaceable
from ecsconsul.region.ecs.state import Ecs
from tests.region.ecs.making import CLUSTER, definition, instance, region

V1, V2 = definition(revision=1), definition(revision=2)


def created(ecs: Ecs, desired: int = 1, **ask: object) -> Service:
    return ecs.create_service(CLUSTER, "weather", desired, V1, ask)


def complete(service: Service) -> None:
    service.deployments = [service.primary]
    service.primary.rollout_state = "COMPLETED"


def test_a_count_is_no_deployment() -> None:
    ecs = region()
    service = created(ecs)
    ecs.update_service(service, 3, None, {})
    ecs.update_service(service, 3, V1, {})
    assert (service.desired, len(service.deployments)) == (3, 1)


def test_another_definition_or_force_is_one_and_the_one_before_goes_out() -> None:
    ecs = region()
    service = created(ecs)
    ecs.update_service(service, None, V2, {})
    assert [(d.status, d.task_definition["revision"]) for d in service.deployments] == [("PRIMARY", 2), ("ACTIVE", 1)]
    ecs.update_service(service, None, None, {"forceNewDeployment": True})
    assert [d.task_definition["revision"] for d in service.deployments] == [2, 2, 1]
    assert len({d.id for d in service.deployments}) == 3
    assert service.desired == 1


def test_only_a_complete_deployment_is_one_to_go_back_to() -> None:
    ecs = region()
    service = created(ecs)
    ecs.update_service(service, None, V2, {})
    assert service.stable_before is None
    complete(service)
    ecs.update_service(service, None, V1, {})
    assert service.stable_before == V2


def test_a_deployment_begins_with_a_clean_slate() -> None:
    ecs = region()
    service = created(ecs)
    service.failures, service.not_before = 7, 1e12
    ecs.deploy(service, V2)
    assert (service.failures, service.not_before) == (0, 0.0)


def test_settings_are_kept_when_an_update_does_not_name_them() -> None:
    ecs = region()
    ask = {"deploymentConfiguration": {"minimumHealthyPercent": 0, "deploymentCircuitBreaker": {"enable": True}}}
    service = created(ecs, **ask)
    ecs.update_service(service, 2, None, {})
    assert service.minimum_healthy_percent == 0, "zero is a figure too"
    assert service.maximum_percent == 200
    assert service.circuit_breaker == {"enable": True}


def test_old_deployments_are_forgotten_with_their_last_task() -> None:
    ecs = region(instance())
    service = created(ecs)
    old = ecs.add_task(CLUSTER, V1, "service:weather", overrides={}, service=service)
    for _ in range(5):
        ecs.deploy(service, V2)
    ecs.forget_old_deployments(service)
    assert [d.id for d in service.deployments] == [service.primary.id, old.deployment_id]
    old.last_status = STOPPED
    ecs.forget_old_deployments(service)
    assert service.deployments == [service.primary]


def test_each_change_wakes_the_agent() -> None:
    ecs = region(instance())
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


def test_the_first_reason_of_a_stop_stays() -> None:
    ecs = region(instance())
    task = ecs.add_task(CLUSTER, V1, "g", overrides={})
    ecs.stop_task(task, "UserInitiated", "first")
    ecs.stop_task(task, "ServiceSchedulerInitiated", "second")
    assert (task.stop_code, task.stopped_reason, task.last_status) == ("UserInitiated", "first", "PENDING")


def test_the_tasks_of_a_lost_instance_end() -> None:
    ecs = region(instance(), instance("i-2"))
    here, there = (ecs.add_task(CLUSTER, V1, "g", overrides={}) for _ in "12")
    ecs.remove_instance(here.instance_id)
    assert (here.should_run, there.should_run) == (False, True)
    assert here.stop_code == "TerminationNotice"
    assert ecs.instance_arn(here.instance_id) == ""
    ecs.remove_instance("i-none")


def test_draining_evicts_and_activating_takes_it_back() -> None:
    ecs = region(instance())
    task = ecs.add_task(CLUSTER, V1, "g", overrides={})
    one = ecs.instances_of(CLUSTER)[0]
    ecs.set_instance_status(one, DRAINING)
    assert task.evicted
    assert isinstance(ecs.add_task(CLUSTER, V1, "g", overrides={}), Unplaceable)
    ecs.set_instance_status(one, "ACTIVE")
    assert not task.evicted


def test_an_event_is_not_said_twice_in_a_row() -> None:
    ecs = region()
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


def test_of_stopped_tasks_those_that_stopped_last_are_kept() -> None:
    ecs = region(instance(cpu=10**6, memory=10**6))
    oldest, *others = [ecs.add_task(CLUSTER, V1, "g", overrides={}) for _ in range(MAX_STOPPED_TASKS + 10)]
    alive = ecs.add_task(CLUSTER, V1, "g", overrides={})
    alive.last_status = RUNNING
    for number, task in enumerate((*others, oldest)):
        task.last_status, task.stopped_at = STOPPED, float(number)
    ecs.forget_old_tasks()
    kept = ecs.tasks()
    assert len(kept) == MAX_STOPPED_TASKS + 1
    assert oldest in kept, "it began first and ended last"
    assert alive in kept
    assert others[0] not in kept


def test_a_task_that_never_ran_ends_with_all_that_an_ended_one_has() -> None:
    ecs = region(instance())
    task = ecs.add_task(CLUSTER, V1, "g", overrides={})
    ecs.remove_instance("i-1")
    ecs.changed.clear()
    ecs.end_unstarted(task)
    assert (task.last_status, task.desired_status, task.stopped_at is not None) == (STOPPED, STOPPED, True)
    assert [c.status for c in task.containers] == [STOPPED]
    assert ecs.changed.is_set(), "a service may have waited for it"


def test_tags_are_the_live_ones() -> None:
    ecs = region(instance())
    service = created(ecs, tags=[{"key": "a", "value": "1"}])
    assert ecs.tagged(service.arn) is service.tags
    assert ecs.tagged("arn:nothing") is None
