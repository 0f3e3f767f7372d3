"""A command that takes the place of this process, as a task's process has it."""

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
    """A process with a folder, a variable and a program of its own."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "greet").write_text('#!/bin/sh\necho "$GREETING from $(pwd)"\nexit 9\n')
    (programs / "greet").chmod(0o755)
    (programs / "stiff").write_text("no program")
    environment = {"GREETING": "hello", "PATH": f"{programs}:{os.defpath}"}
    script = "print('up', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, stdin=-1, stdout=-1, text=True
    ) as process:
        assert process.stdout
        # a process that has said something has been exec'ed, so its environment is its own
        assert process.stdout.readline() == "up\n"
        yield process
        process.kill()


def become(pid: int, *argv: str, said: str = "") -> subprocess.CompletedProcess[str]:
    module = "ecsconsul.region.runtimes.processes.task_command"
    code = f"from {module} import exec_in_process; exec_in_process({pid}, {list(argv)!r})"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "GREETING": "wrong"}
    return subprocess.run(
        [sys.executable, "-c", code], input=said, capture_output=True, text=True, timeout=20, env=environment
    )


def test_it_has_the_tasks_variables_folder_and_programs(task: subprocess.Popen[str], tmp_path: Path) -> None:
    done = become(task.pid, "greet")
    assert (done.stdout, done.returncode) == (f"hello from {tmp_path}\n", 9)


def test_input_and_errors_are_passed_on(task: subprocess.Popen[str]) -> None:
    done = become(task.pid, "sh", "-c", "cat; echo bad >&2", said="text")
    assert (done.stdout, done.stderr, done.returncode) == ("text", "bad\n", 0)


def test_a_signal_is_its_own(task: subprocess.Popen[str]) -> None:
    assert become(task.pid, "sh", "-c", "kill -TERM $$").returncode == -15


@pytest.mark.parametrize(("program", "code"), [("nosuch", 127), ("stiff", 126)])
def test_what_cannot_be_run_exits_as_a_shell_does(task: subprocess.Popen[str], program: str, code: int) -> None:
    done = become(task.pid, program)
    assert done.returncode == code
    assert done.stderr.startswith(f"{program}: ")


def test_a_task_that_has_ended_is_an_error(task: subprocess.Popen[str]) -> None:
    task.kill()
    task.wait()
    done = become(task.pid, "true")
    assert done.returncode == 1
    assert "The task has just stopped" in done.stderr
