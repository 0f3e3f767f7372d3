"""Lets one command at a time change a lab: a lock file on this machine for each lab, account and region.

It doesn't stop someone on another machine. That is left to AWS: CloudFormation rejects a second update of a stack, ECS
calls can be repeated, and every step starts from the actual state.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ...errors import LabError

# in the state folder; no lab can have this name
FOLDER = ".aws"


@contextlib.contextmanager
def held(path: Path, lab: str) -> Iterator[None]:
    """Hold the lock while the context lasts. The kernel releases it if this process dies. Raises LabError if taken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _acquire(path)
    while file and not _is_at(path, file):
        # the previous holder removed the file after we opened it
        file.close()
        file = _acquire(path)
    if file is None:
        raise LabError(
            "Another command is changing this lab",
            where=f"lab {lab}",
            why=f"it holds the lock {path}",
            hint="wait until that `up`, `scale` or `down` has finished",
        )
    with file:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _acquire(path: Path) -> IO[str] | None:
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _is_at(path: Path, file: IO[str]) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    return False
