"""Processes of a lab: marked from their first moment, alone with what they may know, and ended for sure."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ecsconsul.region.runtimes.lab_processes import (
    OWNER_VARIABLE,
    environment,
    find_leftovers,
    kill_leftovers,
    signal_group,
    start,
    stop,
)

Until = Callable[..., None]
PATIENCE = 60.0
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(99)"


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts Python code as a process of the lab at tmp_path; whatever is left of it ends with the test."""
    begun = []

    def run(code: str, **env: str) -> subprocess.Popen[bytes]:
        begun.append(start([sys.executable, "-c", code], root=tmp_path, log=tmp_path / "logs" / "log", env=env))
        return begun[-1]

    yield run
    kill_leftovers(tmp_path)
    for process in begun:
        process.wait(PATIENCE)


def said(home: Path) -> str:
    return (home / "logs" / "log").read_text()


def test_a_child_gets_no_secrets_and_cannot_lose_its_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("LANG", "C.UTF-8")
    found = environment(Path("/labs/one"), {"A": "1", OWNER_VARIABLE: "/labs/other"})
    assert (found["A"], found["LANG"], found[OWNER_VARIABLE]) == ("1", "C.UTF-8", "/labs/one")
    assert "AWS_SECRET_ACCESS_KEY" not in found


def test_the_output_of_all_lives_is_appended_to_the_log(
    begin: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    for word in ("one", "two"):
        code = "import os, sys; print(os.environ['WORD'], sys.stdin.read() == '', os.getsid(0) == os.getpid())"
        assert begin(code, WORD=word).wait(PATIENCE) == 0
    assert said(tmp_path) == "one True True\ntwo True True\n"


def test_a_program_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        start(["/nowhere/program"], root=tmp_path, log=tmp_path / "log", env={})


def test_stop_asks_first(begin: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, until: Until) -> None:
    code = (
        "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(7)); print('up', flush=True); time.sleep(60)"
    )
    process = begin(code)
    until(lambda: "up" in said(tmp_path))
    assert stop(process, 10) == 7
    assert stop(process, 10) == 7, "one that has ended is fine"


def test_stop_kills_what_does_not_listen_and_its_children(
    begin: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, until: Until
) -> None:
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]); {STUBBORN}"
    process = begin(code)
    until(lambda: said(tmp_path).count("up") == 2)
    asked = time.monotonic()
    assert stop(process, 0.2) == -signal.SIGKILL
    assert time.monotonic() - asked < 30
    until(lambda: find_leftovers(tmp_path) == [])


def test_a_signal_to_a_group_that_is_gone_is_fine(begin: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = begin("")
    process.wait(PATIENCE)
    signal_group(process.pid, signal.SIGKILL)


def test_survivors_are_those_of_the_lab_wherever_they_hide(
    begin: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, until: Until
) -> None:
    """A daemon leaves its session and its parent, but not its environment."""
    daemon = f"import os; os.setsid(); {STUBBORN}"
    begin(f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {daemon!r}])").wait(PATIENCE)
    until(lambda: "up" in said(tmp_path))
    (left,) = find_leftovers(tmp_path)
    assert find_leftovers(tmp_path / "other") == []
    assert left.pid != os.getpid()
    # a process that has ended has no name
    named = f"{left.name()} ({left.pid})"
    assert kill_leftovers(tmp_path) == [named]
    assert find_leftovers(tmp_path) == []
    assert kill_leftovers(tmp_path) == []


def test_what_is_born_while_the_others_die_ends_as_well(
    begin: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, until: Until
) -> None:
    running = threading.Event()
    running.set()

    def keep_starting() -> None:
        for _ in range(3):
            process = begin(STUBBORN)
            process.wait(PATIENCE)

    starter = threading.Thread(target=keep_starting)
    starter.start()
    until(lambda: find_leftovers(tmp_path))
    killed = 0
    while starter.is_alive():
        killed += len(kill_leftovers(tmp_path))
        starter.join(0.05)
    assert killed == 3
