"""Reading the tasks' logs from CloudWatch, simulated by moto."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest

from ecsconsul.config.aws_settings import LogsSpec
from ecsconsul.errors import LabError
from ecsconsul.targets.aws.cloudwatch_logs import configuration, follow, last_lines, reader, require_readable
from ecsconsul.targets.base import LogLine

Account = Callable[[str], Any]
GROUP = "/ecsconsul/blue"


class Writer:
    """Writes as the awslogs driver does, to one stream per task, with times a millisecond apart."""

    def __init__(self, logs: Any) -> None:
        self._logs = logs
        self._clock = itertools.count(int(time.time() * 1000) - 60_000)
        logs.create_log_group(logGroupName=GROUP)

    def start(self, service: str, task: str) -> None:
        self._logs.create_log_stream(logGroupName=GROUP, logStreamName=f"{service}/{service}/{task}")

    def write(self, service: str, task: str, *lines: str) -> None:
        events = [{"timestamp": next(self._clock), "message": line} for line in lines]
        name = f"{service}/{service}/{task}"
        self._logs.put_log_events(logGroupName=GROUP, logStreamName=name, logEvents=events)


@pytest.fixture
def logs(account: Account) -> Any:
    return account("logs")


@pytest.fixture
def writer(logs: Any) -> Writer:
    found = Writer(logs)
    for service, task in (("weather", "1111aaaabbbb"), ("weather", "2222aaaabbbb"), ("weather-2", "3333aaaabbbb")):
        found.start(service, task)
    found.write("weather", "1111aaaabbbb", "one", "two", "three")
    found.write("weather", "2222aaaabbbb", "four")
    found.write("weather-2", "3333aaaabbbb", "not of weather")
    return found


def plain(lines: list[LogLine]) -> list[tuple[str, str]]:
    return [(line.task, line.text) for line in lines]


def test_lines_since_a_time(logs: Any, writer: Writer) -> None:
    (second,) = (line.at for line in last_lines(logs, "blue", "weather", 9) if line.text == "two")
    assert second is not None
    found = last_lines(logs, "blue", "weather", 9, since=second + 0.0005)
    assert plain(found) == [("1111aaaa", "two"), ("1111aaaa", "three"), ("2222aaaa", "four")]
    assert last_lines(logs, "blue", "weather", 9, since=time.time()) == []


def test_last_lines_of_each_task(logs: Any, writer: Writer) -> None:
    found = last_lines(logs, "blue", "weather", 2)
    assert plain(found) == [("1111aaaa", "two"), ("1111aaaa", "three"), ("2222aaaa", "four")]
    assert [line.at for line in found] == sorted(line.at or 0.0 for line in found)
    assert last_lines(logs, "blue", "weather", 0) == []


def test_last_lines_of_one_task(logs: Any, writer: Writer) -> None:
    assert plain(last_lines(logs, "blue", "weather", 1, "1111aaaabbbb")) == [("1111aaaa", "three")]
    assert plain(last_lines(logs, "blue", "weather", 5, "2222")) == [("2222aaaa", "four")]
    assert last_lines(logs, "blue", "weather", 5, "9999") == []


def test_missing_log_group_has_no_lines(logs: Any) -> None:
    assert last_lines(logs, "blue", "weather", 5) == []


class Enough(Exception):
    """Ends `follow`."""


def test_follow_yields_the_last_lines_and_then_new_ones(logs: Any, writer: Writer) -> None:
    pauses = itertools.count()

    def pause(_: float) -> None:
        number = next(pauses)
        if number == 0:
            writer.write("weather", "1111aaaabbbb", "five")
        elif number == 1:
            writer.start("weather", "4444aaaabbbb")
            writer.write("weather", "4444aaaabbbb", "six", "seven")
            writer.write("weather-2", "3333aaaabbbb", "not of weather")
        elif number == 3:
            raise Enough

    followed = follow(logs, "blue", "weather", 1, pause=pause)
    assert [line.text for line in itertools.islice(followed, 5)] == ["three", "four", "five", "six", "seven"]
    with pytest.raises(Enough):
        next(followed)


def test_log_configuration_names_the_streams() -> None:
    assert configuration("blue", "eu-west-1", "weather", LogsSpec()) == {
        "logDriver": "awslogs",
        "options": {
            "awslogs-group": GROUP,
            "awslogs-region": "eu-west-1",
            "awslogs-stream-prefix": "weather",
        },
    }


def test_options_of_awslogs_are_merged_into_ours() -> None:
    logs = LogsSpec(options={"mode": "non-blocking", "max-buffer-size": "25m"})
    found = configuration("blue", "eu-west-1", "weather", logs)
    assert found["options"] == {**configuration("blue", "eu-west-1", "weather", LogsSpec())["options"], **logs.options}
    require_readable(logs)


@pytest.mark.parametrize("options", [{}, {"syslog-address": "tcp://10.0.0.9:514"}])
def test_another_driver_has_only_its_own_options(options: dict[str, str]) -> None:
    found = configuration("blue", "eu-west-1", "weather", LogsSpec(driver="syslog", options=options))
    assert found == {"logDriver": "syslog", **({"options": options} if options else {})}


@pytest.mark.parametrize(
    ("logs", "why"),
    [
        (LogsSpec(driver="syslog"), "the log driver is syslog"),
        (LogsSpec(options={"awslogs-group": "/theirs"}), "aws.logs.options.awslogs-group sends them elsewhere"),
    ],
)
def test_logs_that_go_elsewhere_cannot_be_read(logs: LogsSpec, why: str) -> None:
    with pytest.raises(LabError, match="can't read the tasks' logs") as raised:
        require_readable(logs)
    assert why in raised.value.why


def definition(**configured: Any) -> dict[str, Any]:
    return {"containerDefinitions": [{"name": "proxy"}, {"name": "weather", **configured}]}


def test_output_of_one_container_is_read_once(logs: Any, writer: Writer) -> None:
    configured = definition(logConfiguration=configuration("blue", "us-east-1", "weather", LogsSpec()))
    found = reader(logs, "1111aaaabbbb", configured, "weather")
    assert found is not None
    assert (found.read(), found.read()) == (["one", "two", "three"], [])
    writer.write("weather", "1111aaaabbbb", "four\n")
    assert (found.read(), found.read(), found.rest()) == (["four"], [], "")
    late = reader(logs, "4444aaaabbbb", configured, "weather")
    assert late is not None
    assert late.read() == []
    writer.start("weather", "4444aaaabbbb")
    writer.write("weather", "4444aaaabbbb", "late")
    assert late.read() == ["late"]


def test_output_that_is_elsewhere_is_not_read(logs: Any) -> None:
    for configured in (
        {},
        {"logConfiguration": {"logDriver": "json-file"}},
        {"logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "mine"}}},
    ):
        assert reader(logs, "1111", definition(**configured), "weather") is None
