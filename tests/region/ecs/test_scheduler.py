"""The scheduler's decisions: by example, and as properties of a service that lives through anything."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ecsconsul.region.ecs.model import DEPROVISIONING, DRAINING, RUNNING, STOPPED, Deployment, Service, Task
from ecsconsul.region.ecs.scheduler import breaker_trips, completed, plan, restart_delay
from tests.region.ecs.making import definition, service, task

NOW = 1_000_000.0


def passing(**more: object) -> Task:
    return task(passing=True, **more)


def rolling(desired: int = 1, **more: object) -> Service:
    """A service whose second deployment has just begun."""
    one = service(desired=desired, **more)
    one.deployments[0].status = "ACTIVE"
    one.deployments.insert(0, Deployment("ecs-svc/2", definition(revision=2)))
    return one


# by example


def test_a_new_service_gets_all_its_tasks_at_once() -> None:
    assert plan(service(desired=3), [], NOW).start == 3


def test_a_service_that_has_what_it_wants_is_left_alone() -> None:
    found = plan(service(desired=2), [passing(), passing()], NOW)
    assert (found.start, found.stop) == (0, ())


def test_a_task_that_ended_is_replaced() -> None:
    assert plan(service(desired=2), [passing(), task(last_status=STOPPED, desired_status=STOPPED)], NOW).start == 1


def test_a_task_on_its_way_out_counts_no_more() -> None:
    leaving = passing(last_status=DEPROVISIONING, desired_status=STOPPED)
    assert plan(service(desired=1), [leaving], NOW).start == 1


def test_a_scale_in_takes_those_that_serve_nobody_first_then_the_youngest() -> None:
    oldest, idle, youngest = passing(), task(), passing()
    found = plan(service(desired=1), [oldest, idle, youngest], NOW)
    assert [one for one, _ in found.stop] == [idle, youngest]
    assert found.stop[0][1] == "Scaling activity initiated by (deployment ecs-svc/1)"


def test_an_old_task_stays_until_the_new_one_passes() -> None:
    old, new = passing(), task(deployment_id="ecs-svc/2")
    assert plan(rolling(), [old], NOW).start == 1
    assert plan(rolling(), [old, new], NOW).stop == ()
    new.passing = True
    assert [one for one, _ in plan(rolling(), [old, new], NOW).stop] == [old]


def test_old_tasks_that_never_passed_make_room_at_once() -> None:
    assert [one.passing for one, _ in plan(rolling(desired=2), [task(), passing()], NOW).stop] == [False]


def test_half_of_the_tasks_may_leave_first_when_half_is_the_minimum() -> None:
    found = plan(rolling(desired=3, minimum_healthy_percent=50, maximum_percent=100), [passing() for _ in "123"], NOW)
    assert (found.start, len(found.stop)) == (0, 1), "the floor of 1.5 is rounded up"


def test_a_ceiling_is_rounded_down() -> None:
    found = plan(rolling(desired=3, minimum_healthy_percent=0, maximum_percent=150), [passing() for _ in "123"], NOW)
    assert found.start == 1


def test_a_task_on_a_draining_instance_moves_before_it_leaves() -> None:
    evicted, fresh = passing(evicted=True), task()
    assert plan(service(), [evicted], NOW) == plan(service(), [], NOW), "a new one, and none stopped"
    assert plan(service(), [evicted, fresh], NOW).stop == ()
    fresh.passing = True
    assert [one for one, _ in plan(service(), [evicted, fresh], NOW).stop] == [evicted]


def test_a_throttled_service_starts_nothing_until_its_time_has_come() -> None:
    throttled = service(desired=1, not_before=NOW + 1)
    assert plan(throttled, [], NOW).start == 0
    assert plan(throttled, [], NOW + 1).start == 1


def test_a_deleted_service_stops_all_and_starts_nothing() -> None:
    found = plan(service(desired=0, status=DRAINING), [passing(), task()], NOW)
    assert (found.start, len(found.stop)) == (0, 2)


def test_a_failed_deployment_keeps_what_serves_and_starts_no_more() -> None:
    failed = rolling(desired=2)
    failed.primary.rollout_state = "FAILED"
    found = plan(failed, [passing(), passing(), task(deployment_id="ecs-svc/2", desired_status=STOPPED)], NOW)
    assert (found.start, found.stop) == (0, ())


def test_a_failed_deployment_that_is_scaled_to_zero_lets_all_go() -> None:
    failed = rolling(desired=0)
    failed.primary.rollout_state = "FAILED"
    assert len(plan(failed, [passing(), task()], NOW).stop) == 2


def test_a_deployment_is_complete_when_all_pass_and_no_older_one_is_left() -> None:
    one = rolling(desired=1)
    new = passing(deployment_id="ecs-svc/2")
    assert completed(one, [new])
    assert not completed(one, [task(deployment_id="ecs-svc/2")]), "not passing"
    assert not completed(one, [new, passing()]), "an old one serves"
    assert not completed(one, [new, passing(last_status=DEPROVISIONING, desired_status=STOPPED)]), "not gone yet"
    assert completed(one, [new, task(last_status=STOPPED, desired_status=STOPPED)])
    assert completed(service(desired=0), [])


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 4), (7, 32), (8, 60), (5000, 60)]
)
def test_the_pause_doubles_up_to_a_minute(failures: int, seconds: float) -> None:
    assert restart_delay(failures) == seconds


@pytest.mark.parametrize(
    ("desired", "threshold"),
    # the examples of AWS's own table (deployment-circuit-breaker.html), and the limits on both sides
    [(1, 3), (6, 3), (7, 4), (25, 13), (400, 200), (800, 200)],
)
def test_the_breaker_trips_at_half_of_the_tasks_but_within_limits(desired: int, threshold: int) -> None:
    one = service(desired=desired, circuit_breaker={"enable": True, "rollback": False})
    one.primary.failed_tasks = threshold - 1
    assert not breaker_trips(one)
    one.primary.failed_tasks = threshold
    assert breaker_trips(one)
    one.circuit_breaker = {"enable": False, "rollback": True}
    assert not breaker_trips(one)


def test_the_breaker_leaves_a_complete_deployment_alone() -> None:
    one = service(circuit_breaker={"enable": True})
    one.primary.failed_tasks, one.primary.rollout_state = 50, "COMPLETED"
    assert not breaker_trips(one)


# as properties


@dataclass
class Runtime:
    """A service, its tasks, and what may happen to them; acts as the agent does and holds the limits meanwhile."""

    service: Service
    tasks: list[Task] = field(default_factory=list)

    def wanted(self) -> list[Task]:
        return [one for one in self.tasks if one.should_run]

    def act(self) -> bool:
        """Do what is planned; whether there was anything to do."""
        before = self.wanted()
        found = plan(self.service, self.tasks, NOW)
        leaving = [one for one, _ in found.stop]
        assert all(one in before for one in leaving), "stops what is not wanted anyway"
        assert len({one.id for one in leaving}) == len(leaving), "stops one twice"
        if any(one.passing for one in leaving):
            staying = sum(one.passing for one in before if one not in leaving)
            assert staying >= self.service.floor, "fewer healthy tasks than the floor, by the scheduler's own hand"
        if found.start:
            assert len(before) + found.start <= self.service.ceiling, "more tasks than the ceiling"
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

    def spare(self, number: int) -> None:
        self._pick(number, lambda one: one.should_run and one.evicted, evicted=False)

    def end(self, number: int) -> None:
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
        """Nothing happens any more but what the scheduler asks for."""
        for _ in range(200):
            acted = self.act()
            for one in self.tasks:
                one.passing = one.passing or one.should_run
                if one.last_status == DEPROVISIONING:
                    one.last_status = STOPPED
            if not acted and completed(self.service, self.tasks):
                return
        raise AssertionError("never comes to rest")


HAPPENINGS = st.tuples(
    st.sampled_from(
        ["act", "act", "deploy", "scale", "crash", "become_passing", "become_passing", "evict", "spare", "end"]
    ),
    st.integers(0, 8),
)


@settings(max_examples=300, deadline=None)
@given(
    desired=st.integers(0, 8),
    least=st.sampled_from([0, 34, 50, 67, 100]),
    most=st.sampled_from([100, 125, 150, 200]),
    happenings=st.lists(HAPPENINGS, max_size=40),
)
def test_whatever_happens_the_limits_hold_and_it_comes_to_rest(
    desired: int, least: int, most: int, happenings: list[tuple[str, int]]
) -> None:
    world = Runtime(service(desired=desired, minimum_healthy_percent=least, maximum_percent=most))
    for what, number in happenings:
        if what == "act":
            world.act()
        else:
            getattr(world, what)(number)
    # where the limits leave no room for even one task, ECS is stuck just so
    assume(world.service.ceiling > world.service.floor or world.service.desired == 0)
    world.settle()
    living = [one for one in world.tasks if one.last_status == RUNNING]
    assert len(living) == world.service.desired
    assert all(one.passing and not one.evicted for one in living)
    assert {one.deployment_id for one in living} <= {world.service.primary.id}


@settings(max_examples=100, deadline=None)
@given(desired=st.integers(1, 6), crashes=st.lists(st.integers(0, 5), max_size=10))
def test_a_deleted_service_empties_whatever_happens(desired: int, crashes: list[int]) -> None:
    world = Runtime(service(desired=desired))
    world.act()
    for number in crashes:
        world.crash(number)
    world.service.desired, world.service.status = 0, DRAINING
    world.settle()
    assert not world.wanted()
