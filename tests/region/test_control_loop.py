"""The control loop: desired tasks run, and failures are counted, delayed, given up or rolled back.

The containers are fake and publish no port, so no Consul is needed; with one, see test_task_supervisor.py.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ecsconsul.region.control_loop import ControlLoop
from ecsconsul.region.ecs.model import DRAINING, INACTIVE, RUNNING, STOPPED, Service, Task
from ecsconsul.region.ecs.state import Ecs
from ecsconsul.region.runtimes.lab_dir import LabDir
from tests.region.ecs.making import CLUSTER, container, definition, instance, region
from tests.region.fakes import FakeContainers, ec2_instance

STEADY = definition(revision=1)
NEWER = definition("weather", 2)
CRASHING = definition("weather", 3, container(image="crash:3"))
BREAKER = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
Until = Callable[..., None]


class World:
    """A control loop with two instances."""

    def __init__(self, home: LabDir, folder: Path) -> None:
        self.ecs: Ecs = region()
        self.runtime = FakeContainers()
        self.loop = ControlLoop(self.ecs, self.runtime, home)
        self.folder = folder
        self.loop.start()
        self.instances = {f"i-{number}": ec2_instance(folder, f"i-{number}") for number in (1, 2)}
        for name, one in self.instances.items():
            self.loop.add_instance(one, instance(name))

    def create(self, desired: int = 1, what: dict[str, Any] = STEADY, **ask: Any) -> Service:
        with self.ecs.lock:
            return self.ecs.create_service(CLUSTER, "weather", desired, what, ask)

    def update(self, service: Service, desired: int | None = None, what: dict[str, Any] | None = None) -> None:
        with self.ecs.lock:
            self.ecs.update_service(service, desired, what, {})

    def tasks(self, status: str = RUNNING) -> list[Task]:
        with self.ecs.lock:
            return [task for task in self.ecs.tasks() if task.last_status == status]

    def end(self, task: Task, code: int = 1, name: str = "app") -> None:
        self.runtime.containers[task.id, name].end(code)


@pytest.fixture
def world(home: LabDir, tmp_path: Path) -> Iterator[World]:
    made = World(home, tmp_path)
    yield made
    made.runtime.close()
    made.loop.close()


def is_complete(service: Service) -> Callable[[], bool]:
    return lambda: service.primary.rollout_state == "COMPLETED" and len(service.deployments) == 1


def messages(service: Service) -> list[str]:
    return [event["message"].partition(") ")[2] for event in reversed(service.events)]


def test_a_service_starts_spread_over_the_instances_and_says_so(world: World, until: Until) -> None:
    service = world.create(desired=4)
    until(is_complete(service))
    assert sorted(task.instance_id for task in world.tasks()) == ["i-1", "i-1", "i-2", "i-2"]
    started, done, steady = messages(service)
    assert started.startswith("has started 4 tasks: (task ")
    assert done == f"(deployment {service.primary.id}) deployment completed."
    assert steady == "has reached a steady state."


def test_a_pass_that_fails_is_not_the_last(world: World, until: Until) -> None:
    faults = [OSError(errno.ENOSPC, "No space left on device")]

    def on_pass() -> None:
        if faults:
            raise faults.pop()

    world.loop.on_pass = on_pass
    until(is_complete(world.create(desired=1)))
    assert not faults


def test_a_rolling_deployment_leaves_only_the_new_tasks(world: World, until: Until) -> None:
    service = world.create(desired=2)
    until(is_complete(service))
    world.update(service, what=NEWER)
    until(is_complete(service))
    assert {task.task_definition["revision"] for task in world.tasks()} == {2}
    stopped = world.tasks(STOPPED)
    assert {task.stop_code for task in stopped} == {"ServiceSchedulerInitiated"}
    assert {c.exit_code for task in stopped for c in task.containers} == {143}
    assert service.primary.failed_tasks == 0, "a task that was asked to stop did not fail"
    assert sorted(world.runtime.cleaned) == sorted(task.id for task in stopped)


def test_a_scale_in_and_out(world: World, until: Until) -> None:
    service = world.create(desired=1)
    for desired in (3, 1, 0, 2):
        world.update(service, desired=desired)
        until(
            lambda desired=desired: len(world.tasks()) == desired == len([t for t in world.ecs.tasks() if t.should_run])
        )
    assert len(service.deployments) == 1


def test_a_task_that_ends_comes_back_at_once_and_its_end_is_told(world: World, until: Until) -> None:
    service = world.create(desired=1)
    until(is_complete(service))
    (first,) = world.tasks()
    world.end(first, 137)
    until(lambda: any(task is not first for task in world.tasks()))
    assert service.failures == 1
    assert service.not_before == service.failed_at, "the first restart waits for nothing"
    assert (first.stop_code, first.stopped_reason) == (
        "EssentialContainerExited",
        "Essential container in task exited",
    )
    assert [(c.status, c.exit_code) for c in first.containers] == [(STOPPED, 137)]
    assert service.primary.rollout_state == "COMPLETED"
    assert service.primary.failed_tasks == 0, "the deployment was complete long ago"


def test_a_task_that_crashes_at_its_start_is_restarted_with_growing_pauses(world: World, until: Until) -> None:
    pauses: dict[int, float] = {}
    judged: dict[int, tuple[int, str]] = {}

    def on_pass() -> None:
        for service in world.ecs.services():
            pauses[service.failures] = service.not_before - service.failed_at
            judged[service.failures] = (service.primary.failed_tasks, service.primary.rollout_state)

    world.loop.on_pass = on_pass
    service = world.create(what=CRASHING)
    until(lambda: service.failures >= 3 and len(world.tasks(STOPPED)) >= 3)
    _, second, third, *_ = sorted(world.tasks(STOPPED), key=lambda task: task.created_at)
    assert third.created_at - second.created_at >= 1.0
    assert [pauses[number] for number in (1, 2, 3)] == pytest.approx([0.0, 1.0, 2.0], abs=0.01)
    assert [judged[number] for number in (1, 2, 3)] == [(number, "IN_PROGRESS") for number in (1, 2, 3)]


def test_tasks_that_fail_together_are_one_failure_in_a_row(world: World, until: Until) -> None:
    """Else ten tasks that are killed at once would not come back for a minute."""
    service = world.create(desired=10)
    until(is_complete(service))
    before = world.tasks()
    for task in before:
        world.end(task, 137)
    until(lambda: len([task for task in world.tasks() if task not in before]) == 10)
    assert service.failures == 1


def test_the_breaker_goes_back_to_what_was_stable(world: World, until: Until) -> None:
    service = world.create(desired=2, deploymentConfiguration=BREAKER)
    until(is_complete(service))
    before = {task.id for task in world.tasks()}
    world.update(service, what=CRASHING)
    failing = service.primary
    until(lambda: failing.rollout_state == "FAILED")
    assert failing.failed_tasks >= 3
    until(is_complete(service))
    assert service.primary.task_definition == STEADY
    assert len(world.tasks()) == 2
    assert f"(deployment {failing.id}) deployment failed: tasks failed to start." in messages(service)
    assert len(before) == 2


def test_a_rollback_that_fails_too_is_the_end_of_it(world: World, until: Until) -> None:
    """What was stable may crash today; rolling back to it over and over would never pause."""
    with world.ecs.lock:
        service = world.create(desired=3, what=CRASHING, deploymentConfiguration=BREAKER)
        service.stable_before = CRASHING
    until(lambda: service.primary.is_rollback and service.primary.rollout_state == "FAILED")
    until(lambda: not [task for task in world.ecs.tasks() if task.should_run])
    until(lambda: len(service.deployments) == 1)
    rollbacks = [text for text in messages(service) if text.startswith("rolling back")]
    assert len(rollbacks) == 1


def test_without_a_stable_one_the_breaker_just_gives_up(world: World, until: Until) -> None:
    service = world.create(desired=3, what=CRASHING, deploymentConfiguration=BREAKER)
    until(lambda: service.primary.rollout_state == "FAILED")
    assert len(service.deployments) == 1
    assert "circuit breaker" in service.primary.rollout_reason


def test_a_container_that_cannot_start_tells_why(world: World, until: Until) -> None:
    world.create(what=definition("weather", 4, container("one"), container("two", image="absent")))
    until(lambda: world.tasks(STOPPED))
    task = world.tasks(STOPPED)[0]
    assert task.stop_code == "TaskFailedToStart"
    assert task.stopped_reason == "CannotPullContainerError: no image absent was published to this lab"
    assert world.runtime.containers[task.id, "one"].wait() in (137, 143), "the one that had started was ended"
    assert [c.status for c in task.containers] == [STOPPED, STOPPED]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_of_ours_ends_the_task_and_not_the_region(world: World, until: Until) -> None:
    """A task that nobody runs must not look as if it were about to start, for ever."""
    broken = definition("weather", 4, container("one"), container("two", image="broken"))
    with world.ecs.lock:
        (task,), _ = world.ecs.run_task(CLUSTER, broken, 1, {})
    until(lambda: task.last_status == STOPPED)
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == f"task-{task.id[:8]}"])
    assert task.stop_code == "TaskFailedToStart"
    assert "region's log" in task.stopped_reason
    assert world.runtime.containers[task.id, "one"].wait() in (137, 143)


def test_what_finds_no_place_says_so_and_finds_it_later(world: World, until: Until) -> None:
    service = world.create(what=definition("weather", 1, container(memory=10_000)))
    until(lambda: service.events)
    no_place = "was unable to place a task because no container instance met all of its requirements. Reason: The"
    assert messages(service)[0].startswith(no_place)
    world.loop.add_instance(ec2_instance(world.folder, "i-3"), instance("i-3", memory=20_000))
    until(is_complete(service))
    assert [task.instance_id for task in world.tasks()] == ["i-3"]


def test_a_drained_instance_empties_without_a_gap(world: World, until: Until) -> None:
    service = world.create(desired=2)
    until(is_complete(service))
    with world.ecs.lock:
        one = next(i for i in world.ecs.instances_of(CLUSTER) if i.instance_id == "i-1")
        world.ecs.set_instance_status(one, DRAINING)
    until(lambda: [task.instance_id for task in world.tasks()] == ["i-2", "i-2"])


def test_a_lost_instance_is_forgotten_and_its_tasks_move(world: World, until: Until) -> None:
    service = world.create(desired=2)
    until(is_complete(service))
    world.loop.remove_instance(world.instances["i-1"])
    assert all(task.last_status == STOPPED for task in world.ecs.tasks() if task.instance_id == "i-1")
    until(lambda: [task.instance_id for task in world.tasks()] == ["i-2", "i-2"])
    lost = next(task for task in world.tasks(STOPPED) if task.instance_id == "i-1")
    assert (lost.stop_code, lost.stopped_at is not None) == ("TerminationNotice", True)
    assert service.failures == 0


def test_an_instance_that_goes_while_it_joins_does_not_join(world: World) -> None:
    gone = ec2_instance(world.folder, "i-9")
    gone.stopping.set()
    world.loop.remove_instance(gone)
    world.loop.add_instance(gone, instance("i-9"))
    assert "i-9" not in [one.instance_id for one in world.ecs.instances_of(CLUSTER)]


def test_a_task_that_is_stopped_before_it_ran_is_never_started(world: World, until: Until) -> None:
    with world.ecs.lock:
        task = world.ecs.add_task(CLUSTER, STEADY, "g", overrides={})
        world.ecs.stop_task(task, "UserInitiated", "never mind")
    until(lambda: task.last_status == STOPPED)
    assert task.stopped_at is not None
    assert world.runtime.containers == {}


def test_a_deleted_service_drains_and_is_inactive(world: World, until: Until) -> None:
    service = world.create(desired=2)
    until(is_complete(service))
    with world.ecs.lock:
        world.ecs.delete_service(service)
    until(lambda: service.status == INACTIVE)
    assert world.tasks() == []


def test_what_has_ended_leaves_nothing_in_the_agent(world: World, until: Until) -> None:
    service = world.create(desired=3)
    until(is_complete(service))
    world.update(service, desired=0)
    until(lambda: len(world.tasks(STOPPED)) == 3 and not world.loop._supervisors)


def test_a_crash_is_replaced_while_its_slow_neighbour_still_ends(world: World, until: Until) -> None:
    two = definition("weather", 1, container("app"), container("sidecar", image="stubborn", stopTimeout=600))
    world.create(what=two)
    until(lambda: world.tasks())
    (first,) = world.tasks()
    world.end(first)
    until(lambda: any(task is not first for task in world.tasks()))
    assert first.last_status != STOPPED
    assert (first.desired_status, first.stop_code) == (STOPPED, "EssentialContainerExited")
    world.runtime.containers[first.id, "sidecar"].kill()
    until(lambda: first.last_status == STOPPED)


def test_a_task_of_its_own_is_not_restarted(world: World, until: Until) -> None:
    with world.ecs.lock:
        (task,), failures = world.ecs.run_task(CLUSTER, definition("job", 1, container(image="crash:0")), 1, {})
    until(lambda: task.last_status == STOPPED)
    assert failures == []
    assert task.stop_code == "EssentialContainerExited"
    assert len(world.ecs.tasks()) == 1


def test_closing_ends_all_and_starts_nothing_more(home: LabDir, tmp_path: Path, until: Until) -> None:
    world = World(home, tmp_path)
    world.create(desired=5)
    until(lambda: len(world.tasks()) == 5)
    world.loop.close()
    assert {task.last_status for task in world.ecs.tasks()} == {STOPPED}
    assert len(world.ecs.tasks()) == 5


def test_waiting_for_an_agent_that_never_comes_ends_with_the_machine(world: World) -> None:
    gone = ec2_instance(world.folder, "i-9")
    gone.stopping.set()
    assert not world.loop.await_agent(gone)
