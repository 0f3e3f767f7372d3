"""A helper program: that it is ready, what it said, and that it ends, willing or not."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from ecsconsul.targets.aws import helper_process
from ecsconsul.targets.aws.helper_process import HelperProcess


def shell(script: str) -> HelperProcess:
    return HelperProcess(["/bin/sh", "-c", script], lambda line: line == "ready")


def test_it_is_ready_when_it_says_so() -> None:
    with shell("echo first; echo ready; exec sleep 60") as program:
        assert program.await_ready(10)
        assert not program.ended()
    assert program.ended()
    assert program.said() == ["first"]


def test_one_that_ends_before_is_not_waited_for() -> None:
    with shell("echo sorry >&2; exit 3") as program:
        begun = time.monotonic()
        assert not program.await_ready(30)
        assert time.monotonic() - begun < 10
    assert program.said() == ["sorry"]


def test_one_that_says_nothing_is_waited_for_so_long() -> None:
    with shell("exec sleep 60") as program:
        assert not program.await_ready(0.05)


def test_one_that_does_not_heed_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(helper_process, "END_SECONDS", 0.5)
    pid = tmp_path / "pid"
    with shell(f"trap '' TERM; echo $$ > {pid}; echo ready; while :; do sleep 60; done") as program:
        assert program.await_ready(10)
    assert not psutil.pid_exists(int(pid.read_text()))


def test_a_ctrl_c_before_anybody_waits_for_one_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper_process, "_WATCH", helper_process._WATCH.replace("cat;", "kill -INT $$; cat;"))
    with shell("exec sleep 600") as program:
        assert program.ended(within=60)


def test_closing_twice_is_fine() -> None:
    program = shell("exec sleep 60")
    program.close()
    program.close()


def test_variables_are_added() -> None:
    with HelperProcess(["/bin/sh", "-c", 'echo "$COLOUR"'], lambda line: line == "blue", {"COLOUR": "blue"}) as program:
        assert program.await_ready(10)
