"""What changes in a running lab is seen, recorded, and can be asked for afterwards."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import datetime, timezone

from tests.e2e.lab import TIMEOUT, Json, Lab, interrupted


def documents(process: subprocess.Popen[str]) -> Iterator[Json]:
    """The documents that a command prints, as they come."""
    assert process.stdout
    for line in process.stdout:
        yield json.loads(line)


IN_ORDER = ("task-running", "instance-entered", "task-stopping", "instance-left", "task-stopped")


def kinds_of(task: str, events: list[Json]) -> list[str]:
    return [event["kind"] for event in events if event["task"] == task and event["kind"] in IN_ORDER]


def is_passing(event: Json) -> bool:
    return bool(event["endpoint"]["status"] == "passing")


def test_events_of_a_task_are_followed_and_recorded(lab: Lab) -> None:
    """From its start to its end, joined from ECS and Consul; and `status --at` knows both moments."""
    with lab.started("events", "--follow", "--since", "0s", "--service", "weather", "--output", "json") as following:
        # what happens before the command follows comes from the record
        stream = documents(following)
        lab.ok("scale", "weather=2", timeout=TIMEOUT)
        seen: list[Json] = []
        for event in stream:
            seen.append(event)
            if event["kind"] in ("instance-entered", "instance-changed") and is_passing(event):
                break
        both = datetime.now(timezone.utc).isoformat()
        lab.ok("scale", "weather=1", timeout=TIMEOUT)
        for event in stream:
            seen.append(event)
            if event["kind"] == "task-stopped":
                break
        interrupted(following)
    # each source's events come in order, and those of one moment from two sources may not
    seen.sort(key=lambda event: str(event["time"]))
    entered = next(event for event in seen if event["kind"] == "instance-entered")
    at = f"{entered['endpoint']['address']}:{entered['endpoint']['port']}"
    assert f"entered Consul at {at}" in entered["text"]
    assert "ms after its task started" in entered["text"]
    assert kinds_of(entered["task"], seen)[:2] == ["task-running", "instance-entered"], seen
    gone = next(event["task"] for event in seen if event["kind"] == "task-stopped")
    assert kinds_of(gone, seen)[-3:] == ["task-stopping", "instance-left", "task-stopped"]

    recorded = lab.ok("events", "--since", "10m", "--service", "weather", "--output", "json").document["events"]
    assert set(kinds_of(gone, seen)) <= set(kinds_of(gone, recorded))
    assert set(kinds_of(entered["task"], seen)) <= set(kinds_of(entered["task"], recorded))
    then = lab.ok("status", "--at", both, "--output", "json").document
    [weather] = [one for one in then["services"] if one["name"] == "weather"]
    assert at in [f"{one['address']}:{one['port']}" for one in weather["instances"]]
    assert len(lab.endpoints("weather")) == 1


def test_status_of_a_time_before_the_record_is_refused(lab: Lab) -> None:
    result = lab.run("status", "--at", "2001-01-01T00:00:00")
    assert result.code == 1
    assert "Nothing was recorded at 2001-01-01 00:00:00" in result.err
    assert "the record begins at" in result.err
