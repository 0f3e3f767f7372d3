"""A health check's program is bounded in time and output, whatever it does."""

from __future__ import annotations

import os
import signal
import sys
import time
import tracemalloc
from pathlib import Path

from ecsconsul.region.runtimes.processes.process_probe import OUTPUT, failure_of

ESCAPES = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    print(os.getpid(), file=open(sys.argv[1], "w"), flush=True)
    time.sleep(120)
time.sleep(120)
"""


def run(*argv: str, timeout: float = 30.0) -> str:
    return failure_of(argv, None, dict(os.environ), timeout)


def test_success_and_failure() -> None:
    assert run("/bin/sh", "-c", "echo fine") == ""
    assert run("/bin/sh", "-c", "echo no; exit 3") == "exit code 3: no"


def test_process_that_left_its_group_and_keeps_the_output_open_is_not_waited_for(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    began = time.monotonic()
    try:
        assert run(sys.executable, "-c", ESCAPES, str(note), timeout=3.0) == "it took longer than 3 s"
        assert time.monotonic() - began < 60
    finally:
        if note.exists() and note.read_text():
            os.kill(int(note.read_text()), signal.SIGKILL)


def test_endless_output_takes_no_memory() -> None:
    tracemalloc.start()
    try:
        assert run("/bin/sh", "-c", "yes; :", timeout=1.0) == "it took longer than 1 s"
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_the_last_output_is_kept() -> None:
    found = run(sys.executable, "-c", "import sys; print('x' * 100_000 + 'the end'); sys.exit(1)")
    assert found.endswith("the end")
    assert len(found) < OUTPUT + 100
