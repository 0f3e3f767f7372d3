"""A folder with a lab's snapshots, which only its user can read."""

from __future__ import annotations

import contextlib
import os
import shutil
from datetime import datetime, timezone
from pathlib import Path

from ..errors import LabError
from ..paths import open_private
from .snapshot_file import SnapshotName, StoredSnapshot, expired, parsed


class SnapshotFolder:
    """The folder; it needn't exist before the first snapshot. Every method raises LabError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def where(self) -> str:
        return str(self._folder)

    def stored(self) -> list[StoredSnapshot]:
        """Its snapshots, the newest first; other files don't count."""
        found = []
        try:
            for path in self._folder.iterdir() if self._folder.is_dir() else ():
                name = parsed(path.name)
                # another command may prune it meanwhile
                with contextlib.suppress(FileNotFoundError):
                    if name and path.is_file():
                        found.append(StoredSnapshot(name, path.stat().st_size))
        except OSError as error:
            raise self._failed("read", error) from error
        return sorted(found, reverse=True)

    def put(self, path: Path, name: SnapshotName) -> None:
        """Keep a file under this name; the folder is created if it's missing."""
        self._copy(path, self._prepared() / str(name), "written")

    def fetch(self, name: SnapshotName, path: Path) -> None:
        """Copy a snapshot to a new file that only this user can read."""
        self._copy(self._folder / str(name), path, "read")

    def prune(self, keep: float) -> list[SnapshotName]:
        """Delete the snapshots that are older than `keep` seconds, but for the newest; returns which."""
        old = expired([one.name for one in self.stored()], keep, datetime.now(timezone.utc))
        for name in old:
            try:
                (self._folder / str(name)).unlink(missing_ok=True)
            except OSError as error:
                raise self._failed("pruned", error) from error
        return old

    def _prepared(self) -> Path:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise self._failed("written", error) from error
        return self._folder

    def _copy(self, source: Path, into: Path, done: str) -> None:
        draft = into.with_name(f".{into.name}.{os.urandom(8).hex()}")
        try:
            with source.open("rb") as read, open_private(draft) as written:
                shutil.copyfileobj(read, written)
            draft.replace(into)
        except OSError as error:
            raise self._failed(done, error) from error
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)

    def _failed(self, done: str, error: OSError) -> LabError:
        hint = "is the folder yours? `consul.snapshots.folder` in the config names another one"
        return LabError(f"Snapshots can't be {done}", where=self.where, why=str(error.strerror or error), hint=hint)
