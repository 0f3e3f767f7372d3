"""A folder of snapshots: private files, listed by name, pruned by age."""

from __future__ import annotations

import stat
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from ecsconsul.consul.snapshot_file import SnapshotName
from ecsconsul.consul.snapshot_folder import SnapshotFolder
from ecsconsul.errors import LabError

NOW = datetime.now(timezone.utc).replace(microsecond=0)


def named(hours: int) -> SnapshotName:
    return SnapshotName(NOW - timedelta(hours=hours), "1.8.7", 30, "3a86afa99ee2")


def filled(folder: Path, *hours: int) -> SnapshotFolder:
    found = SnapshotFolder(folder / "snapshots")
    source = folder / "source"
    source.write_bytes(b"data")
    for each in hours:
        found.put(source, named(each))
    return found


def test_snapshots_are_private_and_come_back(tmp_path: Path) -> None:
    folder = filled(tmp_path, 1)
    path = Path(folder.where) / str(named(1))
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)
    folder.fetch(named(1), tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"data"
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o600


def test_the_newest_comes_first_and_other_files_do_not_count(tmp_path: Path) -> None:
    folder = filled(tmp_path, 3, 1, 2)
    for name in ("notes.txt", f".{named(0)}.0a1b"):
        (Path(folder.where) / name).write_text("mine")
    assert [(one.name, one.size) for one in folder.stored()] == [(named(hours), 4) for hours in (1, 2, 3)]


def test_old_snapshots_are_pruned_and_nothing_else(tmp_path: Path) -> None:
    folder = filled(tmp_path, 1, 5, 6)
    mine = Path(folder.where) / "backup-2020.snap"
    mine.write_text("mine")
    assert folder.prune(keep=4 * 3600) == [named(6), named(5)]
    assert {path.name for path in Path(folder.where).iterdir()} == {mine.name, str(named(1))}
    assert folder.prune(keep=1) == []


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert SnapshotFolder(tmp_path / "absent").stored() == []


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "snapshots").write_text("a file")
    with pytest.raises(LabError, match="Snapshots can't be written"):
        filled(tmp_path, 1)
    with pytest.raises(LabError, match="Snapshots can't be read"):
        SnapshotFolder(tmp_path / "absent").fetch(named(1), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
