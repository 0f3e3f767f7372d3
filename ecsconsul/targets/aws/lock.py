"""One command at a time changes a lab: a lock on this machine for each lab, account and region.

Who works on another machine is not kept out by it. There AWS does its part: CloudFormation refuses to update a stack
that is being updated, ECS's calls can be repeated, and every step decides anew from what is there.
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
    """Hold the lock as long as the context lasts; the kernel lets go of it however this one ends. Raises LabError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _take(path)
    while file and not _is_at(path, file):
        # who held it before has removed the file that we waited to open
        file.close()
        file = _take(path)
    if file is None:
        raise LabError(
            "Another command is changing this lab",
            where=f"lab {lab}, {path}",
            hint="wait until that `up`, `scale` or `down` has ended",
        )
    with file:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _take(path: Path) -> IO[str] | None:
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
