"""One command at a time changes a lab: a lock on this machine for each lab, account and region.

It costs no request, and the kernel releases it. Between machines, account_lock.py does the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ...errors import LabError
from ...paths import lock_file, state_folder

# in the state folder; no lab can have this name
FOLDER = ".aws"


def lock_path(account: str, region: str, lab: str) -> Path:
    """The lock's file."""
    return state_folder() / FOLDER / f"{account}-{region}-{lab}.lock"


def journal_path(account: str, region: str, lab: str) -> Path:
    """The folder with what commands on this machine have recorded of the lab's events."""
    return state_folder() / FOLDER / f"{account}-{region}-{lab}.events"


class LocalLock:
    """The lock while it is held. If it isn't released, its file tells the next command of this machine who held it."""

    def __init__(self, file: IO[str], dead: str) -> None:
        self._file = file
        self.dead = dead

    def remember(self, holder: str) -> None:
        """Leave this to the next command, as its `dead`, in case that this process is killed."""
        self._file.truncate(0)
        self._file.write(holder)
        self._file.flush()


@contextlib.contextmanager
def held(path: Path, lab: str) -> Iterator[LocalLock]:
    """Hold the lock while the context lasts. The kernel releases it if this process dies. Raises LabError if taken."""
    try:
        file = lock_file(path)
    except BlockingIOError:
        raise LabError(
            "Another command is changing this lab",
            where=f"lab {lab}",
            why=f"it holds the lock {path}",
            hint="wait until the `up`, `scale`, `rotate`, `snapshot restore` or `down` that does has finished",
        ) from None
    with file:
        try:
            yield LocalLock(file, path.read_text())
        finally:
            path.unlink(missing_ok=True)
