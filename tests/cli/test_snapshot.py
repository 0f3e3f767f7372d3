"""`ecsconsul snapshot` before and beside a restore, which tests/e2e/test_snapshots.py does for real."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from ecsconsul.cli.snapshot import _ago
from ecsconsul.consul.snapshot_file import parsed, verified
from tests.cli.conftest import Running, Shell


def saved(running: Running, *words: str) -> dict[str, object]:
    done = running.run("snapshot", "save", *words, "--output", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_save_and_list(running: Running) -> None:
    document = saved(running)
    path = Path(str(document["file"]))
    contents = verified(path)
    assert document == {"lab": "cli-lab", "target": "local", "file": str(path), "snapshot": document["snapshot"]}
    assert document["snapshot"] == {
        "name": path.name,
        "time": parsed(path.name).taken.strftime("%Y-%m-%dT%H:%M:%SZ"),  # type: ignore[union-attr]
        "bytes": path.stat().st_size,
        "index": contents.raft_index,
        "consul": parsed(path.name).consul,  # type: ignore[union-attr]
        "current": True,
    }
    listed = running.document("snapshot", "list")
    assert listed["where"] == str(path.parent)
    assert listed["snapshots"] == [document["snapshot"]]
    table = running.run("snapshot", "list").stdout
    assert path.name in table and "this lab" in table


def test_save_to_a_file(running: Running) -> None:
    document = saved(running, "mine.snap")
    assert document["file"] == str(running.folder / "mine.snap")
    assert verified(running.folder / "mine.snap")
    assert running.document("snapshot", "list")["snapshots"] == []
    done = running.run("snapshot", "save", "absent/mine.snap")
    assert done.returncode == 1 and "The snapshot can't be written" in done.stderr


def test_restore_asks_and_says_what_is_lost(running: Running) -> None:
    saved(running, "mine.snap")
    done = running.run("snapshot", "restore", "mine.snap")
    assert (done.returncode, done.stdout) == (2, "")
    for words in ("mine.snap was taken at 20", "ago.", "is lost: key-value pairs", "your own tokens"):
        assert words in done.stderr
    assert "ecsconsul snapshot restore --yes" in done.stderr


def test_restore_of_what_is_not_there(running: Running) -> None:
    done = running.run("snapshot", "restore", "--yes")
    assert done.returncode == 2
    assert "There is no snapshot of this lab yet" in done.stderr and "ecsconsul snapshot save" in done.stderr
    name = Path(str(saved(running)["file"])).name
    done = running.run("snapshot", "restore", "absent.snap", "--yes")
    assert done.returncode == 2
    assert "There is no snapshot absent.snap" in done.stderr and name in done.stderr


def test_damaged_snapshot_is_refused_before_anything_is_asked(running: Running) -> None:
    path = Path(str(saved(running)["file"]))
    path.write_bytes(path.read_bytes()[:-200])
    done = running.run("snapshot", "restore", path.name)
    assert done.returncode == 1
    assert "isn't a usable snapshot" in done.stderr and "is lost" not in done.stderr


@pytest.mark.parametrize("words", [("save",), ("save", "x.snap"), ("restore", "--yes")])
def test_without_a_lab(shell: Shell, words: tuple[str, ...]) -> None:
    done = shell.run("snapshot", *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert "The lab cli-lab is not running" in done.stderr


def test_list_without_a_lab(shell: Shell) -> None:
    assert shell.document("snapshot", "list")["snapshots"] == []
    assert "There are no snapshots in " in shell.run("snapshot", "list").stdout


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 seconds ago"), (1, "1 second ago"), (61, "1 minute ago"), (7300, "2 hours ago"), (200000, "2 days ago")],
)
def test_age_in_words(seconds: int, text: str) -> None:
    assert _ago(datetime.now(timezone.utc) - timedelta(seconds=seconds)) == text
