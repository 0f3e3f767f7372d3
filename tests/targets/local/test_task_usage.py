"""What a task's processes use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace

from ecsconsul.observe.states import Container, Task
from ecsconsul.region.runtimes.lab_dir import RegionInfo
from ecsconsul.targets.local.task_usage import measure
from tests.observe.samples import task

INFO = RegionInfo(pid=1, endpoint="http://127.0.0.1:1")
MIB = 1024 * 1024
# the child is busy and large, its parent neither
CHILD = "big = bytearray(64 * 1024 * 1024)\nprint('ready', flush=True)\nwhile True: pass"
PARENT = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {CHILD!r}])"


@pytest.fixture
def busy() -> Iterator[int]:
    """The pid of a process whose child is busy."""
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout
    with process:
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        os.killpg(process.pid, signal.SIGKILL)


def at(pid: int) -> tuple[Task, Container]:
    one = task()
    return one, replace(one.containers[0], runtime_id=str(pid))


def test_descendants_count(busy: int, until: Callable[..., None]) -> None:
    def is_busy() -> bool:
        [usage] = measure(INFO, [at(busy)], 0.2)
        assert usage.used is not None
        assert usage.used.memory > 64 * MIB
        return usage.used.cpu > 0.0

    # On a busy machine the child may not run for a while.
    until(is_busy)


def test_a_task_that_has_gone_uses_nothing() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert [one.used for one in measure(INFO, [at(gone.pid)], 0.0)] == [None]
