"""A snapshot of Consul's data: how its file is named, what is in it, and when it's too old.

Consul's archive is a gzip'd tar of `meta.json`, `state.bin` and `SHA256SUMS`. It doesn't say which lab it's of, nor
which version wrote it; the name does. https://developer.hashicorp.com/consul/api-docs/snapshot
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, Protocol

from ..errors import LabError
from .lab_secrets import LabSecrets

if TYPE_CHECKING:
    from tarfile import TarFile

# as templates/server-snapshots.sh writes it too; names sort by time
NAME = re.compile(r"(\d{8}T\d{6}Z)_([0-9A-Za-z.+-]+)_(\d+)_([0-9a-f]{12})\.snap")
TIME = "%Y%m%dT%H%M%SZ"
META, SUMS = "meta.json", "SHA256SUMS"
# the metadata grow with the number of servers, not with the data
MAX_META = 1 << 20
_CHUNK = 1 << 20


class SnapshotName(NamedTuple):
    """What the name of a file tells: when, by which version of Consul, up to which Raft index, in which life."""

    taken: datetime
    consul: str
    raft_index: int
    life: str

    def __str__(self) -> str:
        return f"{self.taken.strftime(TIME)}_{self.consul}_{self.raft_index}_{self.life}.snap"


class StoredSnapshot(NamedTuple):
    """A snapshot where the lab keeps its own; `size` is in bytes."""

    name: SnapshotName
    size: int


class SnapshotStore(Protocol):
    """Where a lab keeps its snapshots. Every method raises LabError."""

    @property
    def where(self) -> str:
        """The folder or bucket, for people."""

    def stored(self) -> list[StoredSnapshot]:
        """The lab's snapshots, the newest first; other files don't count."""

    def put(self, path: Path, name: SnapshotName) -> None:
        """Keep a file under this name."""

    def fetch(self, name: SnapshotName, path: Path) -> None:
        """Copy a snapshot to a new file that only this user can read."""


class SnapshotContents(NamedTuple):
    """What an archive says of itself: the Raft index, when it was taken, and the size of the state in bytes."""

    raft_index: int
    taken: datetime
    size: int


def parsed(text: str) -> SnapshotName | None:
    """The parts of a file's name; None for a file that ecsconsul hasn't named."""
    found = NAME.fullmatch(text)
    if found is None:
        return None
    try:
        taken = datetime.strptime(found[1], TIME).replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    return SnapshotName(taken, found[2], int(found[3]), found[4])


def life_of(lab_secrets: LabSecrets) -> str:
    """A name for one life of a lab, from its first `up` to its `down`: its authority lives as long, rotations too."""
    return hashlib.sha256(lab_secrets.ca_certificate.strip().encode()).hexdigest()[:12]


def expired(names: Iterable[SnapshotName], keep: float, now: datetime) -> list[SnapshotName]:
    """Those older than `keep` seconds; never the newest."""
    oldest = now - timedelta(seconds=keep)
    return [name for name in sorted(names)[:-1] if name.taken < oldest]


def verified(path: Path) -> SnapshotContents:
    """What a snapshot contains. Raises LabError unless each file in it has the checksum that it's listed with."""
    import gzip
    import tarfile
    import zlib

    try:
        with gzip.open(path) as unzipped, tarfile.open(fileobj=unzipped, mode="r:") as archive:
            sums, listed, meta = _read(archive)
            # the tar's end isn't the file's: what follows tells whether all of the file is there
            while unzipped.read(_CHUNK):
                pass
    except (OSError, EOFError, tarfile.TarError, zlib.error, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else f"it's damaged: {error}"
        raise _unusable(path, why) from error
    if not {META, "state.bin"} <= sums.keys():
        raise _unusable(path, f"it contains {', '.join(sorted(sums)) or 'nothing'}")
    wrong = sorted(name for name in sums.keys() | listed.keys() if sums.get(name) != listed.get(name))
    if wrong:
        raise _unusable(path, f"the checksum of {', '.join(wrong)} is wrong")
    return _contents(path, meta)


def _read(archive: TarFile) -> tuple[dict[str, str], dict[str, str], bytes]:
    """The checksum of each file, the checksums that are listed, and the metadata."""
    sums: dict[str, str] = {}
    listed, meta = "", b""
    for member in archive:
        file = archive.extractfile(member)
        if file is None:
            continue
        if member.name == SUMS:
            listed = file.read(MAX_META).decode()
        else:
            sums[member.name], first = _hashed(file)
            meta = first if member.name == META else meta
    return sums, {line.split()[1]: line.split()[0] for line in listed.splitlines() if len(line.split()) == 2}, meta


def _hashed(file: IO[bytes]) -> tuple[str, bytes]:
    """The SHA-256 of a file, and its beginning."""
    digest, first = hashlib.sha256(), b""
    while chunk := file.read(_CHUNK):
        first = first or chunk
        digest.update(chunk)
    return digest.hexdigest(), first


def _contents(path: Path, meta: bytes) -> SnapshotContents:
    import json

    try:
        found = json.loads(meta)
        # Raft names a snapshot after its term, its index, and the time in milliseconds
        milliseconds = int(str(found["ID"]).rpartition("-")[2])
        taken = datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
        return SnapshotContents(int(found["Index"]), taken, int(found["Size"]))
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise _unusable(path, f"its metadata can't be read: {error!r}") from error


def _unusable(path: Path, why: str) -> LabError:
    hint = "`ecsconsul snapshot list` shows the lab's own snapshots"
    return LabError("This isn't a usable snapshot of Consul", where=str(path), why=why, hint=hint)
