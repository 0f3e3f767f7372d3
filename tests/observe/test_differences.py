"""The events between two snapshots."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ecsconsul.observe.differences import diff
from ecsconsul.observe.states import STOPPED, EcsState, Event, Snapshot
from tests.observe.samples import NODE, TASK_ID, consul, ecs, endpoint, members, seen, service, task


def texts(events: list[Event]) -> list[str]:
    return [event.text for event in events]


def test_nothing_happens_between_equal_snapshots() -> None:
    assert diff(seen(), seen(30.0)) == []


def test_what_is_seen_first_is_no_event() -> None:
    assert diff(Snapshot(1.0), seen()) == []


def test_instance_enters_with_its_task_and_the_time_since_its_start() -> None:
    [event] = diff(seen(consul=consul()), seen(10.021))
    assert event == Event(
        10.021, "instance-entered",
        "weather 3f2a0000 entered Consul at 127.0.9.2:32768, 21 ms after its task started",
        "weather", TASK_ID, endpoint().id, NODE, endpoint(),
    )  # fmt: skip


@pytest.mark.parametrize("tasks", [(), (task(),)])
def test_nothing_is_said_about_a_time_that_was_not_measured(tasks: tuple[object, ...]) -> None:
    """Without a task, or where ECS's clock is another machine's."""
    state = EcsState(1, tasks, (service(),), own_clock=False)  # type: ignore[arg-type]
    [event] = diff(seen(consul=consul(), ecs=state), seen(ecs=state))
    assert event.text.endswith("entered Consul at 127.0.9.2:32768")
    assert event.task == (TASK_ID if tasks else "")


def test_instance_that_enters_as_critical_says_so() -> None:
    [event] = diff(seen(consul=consul()), seen(9.0, consul=consul(endpoint("critical"))))
    assert event.text == "weather 3f2a0000 entered Consul at 127.0.9.2:32768 as critical"


def test_instance_leaves_and_is_still_told_by_its_task() -> None:
    gone = ecs(services=(service(),))
    [event] = [one for one in diff(seen(), seen(ecs=gone, consul=consul())) if one.kind == "instance-left"]
    assert event.text == "weather 3f2a0000 left Consul, where it was at 127.0.9.2:32768"
    assert event.task == TASK_ID


def test_instance_changes_its_status_and_its_tags() -> None:
    now = endpoint("critical", output="http: 500", tags=("v2",))
    events = diff(seen(), seen(consul=consul(now)))
    assert {event.kind for event in events} == {"instance-changed"}
    assert texts(events) == [
        "weather 3f2a0000 is critical in Consul, after passing: http: 500",
        "weather 3f2a0000 has the tags v2 in Consul, no longer http",
    ]
    assert events[0].endpoint == now


def test_checks_other_words_are_no_event() -> None:
    before, now = endpoint("critical", output="refused"), endpoint("critical", output="timed out")
    assert diff(seen(consul=consul(before)), seen(consul=consul(now))) == []


def test_life_of_a_task() -> None:
    pending = task("PENDING", port=0)
    stopping = task(desired=STOPPED, stopping=12.0, reason="scaled in")
    stopped = task(STOPPED, code=137, stopping=12.0, stopped=13.0, reason="scaled in")
    states = [ecs(), *(ecs(one) for one in (pending, task(), stopping, stopped))]
    events = [one for a, b in pairwise(states) for one in diff(seen(ecs=a), seen(ecs=b))]
    assert [(event.kind, event.time, event.text) for event in events] == [
        ("task-created", 9.0, f"weather 3f2a0000 is to start on {NODE}"),
        ("container-started", 10.0, "weather 3f2a0000: container weather has started, port 32768"),
        ("task-running", 10.0, "weather 3f2a0000 is running lab-weather:1"),
        ("task-stopping", 12.0, "weather 3f2a0000 is stopping: scaled in"),
        ("container-stopped", 13.0, "weather 3f2a0000: container weather has exited with code 137"),
        ("task-stopped", 13.0, "weather 3f2a0000 has stopped (exit code 137): scaled in"),
    ]


def test_task_that_came_and_went_unseen_is_told_in_order() -> None:
    gone = task(STOPPED, code=1, stopping=12.0, stopped=13.0, reason="Essential container in task exited")
    kinds = [event.kind for event in diff(seen(ecs=ecs()), seen(ecs=ecs(gone)))]
    assert kinds == ["task-created", "task-running", "task-stopping", "container-stopped", "task-stopped"]


def test_service_is_scaled_deployed_and_says_something() -> None:
    before = ecs(task(), services=(service(1, 1, "old"),))
    after = ecs(task(), services=(service(3, 1, "new", "old", revision=2),))
    assert texts(diff(seen(ecs=before), seen(ecs=after))) == [
        "weather is scaled from 1 to 3",
        "weather is deployed: lab-weather:2 instead of lab-weather:1",
        "new",
    ]


def test_service_comes_and_goes() -> None:
    before, after = ecs(services=(service(),)), ecs(services=(service(name="portal"),))
    assert {event.kind for event in diff(seen(ecs=before), seen(ecs=after))} == {"service-created", "service-deleted"}


def test_members_and_leader_change() -> None:
    before = members("alive", "alive", "alive")
    after = members("alive", "failed", leader="")
    assert {(event.kind, event.node) for event in diff(seen(members=before), seen(members=after))} == {
        ("member-changed", "i-2"), ("member-left", "i-3"), ("leader-changed", ""),
    }  # fmt: skip


def test_source_that_is_lost_and_back_is_told_once() -> None:
    lost = seen(lost={"Consul": "refused"})
    assert texts(diff(seen(), lost)) == ["Consul does not answer: refused"]
    assert diff(lost, lost) == []
    assert texts(diff(lost, seen())) == ["Consul answers again"]


def test_a_port_that_was_used_twice_belongs_to_the_newer_task() -> None:
    old, new = task(STOPPED, id="a" * 32, created=1.0), task(id="b" * 32, created=2.0)
    snapshot = seen(ecs=ecs(new, old))
    assert snapshot.task_of(endpoint()) == new
