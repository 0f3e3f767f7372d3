"""One command at a time changes a lab: a lock on this machine for each lab, account and region.

It does not keep out other machines. There AWS does its part: CloudFormation refuses to update a stack
that is being updated, ECS's calls can be repeated, and every step decides anew from what is there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ...errors import LabError
from ...paths import lock_file

# in the state folder; no lab can have this name
FOLDER = ".aws"


@contextlib.contextmanager
def held(path: Path, lab: str) -> Iterator[None]:
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
            yield
        finally:
            path.unlink(missing_ok=True)
