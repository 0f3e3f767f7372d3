"""A lab's processes carry its ownership variable, inherit no secrets, and are stopped reliably."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from ecsconsul.region.runtimes import lab_processes
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
TIMEOUT = 60.0
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(99)"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts Python code as a process of the lab at tmp_path; kills what is left after the test."""
    processes = []

    def run(code: str, **env: str) -> subprocess.Popen[bytes]:
        processes.append(start([sys.executable, "-c", code], root=tmp_path, log=tmp_path / "logs" / "log", env=env))
        return processes[-1]

    yield run
    kill_leftovers(tmp_path)
    for process in processes:
        process.wait(TIMEOUT)


def output(root: Path) -> str:
    return (root / "logs" / "log").read_text()


def test_child_gets_no_secrets_and_keeps_the_ownership_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("LANG", "C.UTF-8")
    found = environment(Path("/labs/one"), {"A": "1", OWNER_VARIABLE: "/labs/other"})
    assert (found["A"], found["LANG"], found[OWNER_VARIABLE]) == ("1", "C.UTF-8", "/labs/one")
    assert "AWS_SECRET_ACCESS_KEY" not in found


def test_output_is_appended_to_the_log(run: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    for word in ("one", "two"):
        code = "import os, sys; print(os.environ['WORD'], sys.stdin.read() == '', os.getsid(0) == os.getpid())"
        assert run(code, WORD=word).wait(TIMEOUT) == 0
    assert output(tmp_path) == "one True True\ntwo True True\n"


def test_missing_program_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        start(["/nowhere/program"], root=tmp_path, log=tmp_path / "log", env={})


def test_stop_sends_sigterm(run: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, until: Until) -> None:
    code = (
        "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(7)); print('up', flush=True); time.sleep(60)"
    )
    process = run(code)
    until(lambda: "up" in output(tmp_path))
    assert stop(process, TIMEOUT) == 7
    assert stop(process, TIMEOUT) == 7, "stopping an exited process is fine"


def test_stop_kills_a_stubborn_process_and_its_children(
    run: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, until: Until
) -> None:
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]); {STUBBORN}"
    process = run(code)
    until(lambda: output(tmp_path).count("up") == 2)
    assert stop(process, 0.2) == -signal.SIGKILL
    until(lambda: find_leftovers(tmp_path) == [])


def test_signal_to_a_missing_group_is_ignored(run: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = run("")
    process.wait(TIMEOUT)
    signal_group(process.pid, signal.SIGKILL)


def test_daemons_of_the_lab_are_found_and_killed(
    run: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, until: Until
) -> None:
    """A daemon leaves its session and its parent, but keeps its environment."""
    daemon = f"import os; os.setsid(); {STUBBORN}"
    run(f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {daemon!r}])").wait(TIMEOUT)
    until(lambda: "up" in output(tmp_path))
    (daemon_process,) = find_leftovers(tmp_path)
    assert find_leftovers(tmp_path / "other") == []
    assert daemon_process.pid != os.getpid()
    # Taken now, because an exited process has no name.
    named = f"{daemon_process.name()} ({daemon_process.pid})"
    assert kill_leftovers(tmp_path) == [named]
    assert find_leftovers(tmp_path) == []
    assert kill_leftovers(tmp_path) == []


def test_process_that_outlives_its_first_sigkill_is_named_once(
    run: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does on a busy machine, until it is scheduled."""
    monkeypatch.setattr(lab_processes, "ROUND_SECONDS", 0.05)
    kill = psutil.Process.kill
    killed: list[int] = []

    def kill_late(process: psutil.Process) -> None:
        killed.append(process.pid)
        if len(killed) > 1:
            kill(process)

    monkeypatch.setattr(psutil.Process, "kill", kill_late)
    process = run(STUBBORN)
    until(lambda: "up" in output(tmp_path))
    [named] = kill_leftovers(tmp_path, TIMEOUT)
    assert named.endswith(f" ({process.pid})")
    assert len(killed) > 1
    assert find_leftovers(tmp_path) == []


def test_process_that_survives_is_an_error(
    run: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab_processes, "ROUND_SECONDS", 0.01)
    process = run(STUBBORN)
    with monkeypatch.context() as immortal, pytest.raises(TimeoutError, match=f"still running: {process.pid}"):
        immortal.setattr(psutil.Process, "kill", lambda process: None)
        kill_leftovers(tmp_path, 0.1)


def test_processes_started_meanwhile_are_killed_too(
    run: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, until: Until
) -> None:
    def keep_starting() -> None:
        for _ in range(3):
            process = run(STUBBORN)
            process.wait(TIMEOUT)

    starter = threading.Thread(target=keep_starting)
    starter.start()
    until(lambda: find_leftovers(tmp_path))
    killed = 0
    while starter.is_alive():
        killed += len(kill_leftovers(tmp_path))
        starter.join(0.05)
    assert killed == 3
