"""CloudWatch Logs of what tasks print, through boto3, as `aws logs tail --follow` reads them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ecsconsul.region import log_events
from ecsconsul.region.log_events import Stream, backward, forward, matcher, merged
from tests.region.api_region import ApiRegion

GROUP = "/ecsconsul/lab"
ONE, TWO, SIDE = "1" * 32, "2" * 32, "3" * 32


def write(path: Path, text: str, age: float = 60.0) -> None:
    """Lines that were written so many seconds ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as log:
        log.write(text)
    moment = time.time() - age
    os.utime(path, (moment, moment))


@pytest.fixture
def logs(api: ApiRegion) -> Iterator[Any]:
    """The lab's log group with the logs of three containers."""
    client = api.client("logs")
    client.create_log_group(logGroupName=GROUP)
    folder = api.lab_dir.service_logs("")
    write(folder / "weather" / f"{ONE}.log", "one\ntwo\n", 300)
    write(folder / "weather" / f"{TWO}.log", "three\n\xe9\n", 200)
    write(folder / "portal" / f"{SIDE}-side-car.log", "four\n", 100)
    yield client
    client.delete_log_group(logGroupName=GROUP)
    for path in folder.glob("*/*.log"):
        path.unlink()


def lines(logs: Any, **request: Any) -> list[tuple[str, str]]:
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=GROUP, **request)
    found = [event for page in pages for event in page["events"]]
    assert len({event["eventId"] for event in found}) == len(found)
    return [(event["logStreamName"], event["message"]) for event in found]


def test_lines_of_all_streams_in_the_order_of_time(logs: Any) -> None:
    expected = [
        (f"weather/weather/{ONE}", "one"),
        (f"weather/weather/{ONE}", "two"),
        (f"weather/weather/{TWO}", "three"),
        (f"weather/weather/{TWO}", "\xe9"),
        (f"portal/side-car/{SIDE}", "four"),
    ]
    assert lines(logs) == expected
    assert lines(logs, PaginationConfig={"PageSize": 2}) == expected
    assert lines(logs, logStreamNamePrefix="weather/") == expected[:4]
    assert lines(logs, logStreamNames=[f"portal/side-car/{SIDE}"]) == expected[4:]
    assert lines(logs, filterPattern="o -four") == expected[:2]
    now = int(time.time() * 1000)
    assert lines(logs, startTime=now - 250_000) == expected[2:]
    assert lines(logs, startTime=now - 250_000, endTime=now - 150_000) == expected[2:4]


def test_following_finds_each_line_once(api: ApiRegion, logs: Any) -> None:
    """From the time of the last event on, known ones left out, as `aws logs tail --follow` does."""
    path = api.lab_dir.service_logs("weather") / f"{ONE}.log"
    begin, known, found = 0, set(), []
    for text in ("", "five\n", "", "six\nseven\n", "unfinished"):
        write(path, text, 0.0)
        for event in logs.filter_log_events(logGroupName=GROUP, startTime=begin)["events"]:
            if event["eventId"] not in known:
                known.add(event["eventId"])
                found.append(event["message"])
                begin = max(begin, event["timestamp"])
    # without recorded times, the first lines of a file are as new as its last
    assert sorted(found) == sorted(["one", "two", "three", "\xe9", "four", "five", "six", "seven"])


def test_events_of_one_stream_in_both_directions(logs: Any) -> None:
    request = {"logGroupName": GROUP, "logStreamName": f"weather/weather/{ONE}"}

    def read(**more: Any) -> tuple[list[str], dict[str, Any]]:
        found = logs.get_log_events(**request, **more)
        return [event["message"] for event in found["events"]], found

    texts, found = read(limit=1)
    assert texts == ["two"]
    texts, found = read(limit=1, nextToken=found["nextBackwardToken"])
    assert texts == ["one"]
    texts, last = read(limit=1, nextToken=found["nextBackwardToken"])
    assert (texts, last["nextBackwardToken"]) == ([], found["nextBackwardToken"])
    texts, found = read(startFromHead=True)
    assert texts == ["one", "two"]
    texts, last = read(nextToken=found["nextForwardToken"])
    assert (texts, last["nextForwardToken"]) == ([], found["nextForwardToken"])


