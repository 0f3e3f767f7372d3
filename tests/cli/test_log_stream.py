"""Several logs as one stream, and tasks that end meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from ecsconsul.cli.log_stream import Ended, ends, follow_all
from ecsconsul.config.lab import Lab
from ecsconsul.errors import LabError, TargetAbsent
from ecsconsul.polling import PollingPolicy
from ecsconsul.targets.base import LogLine


class Ecs:
    """ECS whose one task of `web` has ended when it is asked again."""

    def __init__(self) -> None:
        self.asked = 0

    def get_paginator(self, operation: str) -> Any:
        assert operation == "list_tasks"
        return self

    def paginate(self, **request: str) -> list[dict[str, list[str]]]:
        if request["desiredStatus"] == "STOPPED":
            return []
        self.asked += 1
        return [{"taskArns": ["task/blue/11111111aaaa"] if self.asked == 1 else []}]


class Target:
    """Two services with a line each."""

    polling = PollingPolicy(0.0, 1)

    def __init__(self, ecs: Any = None, broken: str = "") -> None:
        self._ecs, self._broken = ecs, broken

    def client(self, name: str) -> Any:
        if self._ecs is None:
            raise TargetAbsent("The lab does not run")
        return self._ecs

    def follow(self, service: str, lines: int, since: float | None = None) -> Iterator[LogLine]:
        yield LogLine("11111111", f"{service} {lines} {since}")
        if service == self._broken:
            raise LabError("CloudWatch is gone")


def test_lines_of_all_services_come_as_one_stream() -> None:
    target: Any = Target()
    found = list(islice(follow_all(Lab(name="blue"), target, ["web", "db"], 3, 7.0), 2))
    assert {(name, item.text) for name, item in found if isinstance(item, LogLine)} == {
        ("web", "web 3 7.0"),
        ("db", "db 3 7.0"),
    }


def test_unreadable_log_ends_the_stream_with_its_error() -> None:
    target: Any = Target(broken="web")
    stream = follow_all(Lab(name="blue"), target, ["web"], 3, None)
    assert next(stream)[0] == "web"
    with pytest.raises(LabError, match="CloudWatch is gone"):
        next(stream)


def test_absent_lab_has_no_tasks() -> None:
    target: Any = Target()
    assert ends(Lab(name="blue"), target, ["web"]) == {}


def test_end_of_a_task_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecsconsul.cli.log_stream.ENDS_DELAY", 0.01)
    target: Any = Target(Ecs())
    stream = follow_all(Lab(name="blue"), target, ["web"], 3, None)
    ended = next(item for _, item in stream if isinstance(item, Ended))
    assert ended.task == "11111111"
