"""Runs a command in a task that is a process, with its environment and in its folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from ....errors import LabError
from .task_files import entering

# A shell's exit codes for a command that doesn't exist, and for one that can't be executed.
NOT_FOUND, NOT_EXECUTABLE = 127, 126


def exec_in_process(pid: int, argv: Sequence[str]) -> NoReturn:
    """Replace this process with the command, in the environment and folder of the task's process `pid`.

    The command inherits this terminal, and its signals and exit code reach the caller unchanged. Raises LabError, and
    SystemExit with a shell's exit code when the command cannot be executed.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        environment, folder = process.environ(), process.cwd()
        inside = entering(pid, argv)
    except (psutil.Error, OSError) as error:
        raise LabError(
            "The task has just stopped", why=str(error), hint="try again; the service starts another task"
        ) from error
    if inside is None:
        os.chdir(folder)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvpe((inside or argv)[0], inside or list(argv), environment)
    except OSError as error:
        sys.stderr.write(f"{argv[0]}: {error.strerror}\n")
        raise SystemExit(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE) from error