def test_streams_are_described(logs: Any) -> None:
    found = logs.describe_log_streams(logGroupName=GROUP)["logStreams"]
    assert [one["logStreamName"] for one in found] == [
        f"portal/side-car/{SIDE}",
        f"weather/weather/{ONE}",
        f"weather/weather/{TWO}",
    ]
    assert all(one["lastEventTimestamp"] <= time.time() * 1000 for one in found)
    (newest,) = logs.describe_log_streams(logGroupName=GROUP, orderBy="LastEventTime", descending=True, limit=1)[
        "logStreams"
    ]
    assert newest["logStreamName"] == f"portal/side-car/{SIDE}"
    names = logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix="weather/")["logStreams"]
    assert len(names) == 2


def test_other_groups_are_motos(logs: Any) -> None:
    logs.create_log_group(logGroupName="mine")
    logs.create_log_stream(logGroupName="mine", logStreamName="s")
    event = {"timestamp": int(time.time() * 1000), "message": "hello"}
    logs.put_log_events(logGroupName="mine", logStreamName="s", logEvents=[event])
    assert [one["message"] for one in logs.filter_log_events(logGroupName="mine")["events"]] == ["hello"]


@pytest.mark.parametrize(
    ("operation", "request_", "code"),
    [
        ("filter_log_events", {"logGroupName": "no-such-group"}, "ResourceNotFoundException"),
        ("filter_log_events", {"logGroupName": GROUP, "nextToken": "x"}, "InvalidParameterException"),
        ("filter_log_events", {"logGroupName": GROUP, "filterPattern": "{$.a = 1}"}, "InvalidParameterException"),
        ("get_log_events", {"logGroupName": GROUP, "logStreamName": "x"}, "ResourceNotFoundException"),
    ],
)
def test_refusals(logs: Any, operation: str, request_: dict[str, Any], code: str) -> None:
    with pytest.raises(ClientError) as raised:
        getattr(logs, operation)(**request_)
    assert raised.value.response["Error"]["Code"] == code


def test_pages_are_bounded_and_lose_nothing(tmp_path: Path) -> None:
    streams = [Stream(name, tmp_path / f"{name}.log") for name in ("a", "b")]
    for stream in streams:
        stream.path.write_text("".join(f"{stream.name} {number:020d}\n" for number in range(2000)))
    offsets: dict[str, int] = {}
    found, more = [], True
    while more:
        page = merged(streams, offsets, 0, log_events.PAGE_EVENTS, page_bytes=16_384)
        assert sum(event.end - event.start for event in page.events) <= 16_384
        found += [event.text for event in page.events]
        offsets, more = page.offsets, page.more
    assert len(found) == len(set(found)) == 4000


def test_long_and_unfinished_lines(tmp_path: Path) -> None:
    stream = Stream("a", tmp_path / "a.log")
    assert forward(stream, 0, 10) == ([], True)
    stream.path.write_text("x" * 25 + "\nlast")
    (first,), is_all = forward(stream, 0, 10)
    assert (first.text, first.end, is_all) == ("x" * 10, 10, False)
    rest, is_all = forward(stream, 20, 1000)
    assert ([event.text for event in rest], is_all) == (["x" * 5], True)
    os.utime(stream.path, (1.0, 1.0))
    assert [event.text for event in forward(stream, 26, 1000)[0]] == ["last"]
    assert [event.text for event in backward(stream, 30, 5, budget=8)] == ["last"]


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("", "x", True), ("ERROR", "an ERROR", True), ("ERROR", "error", False), ("a b", "b a", True),
        ('"a b"', "b a", False), ("?a ?b", "b", True), ("?a ?b", "c", False), ("a -b", "a b", False), ("-b", "a", True),
    ],
)  # fmt: skip
def test_filter_pattern(pattern: str, text: str, expected: bool) -> None:
    assert matcher(pattern)(text) is expected
