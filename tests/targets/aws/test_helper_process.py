"""A helper program: readiness, output, and that it always ends."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psutil

from ecsconsul.targets.aws.helper_process import _WATCHDOG, HelperProcess

TIMEOUT = 60.0


def shell(script: str, **more: Any) -> HelperProcess:
    return HelperProcess(["/bin/sh", "-c", script], lambda line: line == "ready", **more)


def test_program_is_ready_once_it_prints_the_line() -> None:
    with shell("echo first; echo ready; exec sleep 60") as program:
        assert program.await_ready(TIMEOUT)
        assert not program.ended()
    assert program.ended()
    assert program.output() == ["first"]


def test_program_that_exits_early_is_not_waited_for() -> None:
    with shell("echo sorry >&2; exit 3") as program:
        begun = time.monotonic()
        assert not program.await_ready(600)
        assert time.monotonic() - begun < TIMEOUT
    assert program.output() == ["sorry"]


def test_silent_program_is_waited_for_only_so_long() -> None:
    with shell("exec sleep 60") as program:
        assert not program.await_ready(0.05)


def test_program_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"trap '' TERM; echo $$ > {pid}; echo ready; while :; do sleep 60; done"
    with shell(script, kill_seconds=0.5) as program:
        assert program.await_ready(TIMEOUT)
    assert not psutil.pid_exists(int(pid.read_text()))


def test_early_ctrl_c_ends_the_program() -> None:
    """It arrives before the watchdog waits for one."""
    with shell("exec sleep 600", watchdog=_WATCHDOG.replace("cat;", "kill -INT $$; cat;")) as program:
        assert program.ended(within=TIMEOUT)


def test_close_can_be_repeated() -> None:
    program = shell("exec sleep 60")
    program.close()
    program.close()


def test_variables_are_added_to_the_environment() -> None:
    with HelperProcess(["/bin/sh", "-c", 'echo "$COLOUR"'], lambda line: line == "blue", {"COLOUR": "blue"}) as program:
        assert program.await_ready(TIMEOUT)
