"""A command that replaces this process, with the environment and folder of a task's process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[4]


@pytest.fixture
def task(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process with its own folder, variable and programs."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "greet").write_text('#!/bin/sh\necho "$GREETING from $(pwd)"\nexit 9\n')
    (programs / "greet").chmod(0o755)
    (programs / "text").write_text("not a program")
    environment = {"GREETING": "hello", "PATH": f"{programs}:{os.defpath}"}
    script = "print('up', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, stdin=-1, stdout=-1, text=True
    ) as process:
        assert process.stdout
        # Once it writes, exec is done, and its environment is its own.
        assert process.stdout.readline() == "up\n"
        yield process
        process.kill()


def exec_in(pid: int, *argv: str, text: str = "") -> subprocess.CompletedProcess[str]:
    module = "ecsconsul.region.runtimes.processes.task_command"
    code = f"from {module} import exec_in_process; exec_in_process({pid}, {list(argv)!r})"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "GREETING": "wrong"}
    return subprocess.run(
        [sys.executable, "-c", code], input=text, capture_output=True, text=True, timeout=20, env=environment
    )


def test_command_has_the_tasks_environment_and_folder(task: subprocess.Popen[str], tmp_path: Path) -> None:
    done = exec_in(task.pid, "greet")
    assert (done.stdout, done.returncode) == (f"hello from {tmp_path}\n", 9)


def test_standard_streams_are_connected(task: subprocess.Popen[str]) -> None:
    done = exec_in(task.pid, "sh", "-c", "cat; echo bad >&2", text="text")
    assert (done.stdout, done.stderr, done.returncode) == ("text", "bad\n", 0)


def test_signal_of_the_command_reaches_the_caller(task: subprocess.Popen[str]) -> None:
    assert exec_in(task.pid, "sh", "-c", "kill -TERM $$").returncode == -15


@pytest.mark.parametrize(("program", "code"), [("nosuch", 127), ("text", 126)])
def test_command_that_cannot_be_executed_has_a_shells_exit_code(
    task: subprocess.Popen[str], program: str, code: int
) -> None:
    done = exec_in(task.pid, program)
    assert done.returncode == code
    assert done.stderr.startswith(f"{program}: ")


def test_stopped_task_is_an_error(task: subprocess.Popen[str]) -> None:
    task.kill()
    task.wait()
    done = exec_in(task.pid, "true")
    assert done.returncode == 1
    assert "The task has just stopped" in done.stderr
