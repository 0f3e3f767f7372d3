"""Saves Consul's data to a snapshot and restores it, through the HTTP API of any agent, which asks the leader.

https://developer.hashicorp.com/consul/api-docs/snapshot
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import LabError
from ..paths import open_private
from .catalog import Consul, version_of_agent
from .lab_secrets import LabSecrets
from .snapshot_file import SnapshotContents, SnapshotName, life_of, verified

PATH = "/v1/snapshot"


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A path in a folder that only this user can read, as long as the context lasts: a snapshot holds all tokens."""
    with TemporaryDirectory(prefix="ecsconsul-") as folder:
        yield Path(folder) / "consul.snap"


def save(consul: Consul, path: Path) -> SnapshotContents:
    """Write a snapshot to a file that only this user can read, and verify it; no half of one is ever at that path.

    The client needs a management token. Raises LabError.
    """
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        with open_private(draft) as file:
            consul.download(PATH, file)
        contents = verified(draft)
        draft.replace(path)
    except OSError as error:
        raise LabError("The snapshot can't be written", where=str(path), why=str(error.strerror)) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
    return contents


def name_for(consul: Consul, contents: SnapshotContents, lab_secrets: LabSecrets) -> SnapshotName:
    """The name of a snapshot that was saved just now. Raises LabError."""
    now = datetime.now(timezone.utc).replace(microsecond=0)
    return SnapshotName(now, version_of_agent(consul), contents.raft_index, life_of(lab_secrets))


def restore(consul: Consul, path: Path) -> None:
    """Replace all of Consul's data by a snapshot's. Returns once the leader leads again. Raises LabError.

    The data bring back the tokens of their time, so the client's own token may be worth nothing afterwards.
    """
    try:
        with path.open("rb") as file:
            consul.upload(PATH, file)
    except OSError as error:
        raise LabError("The snapshot can't be read", where=str(path), why=str(error.strerror)) from error
