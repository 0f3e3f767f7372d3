"""What changes in a running lab is seen, recorded, and can be asked for afterwards."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone

from tests.e2e.lab import TIMEOUT, Json, Lab, eventually, interrupted


def documents(process: subprocess.Popen[str]) -> Iterator[Json]:
    """The documents that a command prints, as they come; it is killed if that takes too long."""
    timer = threading.Timer(TIMEOUT, process.kill)
    timer.daemon = True
    timer.start()
    try:
        assert process.stdout
        for line in process.stdout:
            yield json.loads(line)
    finally:
        timer.cancel()


# of one task; those of ECS come in order and those of Consul too, but what one of them sees may come before the other's
OF_ECS, OF_CONSUL = ("task-running", "task-stopping", "task-stopped"), ("instance-entered", "instance-left")


def kinds_of(task: str, events: list[Json], kinds: tuple[str, ...] = OF_ECS + OF_CONSUL) -> list[str]:
    return [event["kind"] for event in events if event["task"] == task and event["kind"] in kinds]


def first(kind: str, events: list[Json]) -> Json | None:
    return next((event for event in events if event["kind"] == kind), None)


def read_until(stream: Iterator[Json], seen: list[Json], condition: Callable[[], bool]) -> None:
    """Read events until the condition is met."""
    for event in stream:
        seen.append(event)
        if condition():
            return
    raise AssertionError(f"the stream has ended: {seen}")


def has_entered(seen: list[Json]) -> bool:
    """Whether a task runs, and passes in Consul."""
    entries = [event for event in seen if event["kind"] in ("instance-entered", "instance-changed")]
    return first("task-running", seen) is not None and any(
        event["endpoint"]["status"] == "passing" for event in entries
    )


def stopped(seen: list[Json]) -> str:
    """The ID of a task that has stopped and has left Consul; empty without one."""
    ended = [event["task"] for event in seen if event["kind"] == "task-stopped"]
    return next((task for task in ended if "instance-left" in kinds_of(task, seen)), "")


def test_events_of_a_task_are_followed_and_recorded(lab: Lab) -> None:
    """From its start to its end, joined from ECS and Consul; and `status --at` knows both moments."""
    # what happens before the command follows comes from the record
    since = datetime.now(timezone.utc).isoformat()
    with lab.started("events", "--follow", "--since", since, "--service", "weather", "--output", "json") as following:
        stream = documents(following)
        lab.ok("scale", "weather=2")
        seen: list[Json] = []
        read_until(stream, seen, lambda: has_entered(seen))
        running, entered = first("task-running", seen), first("instance-entered", seen)
        assert running and entered
        new, at = running["task"], f"{entered['endpoint']['address']}:{entered['endpoint']['port']}"
        # the region sees it for itself, and may do so later
        eventually(lambda: recorded(lab), lambda events: "task-running" in kinds_of(new, events))
        eventually(lambda: entries(recorded(lab)), lambda found: at in found)
        both = datetime.now(timezone.utc).isoformat()
        lab.ok("scale", "weather=1")
        read_until(stream, seen, lambda: bool(stopped(seen)))
        interrupted(following)
    assert f"entered Consul at {at}" in entered["text"]
    if seen.index(running) < seen.index(entered):
        assert entered["task"] == new
        assert "ms after its task started" in entered["text"]
    assert kinds_of(new, seen, OF_ECS)[:1] == ["task-running"], seen
    gone = stopped(seen)
    assert kinds_of(gone, seen, OF_ECS)[-2:] == ["task-stopping", "task-stopped"], seen
    assert kinds_of(gone, seen, OF_CONSUL)[-1:] == ["instance-left"], seen

    kept = {"task-stopping", "task-stopped", "instance-left"}
    eventually(lambda: recorded(lab), lambda events: kept <= set(kinds_of(gone, events)))
    then = lab.ok("status", "--at", both, "--output", "json").document
    [weather] = [one for one in then["services"] if one["name"] == "weather"]
    assert at in [f"{one['address']}:{one['port']}" for one in weather["instances"]]
    assert len(lab.endpoints("weather")) == 1


def recorded(lab: Lab) -> list[Json]:
    """What the region has recorded of weather."""
    found: list[Json] = lab.ok("events", "--since", "30m", "--service", "weather", "--output", "json").document[
        "events"
    ]
    return found


def entries(events: list[Json]) -> list[str]:
    """Where instances have entered Consul."""
    places = [event["endpoint"] for event in events if event["kind"] == "instance-entered"]
    return [f"{place['address']}:{place['port']}" for place in places]


def test_status_of_a_time_before_the_record_is_refused(lab: Lab) -> None:
    result = lab.run("status", "--at", "2001-01-01T00:00:00")
    assert result.code == 1
    assert "Nothing was recorded at 2001-01-01 00:00:00" in result.err
    assert "the record begins at" in result.err
