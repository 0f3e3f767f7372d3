"""The scheduler's decisions: by example, and as properties under random events."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ecsconsul.region.ecs.model import DEPROVISIONING, DRAINING, RUNNING, STOPPED, Deployment, Service, Task
from ecsconsul.region.ecs.scheduler import breaker_trips, completed, plan, restart_delay
from tests.region.ecs.factories import definition, service, task

NOW = 1_000_000.0


def passing(**more: object) -> Task:
    return task(passing=True, **more)


def rolling(desired: int = 1, **more: object) -> Service:
    """A service whose second deployment has just started."""
    one = service(desired=desired, **more)
    one.deployments[0].status = "ACTIVE"
    one.deployments.insert(0, Deployment("ecs-svc/2", definition(revision=2)))
    return one


# examples


def test_new_service_starts_all_its_tasks() -> None:
    assert plan(service(desired=3), [], NOW).start == 3


def test_steady_service_is_left_alone() -> None:
    found = plan(service(desired=2), [passing(), passing()], NOW)
    assert (found.start, found.stop) == (0, ())


def test_stopped_task_is_replaced() -> None:
    assert plan(service(desired=2), [passing(), task(last_status=STOPPED, desired_status=STOPPED)], NOW).start == 1


def test_stopping_task_is_replaced() -> None:
    leaving = passing(last_status=DEPROVISIONING, desired_status=STOPPED)
    assert plan(service(desired=1), [leaving], NOW).start == 1


def test_scale_in_stops_unhealthy_tasks_first_then_the_newest() -> None:
    oldest, unhealthy, newest = passing(), task(), passing()
    found = plan(service(desired=1), [oldest, unhealthy, newest], NOW)
    assert [one for one, _ in found.stop] == [unhealthy, newest]
    assert found.stop[0][1] == "Scaling activity initiated by (deployment ecs-svc/1)"


def test_old_task_stays_until_the_new_one_passes() -> None:
    old, new = passing(), task(deployment_id="ecs-svc/2")
    assert plan(rolling(), [old], NOW).start == 1
    assert plan(rolling(), [old, new], NOW).stop == ()
    new.passing = True
    assert [one for one, _ in plan(rolling(), [old, new], NOW).stop] == [old]


def test_unhealthy_old_tasks_stop_at_once() -> None:
    assert [one.passing for one, _ in plan(rolling(desired=2), [task(), passing()], NOW).stop] == [False]


def test_minimum_healthy_percent_is_rounded_up() -> None:
    found = plan(rolling(desired=3, minimum_healthy_percent=50, maximum_percent=100), [passing() for _ in "123"], NOW)
    assert (found.start, len(found.stop)) == (0, 1)


def test_maximum_percent_is_rounded_down() -> None:
    found = plan(rolling(desired=3, minimum_healthy_percent=0, maximum_percent=150), [passing() for _ in "123"], NOW)
    assert found.start == 1


def test_evicted_task_is_replaced_before_it_stops() -> None:
    evicted, fresh = passing(evicted=True), task()
    assert plan(service(), [evicted], NOW) == plan(service(), [], NOW), "starts a task, and stops none"
    assert plan(service(), [evicted, fresh], NOW).stop == ()
    fresh.passing = True
    assert [one for one, _ in plan(service(), [evicted, fresh], NOW).stop] == [evicted]


def test_throttled_service_starts_nothing_before_its_delay_ends() -> None:
    throttled = service(desired=1, not_before=NOW + 1)
    assert plan(throttled, [], NOW).start == 0
    assert plan(throttled, [], NOW + 1).start == 1


def test_deleted_service_stops_all_tasks() -> None:
    found = plan(service(desired=0, status=DRAINING), [passing(), task()], NOW)
    assert (found.start, len(found.stop)) == (0, 2)


def test_failed_deployment_keeps_healthy_tasks_and_starts_none() -> None:
    failed = rolling(desired=2)
    failed.primary.rollout_state = "FAILED"
    found = plan(failed, [passing(), passing(), task(deployment_id="ecs-svc/2", desired_status=STOPPED)], NOW)
    assert (found.start, found.stop) == (0, ())


def test_failed_deployment_scaled_to_zero_stops_all_tasks() -> None:
    failed = rolling(desired=0)
    failed.primary.rollout_state = "FAILED"
    assert len(plan(failed, [passing(), task()], NOW).stop) == 2


def test_deployment_completes_when_all_tasks_pass_and_older_ones_have_stopped() -> None:
    one = rolling(desired=1)
    new = passing(deployment_id="ecs-svc/2")
    assert completed(one, [new])
    assert not completed(one, [task(deployment_id="ecs-svc/2")]), "not passing"
    assert not completed(one, [new, passing()]), "an old task runs"
    assert not completed(one, [new, passing(last_status=DEPROVISIONING, desired_status=STOPPED)]), (
        "an old task is still stopping"
    )
    assert completed(one, [new, task(last_status=STOPPED, desired_status=STOPPED)])
    assert completed(service(desired=0), [])


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 4), (7, 32), (8, 60), (5000, 60)]
)
def test_restart_delay_doubles_up_to_a_minute(failures: int, seconds: float) -> None:
    assert restart_delay(failures) == seconds


@pytest.mark.parametrize(
    ("desired", "threshold"),
    # The examples in AWS's documentation (deployment-circuit-breaker.html), and both limits.
    [(1, 3), (6, 3), (7, 4), (25, 13), (400, 200), (800, 200)],
)
def test_breaker_trips_at_half_of_the_tasks_within_limits(desired: int, threshold: int) -> None:
    one = service(desired=desired, circuit_breaker={"enable": True, "rollback": False})
    one.primary.failed_tasks = threshold - 1
    assert not breaker_trips(one)
    one.primary.failed_tasks = threshold
    assert breaker_trips(one)
    one.circuit_breaker = {"enable": False, "rollback": True}
    assert not breaker_trips(one)


def test_breaker_ignores_a_completed_deployment() -> None:
    one = service(circuit_breaker={"enable": True})
    one.primary.failed_tasks, one.primary.rollout_state = 50, "COMPLETED"
    assert not breaker_trips(one)


# properties


@dataclass
class Simulation:
    """A service, its tasks, and what can happen to them. Applies plans like the control loop, and checks the limits."""

    service: Service
    tasks: list[Task] = field(default_factory=list)

    def running(self) -> list[Task]:
        return [one for one in self.tasks if one.should_run]

    def apply(self) -> bool:
        """Apply the plan; False when it is empty."""
        before = self.running()
        found = plan(self.service, self.tasks, NOW)
        leaving = [one for one, _ in found.stop]
        assert all(one in before for one in leaving), "stops a task that is stopping already"
        assert len({one.id for one in leaving}) == len(leaving), "stops a task twice"
        if any(one.passing for one in leaving):
            staying = sum(one.passing for one in before if one not in leaving)
            assert staying >= self.service.floor, "the scheduler undercuts the floor"
        if found.start:
            assert len(before) + found.start <= self.service.ceiling, "the scheduler exceeds the ceiling"
        for one in leaving:
            one.desired_status, one.last_status = STOPPED, DEPROVISIONING
        self.tasks += [task(deployment_id=self.service.primary.id) for _ in range(found.start)]
        return bool(found.start or leaving)

    def deploy(self, number: int) -> None:
        for one in self.service.deployments:
            one.status = "ACTIVE"
        self.service.deployments.insert(0, Deployment(f"ecs-svc/new{len(self.service.deployments)}", definition()))

    def scale(self, number: int) -> None:
        self.service.desired = number

    def crash(self, number: int) -> None:
        self._pick(number, lambda one: one.last_status != STOPPED, passing=False, stopped=True)

    def become_passing(self, number: int) -> None:
        self._pick(number, lambda one: one.should_run and not one.passing, passing=True)

    def evict(self, number: int) -> None:
        self._pick(number, lambda one: one.should_run, evicted=True)

    def activate(self, number: int) -> None:
        self._pick(number, lambda one: one.should_run and one.evicted, evicted=False)

    def stop(self, number: int) -> None:
        self._pick(number, lambda one: one.last_status == DEPROVISIONING, stopped=True)

    def _pick(self, number: int, which: object, *, stopped: bool = False, **change: bool) -> None:
        able = [one for one in self.tasks if which(one)]  # type: ignore[operator]
        if able:
            one = able[number % len(able)]
            for name, value in change.items():
                setattr(one, name, value)
            if stopped:
                one.desired_status = one.last_status = STOPPED

    def settle(self) -> None:
        """Apply plans until the service is steady."""
        for _ in range(200):
            acted = self.apply()
            for one in self.tasks:
                one.passing = one.passing or one.should_run
                if one.last_status == DEPROVISIONING:
                    one.last_status = STOPPED
            if not acted and completed(self.service, self.tasks):
                return
        raise AssertionError("never becomes steady")


EVENTS = st.tuples(
    st.sampled_from(
        ["apply", "apply", "deploy", "scale", "crash", "become_passing", "become_passing", "evict", "activate", "stop"]
    ),
    st.integers(0, 8),
)


@settings(max_examples=300, deadline=None)
@given(
    desired=st.integers(0, 8),
    minimum=st.sampled_from([0, 34, 50, 67, 100]),
    maximum=st.sampled_from([100, 125, 150, 200]),
    events=st.lists(EVENTS, max_size=40),
)
def test_limits_hold_and_the_service_becomes_steady(
    desired: int, minimum: int, maximum: int, events: list[tuple[str, int]]
) -> None:
    simulation = Simulation(service(desired=desired, minimum_healthy_percent=minimum, maximum_percent=maximum))
    for event, number in events:
        if event == "apply":
            simulation.apply()
        else:
            getattr(simulation, event)(number)
    # ECS is stuck too when the limits leave no room for even one task.
    assume(simulation.service.ceiling > simulation.service.floor or simulation.service.desired == 0)
    simulation.settle()
    alive = [one for one in simulation.tasks if one.last_status == RUNNING]
    assert len(alive) == simulation.service.desired
    assert all(one.passing and not one.evicted for one in alive)
    assert {one.deployment_id for one in alive} <= {simulation.service.primary.id}


@settings(max_examples=100, deadline=None)
@given(desired=st.integers(1, 6), crashes=st.lists(st.integers(0, 5), max_size=10))
def test_deleted_service_stops_all_tasks_despite_crashes(desired: int, crashes: list[int]) -> None:
    simulation = Simulation(service(desired=desired))
    simulation.apply()
    for number in crashes:
        simulation.crash(number)
    simulation.service.desired, simulation.service.status = 0, DRAINING
    simulation.settle()
    assert not simulation.running()
