"""Runs a command where a task runs: with its environment, folder and programs as a process, or in its container."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from ....errors import LabError

# a shell's codes for a program that is not there, and for one that cannot be run
NOT_FOUND, NOT_RUNNABLE = 127, 126


def run_in_container(url: str, container_id: str, argv: Sequence[str]) -> int:
    """Run it in a container with this process's own input and output; its exit code."""
    from ..docker.task_command import run

    return run(url, container_id, argv)


def become(pid: int, argv: Sequence[str]) -> NoReturn:
    """Let this process become the command, in the environment and the folder of the task's process `pid`.

    Its exit code, its signals and its terminal are so its own. Raises LabError, and SystemExit as a shell exits
    when it cannot be run.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        environment, folder = process.environ(), process.cwd()
    except psutil.Error as error:
        raise LabError(
            "The task has just ended", why=str(error), hint="try again: another one takes its place"
        ) from error
    os.chdir(folder)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvpe(argv[0], list(argv), environment)
    except OSError as error:
        sys.stderr.write(f"{argv[0]}: {error.strerror}\n")
        raise SystemExit(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUNNABLE) from error
