"""One command at a time changes a lab: a lock on this machine for each lab, account and region.

Who works on another machine is not kept out by it. There AWS does its part: CloudFormation refuses to update a stack
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
    """Hold the lock as long as the context lasts; the kernel lets go of it however this one ends. Raises LabError."""
    try:
        file = lock_file(path)
    except BlockingIOError:
        raise LabError(
            "Another command is changing this lab",
            where=f"lab {lab}, {path}",
            hint="wait until that `up`, `scale` or `down` has ended",
        ) from None
    with file:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
