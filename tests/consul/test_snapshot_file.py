"""The name of a snapshot, what its archive says, and which snapshots are too old."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from ecsconsul.consul.lab_secrets import new_secrets, rotated
from ecsconsul.consul.snapshot_file import SnapshotContents, SnapshotName, expired, life_of, parsed, verified
from ecsconsul.errors import LabError

TAKEN = datetime(2026, 11, 29, 14, 36, 53, tzinfo=timezone.utc)
LIFE = "3a86afa99ee2"
NAME = SnapshotName(TAKEN, "1.22.7+ent", 30, LIFE)
META = json.dumps({"Version": 1, "ID": "2-30-1795963013500", "Index": 30, "Term": 2, "Size": 5}).encode()


def archive(path: Path, files: dict[str, bytes], sums: dict[str, bytes] | None = None) -> Path:
    """An archive in Consul's form; `sums` are the contents that SHA256SUMS was made of."""
    lines = [f"{hashlib.sha256(text).hexdigest()}  {name}\n" for name, text in (sums or files).items()]
    with tarfile.open(path, "w:gz") as tar:
        for name, text in {**files, "SHA256SUMS": "".join(lines).encode()}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text))
    return path


def test_names_are_read_back_and_sort_by_time() -> None:
    assert str(NAME) == "20261129T143653Z_1.22.7+ent_30_3a86afa99ee2.snap"
    assert parsed(str(NAME)) == NAME
    later = NAME._replace(taken=TAKEN + timedelta(seconds=1), consul="1.8.7", raft_index=4)
    assert sorted([str(later), str(NAME)]) == [str(NAME), str(later)]


@pytest.mark.parametrize(
    "text",
    [
        "backup.snap",
        f"{NAME}.gz",
        f"old-{NAME}",
        f"../{NAME}",
        "20261399T143653Z_1.8.7_30_3a86afa99ee2.snap",
        "20261129T143653Z_1.8.7_30_nolife.snap",
    ],
)
def test_files_of_others_have_no_name_of_ours(text: str) -> None:
    assert parsed(text) is None


def test_a_life_outlasts_rotations_and_ends_with_down() -> None:
    secrets = new_secrets("blue")
    assert life_of(rotated(secrets).new) == life_of(secrets) != life_of(new_secrets("blue"))


def test_old_snapshots_expire_but_for_the_newest() -> None:
    names = [NAME._replace(taken=TAKEN - timedelta(hours=hours)) for hours in (1, 3, 4, 0)]
    assert expired(names, 2 * 3600, TAKEN) == [names[2], names[1]]
    assert expired(names[1:2], 2 * 3600, TAKEN) == []
    assert expired([], 2 * 3600, TAKEN) == []


def test_an_archive_says_its_index_time_and_size(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.snap", {"meta.json": META, "state.bin": b"state"})
    assert verified(path) == SnapshotContents(30, datetime.fromtimestamp(1795963013.5, timezone.utc), 5)


def test_changed_data_are_noticed(tmp_path: Path) -> None:
    files = {"meta.json": META, "state.bin": b"state"}
    path = archive(tmp_path / "x.snap", {**files, "state.bin": b"evil!"}, files)
    with pytest.raises(LabError, match=r"the checksum of state\.bin is wrong"):
        verified(path)


def test_a_file_that_is_not_listed_is_noticed(tmp_path: Path) -> None:
    files = {"meta.json": META, "state.bin": b"state"}
    with pytest.raises(LabError, match=r"the checksum of more\.bin is wrong"):
        verified(archive(tmp_path / "x.snap", {**files, "more.bin": b""}, files))


@pytest.mark.parametrize("lost", [1, 20, 100])
def test_a_truncated_archive_is_noticed(tmp_path: Path, lost: int) -> None:
    path = archive(tmp_path / "x.snap", {"meta.json": META, "state.bin": b"state"})
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(LabError, match="isn't a usable snapshot"):
        verified(path)


@pytest.mark.parametrize(
    ("meta", "why"),
    [(b"{}", "its metadata can't be read"), (b"nonsense", "its metadata can't be read")],
)
def test_strange_metadata_are_an_error(tmp_path: Path, meta: bytes, why: str) -> None:
    with pytest.raises(LabError, match=why):
        verified(archive(tmp_path / "x.snap", {"meta.json": meta, "state.bin": b""}))


def test_files_that_are_no_snapshots_are_an_error(tmp_path: Path) -> None:
    text = tmp_path / "x.snap"
    text.write_text("nonsense")
    for path in (text, tmp_path / "absent", tmp_path, archive(tmp_path / "other.snap", {"readme": b"hello"})):
        with pytest.raises(LabError, match="isn't a usable snapshot"):
            verified(path)
