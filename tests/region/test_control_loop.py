"""The control loop runs desired tasks, delays restarts, and fails or rolls back deployments.

The containers are fake and publish no port, so no Consul is needed. test_task_supervisor.py has tests with one.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ecsconsul.consul.lab_secrets import new_secrets
from ecsconsul.region.consul_acl import ConsulAcl
from ecsconsul.region.control_loop import ControlLoop
from ecsconsul.region.ecs.model import DRAINING, INACTIVE, RUNNING, STOPPED, Binding, Service, Task
from ecsconsul.region.ecs.state import Ecs
from ecsconsul.region.runtimes.lab_dir import LabDir
from tests.region.ecs.factories import CLUSTER, container, definition, instance, new_ecs
from tests.region.fakes import FakeContainers, ec2_instance

STEADY = definition(revision=1)
NEWER = definition("weather", 2)
CRASHING = definition("weather", 3, container(image="crash:3"))
BREAKER = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
Until = Callable[..., None]


class LoopRegion:
    """A control loop with two instances."""

    def __init__(self, lab_dir: LabDir, folder: Path) -> None:
        self.ecs: Ecs = new_ecs()
        self.runtime = FakeContainers()
        self.loop = ControlLoop(self.ecs, self.runtime, lab_dir, ConsulAcl(new_secrets("lab")), "")
        self.folder = folder
        self.loop.start()
        self.instances = {f"i-{number}": ec2_instance(folder, f"i-{number}") for number in (1, 2)}
        for name, one in self.instances.items():
            self.loop.add_instance(one, instance(name))

    def create(self, desired: int = 1, definition: dict[str, Any] = STEADY, **request: Any) -> Service:
        with self.ecs.lock:
            return self.ecs.create_service(CLUSTER, "weather", desired, definition, request)

    def update(self, service: Service, desired: int | None = None, definition: dict[str, Any] | None = None) -> None:
        with self.ecs.lock:
            self.ecs.update_service(service, desired, definition, {})

    def tasks(self, status: str = RUNNING) -> list[Task]:
        with self.ecs.lock:
            return [task for task in self.ecs.tasks() if task.last_status == status]

    def messages(self, service: Service) -> list[str]:
        with self.ecs.lock:
            return [event["message"].partition(") ")[2] for event in reversed(service.events)]

    def end(self, task: Task, code: int = 1, name: str = "app") -> None:
        self.runtime.containers[task.id, name].end(code)


@pytest.fixture
def region(lab_dir: LabDir, tmp_path: Path) -> Iterator[LoopRegion]:
    region = LoopRegion(lab_dir, tmp_path)
    yield region
    region.runtime.close()
    region.loop.close()


@pytest.fixture
def until(until: Until, region: LoopRegion) -> Until:
    """Looks at the region between two passes of its loop: during one, a part of what the loop changes is old."""

    def is_true(condition: Callable[[], object]) -> object:
        with region.ecs.lock:
            return condition()

    return lambda condition: until(lambda: is_true(condition))


def is_complete(service: Service) -> Callable[[], bool]:
    return lambda: service.primary.rollout_state == "COMPLETED" and len(service.deployments) == 1


def test_service_starts_its_tasks_spread_over_the_instances(region: LoopRegion, until: Until) -> None:
    service = region.create(desired=4)
    until(is_complete(service))
    assert sorted(task.instance_id for task in region.tasks()) == ["i-1", "i-1", "i-2", "i-2"]
    started, completed, steady = region.messages(service)
    assert started.startswith("has started 4 tasks: (task ")
    assert completed == f"(deployment {service.primary.id}) deployment completed."
    assert steady == "has reached a steady state."


def test_loop_continues_after_a_failed_pass(region: LoopRegion, until: Until) -> None:
    errors = [OSError(errno.ENOSPC, "No space left on device")]

    def on_pass() -> None:
        if errors:
            raise errors.pop()

    region.loop.on_pass = on_pass
    until(is_complete(region.create(desired=1)))
    assert not errors


def test_rolling_deployment_replaces_all_tasks(region: LoopRegion, until: Until) -> None:
    service = region.create(desired=2)
    until(is_complete(service))
    region.update(service, definition=NEWER)
    until(is_complete(service))
    assert {task.task_definition["revision"] for task in region.tasks()} == {2}
    stopped = region.tasks(STOPPED)
    assert {task.stop_code for task in stopped} == {"ServiceSchedulerInitiated"}
    assert {c.exit_code for task in stopped for c in task.containers} == {143}
    assert service.primary.failed_tasks == 0, "a task that is stopped on request has not failed"
    assert sorted(region.runtime.cleaned) == sorted(task.id for task in stopped)


def test_task_that_has_its_port_on_the_whole_machine_stops_before_the_next_one_starts(
    region: LoopRegion, until: Until
) -> None:
    fixed = container(portMappings=[{"containerPort": 80, "hostPort": 8080}])
    service = region.create(definition=definition("weather", 1, fixed))
    until(lambda: len(region.tasks()) == 1)
    (first,) = region.tasks()
    first.containers[0].bindings = (Binding(80, 8080, requested_port=8080, on_loopback=True),)
    region.update(service, definition=definition("weather", 2, fixed))
    until(lambda: [task.task_definition["revision"] for task in region.tasks()] == [2])
    (second,) = region.tasks()
    assert first.stopped_at is not None
    assert second.created_at >= first.stopped_at
    assert service.minimum_healthy_percent == 100, "what the service asks for stays"


def test_service_scales_in_and_out(region: LoopRegion, until: Until) -> None:
    service = region.create(desired=1)

    def should_run() -> list[Task]:
        return [task for task in region.ecs.tasks() if task.should_run]

    for desired in (3, 1, 0, 2):
        region.update(service, desired=desired)
        until(lambda desired=desired: len(region.tasks()) == desired == len(should_run()))
    assert len(service.deployments) == 1


def test_killed_task_is_replaced_at_once(region: LoopRegion, until: Until) -> None:
    service = region.create(desired=1)
    until(is_complete(service))
    (first,) = region.tasks()
    region.end(first, 137)
    until(lambda: any(task is not first for task in region.tasks()))
    assert service.failures == 1
    assert service.not_before == service.failed_at, "the first restart is not delayed"
    assert (first.stop_code, first.stopped_reason) == (
        "EssentialContainerExited",
        "Essential container in task exited",
    )
    assert [(c.status, c.exit_code) for c in first.containers] == [(STOPPED, 137)]
    assert service.primary.rollout_state == "COMPLETED"
    assert service.primary.failed_tasks == 0, "the deployment was completed before"


def test_crashing_task_is_restarted_with_growing_delays(region: LoopRegion, until: Until) -> None:
    delays: dict[int, float] = {}
    deployments: dict[int, tuple[int, str]] = {}

    def on_pass() -> None:
        for service in region.ecs.services():
            delays[service.failures] = service.not_before - service.failed_at
            deployments[service.failures] = (service.primary.failed_tasks, service.primary.rollout_state)

    region.loop.on_pass = on_pass
    service = region.create(definition=CRASHING)
    until(lambda: service.failures >= 3 and len(region.tasks(STOPPED)) >= 3)
    _, second, third, *_ = sorted(region.tasks(STOPPED), key=lambda task: task.created_at)
    assert third.created_at - second.created_at >= 1.0
    assert [delays[number] for number in (1, 2, 3)] == pytest.approx([0.0, 1.0, 2.0], abs=0.01)
    assert [deployments[number] for number in (1, 2, 3)] == [(number, "IN_PROGRESS") for number in (1, 2, 3)]


def test_tasks_that_fail_together_count_as_one_failure(region: LoopRegion, until: Until) -> None:
    """Otherwise ten tasks killed at once would be replaced only after a minute."""
    service = region.create(desired=10)
    until(is_complete(service))
    before = region.tasks()
    for task in before:
        region.end(task, 137)
    until(lambda: len([task for task in region.tasks() if task not in before]) == 10)
    assert service.failures == 1


def test_circuit_breaker_rolls_back_to_the_stable_deployment(region: LoopRegion, until: Until) -> None:
    service = region.create(desired=2, deploymentConfiguration=BREAKER)
    until(is_complete(service))
    before = {task.id for task in region.tasks()}
    region.update(service, definition=CRASHING)
    failing = service.primary
    until(lambda: failing.rollout_state == "FAILED")
    assert failing.failed_tasks >= 3
    until(is_complete(service))
    assert service.primary.task_definition == STEADY
    assert len(region.tasks()) == 2
    assert f"(deployment {failing.id}) deployment failed: tasks failed to start." in region.messages(service)
    assert len(before) == 2


def test_failed_rollback_is_not_rolled_back(region: LoopRegion, until: Until) -> None:
    """A version that was stable once may crash now; rolling back to it would never end."""
    with region.ecs.lock:
        service = region.create(desired=3, definition=CRASHING, deploymentConfiguration=BREAKER)
        service.stable_before = CRASHING
    until(lambda: service.primary.is_rollback and service.primary.rollout_state == "FAILED")
    until(lambda: not [task for task in region.ecs.tasks() if task.should_run])
    until(lambda: len(service.deployments) == 1)
    rollbacks = [text for text in region.messages(service) if text.startswith("rolling back")]
    assert len(rollbacks) == 1


def test_circuit_breaker_without_a_stable_deployment_fails_the_deployment(region: LoopRegion, until: Until) -> None:
    service = region.create(desired=3, definition=CRASHING, deploymentConfiguration=BREAKER)
    until(lambda: service.primary.rollout_state == "FAILED")
    assert len(service.deployments) == 1
    assert "circuit breaker" in service.primary.rollout_reason


def test_container_that_cannot_start_fails_its_task(region: LoopRegion, until: Until) -> None:
    region.create(definition=definition("weather", 4, container("one"), container("two", image="absent")))
    until(lambda: region.tasks(STOPPED))
    task = region.tasks(STOPPED)[0]
    assert task.stop_code == "TaskFailedToStart"
    assert task.stopped_reason == "CannotPullContainerError: no image absent was published to this lab"
    assert region.runtime.containers[task.id, "one"].wait() in (137, 143), "the container that had started is stopped"
    assert [c.status for c in task.containers] == [STOPPED, STOPPED]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_unexpected_error_stops_only_its_task(region: LoopRegion, until: Until) -> None:
    """A task without a supervisor must not stay PENDING forever."""
    broken = definition("weather", 4, container("one"), container("two", image="broken"))
    with region.ecs.lock:
        (task,), _ = region.ecs.run_task(CLUSTER, broken, 1, {})
    until(lambda: task.last_status == STOPPED)
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == f"task-{task.id[:8]}"])
    assert task.stop_code == "TaskFailedToStart"
    assert "region's log" in task.stopped_reason
    assert region.runtime.containers[task.id, "one"].wait() in (137, 143)


def test_unplaceable_task_is_placed_once_an_instance_fits(region: LoopRegion, until: Until) -> None:
    service = region.create(definition=definition("weather", 1, container(memory=10_000)))
    until(lambda: service.events)
    event = "was unable to place a task because no container instance met all of its requirements. Reason: The"
    assert region.messages(service)[0].startswith(event)
    region.loop.add_instance(ec2_instance(region.folder, "i-3"), instance("i-3", memory=20_000))
    until(is_complete(service))
    assert [task.instance_id for task in region.tasks()] == ["i-3"]


def test_draining_instance_empties(region: LoopRegion, until: Until) -> None:
    service = region.create(desired=2)
    until(is_complete(service))
    with region.ecs.lock:
        one = next(i for i in region.ecs.instances_of(CLUSTER) if i.instance_id == "i-1")
        region.ecs.set_instance_status(one, DRAINING)
    until(lambda: [task.instance_id for task in region.tasks()] == ["i-2", "i-2"])


def test_tasks_of_a_removed_instance_are_replaced(region: LoopRegion, until: Until) -> None:
    service = region.create(desired=2)
    until(is_complete(service))
    region.loop.remove_instance(region.instances["i-1"])
    assert all(task.last_status == STOPPED for task in region.ecs.tasks() if task.instance_id == "i-1")
    until(lambda: [task.instance_id for task in region.tasks()] == ["i-2", "i-2"])
    lost = next(task for task in region.tasks(STOPPED) if task.instance_id == "i-1")
    assert (lost.stop_code, lost.stopped_at is not None) == ("TerminationNotice", True)
    assert service.failures == 0


def test_instance_that_is_terminated_while_joining_does_not_join(region: LoopRegion) -> None:
    gone = ec2_instance(region.folder, "i-9")
    gone.stopping.set()
    region.loop.remove_instance(gone)
    region.loop.add_instance(gone, instance("i-9"))
    assert "i-9" not in [one.instance_id for one in region.ecs.instances_of(CLUSTER)]


def test_task_that_is_stopped_before_it_starts_never_runs(region: LoopRegion, until: Until) -> None:
    with region.ecs.lock:
        task = region.ecs.add_task(CLUSTER, STEADY, "g", overrides={})
        region.ecs.stop_task(task, "UserInitiated", "never mind")
    until(lambda: task.last_status == STOPPED)
    assert task.stopped_at is not None
    assert region.runtime.containers == {}


def test_deleted_service_becomes_inactive(region: LoopRegion, until: Until) -> None:
    service = region.create(desired=2)
    until(is_complete(service))
    with region.ecs.lock:
        region.ecs.delete_service(service)
    until(lambda: service.status == INACTIVE)
    assert region.tasks() == []


def test_stopped_tasks_leave_no_supervisor(region: LoopRegion, until: Until) -> None:
    service = region.create(desired=3)
    until(is_complete(service))
    region.update(service, desired=0)
    until(lambda: len(region.tasks(STOPPED)) == 3 and not region.loop._supervisors)


def test_crashed_task_is_replaced_while_its_sidecar_still_stops(region: LoopRegion, until: Until) -> None:
    two = definition("weather", 1, container("app"), container("sidecar", image="stubborn", stopTimeout=600))
    region.create(definition=two)
    until(lambda: region.tasks())
    (first,) = region.tasks()
    region.end(first)
    until(lambda: any(task is not first for task in region.tasks()))
    assert first.last_status != STOPPED
    assert (first.desired_status, first.stop_code) == (STOPPED, "EssentialContainerExited")
    region.runtime.containers[first.id, "sidecar"].kill()
    until(lambda: first.last_status == STOPPED)


def test_standalone_task_is_not_restarted(region: LoopRegion, until: Until) -> None:
    with region.ecs.lock:
        (task,), failures = region.ecs.run_task(CLUSTER, definition("job", 1, container(image="crash:0")), 1, {})
    until(lambda: task.last_status == STOPPED)
    assert failures == []
    assert task.stop_code == "EssentialContainerExited"
    assert len(region.ecs.tasks()) == 1


def test_close_stops_all_tasks_and_starts_none(region: LoopRegion, until: Until) -> None:
    region.create(desired=5)
    until(lambda: len(region.tasks()) == 5)
    region.loop.close()
    assert {task.last_status for task in region.ecs.tasks()} == {STOPPED}
    assert len(region.ecs.tasks()) == 5


def test_await_agent_ends_when_the_instance_is_terminated(region: LoopRegion) -> None:
    gone = ec2_instance(region.folder, "i-9")
    gone.stopping.set()
    assert not region.loop.await_agent(gone)
