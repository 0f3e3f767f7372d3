"""The region's snapshots: at the schedule's interval, pruned by age, and woken when the schedule changes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from ecsconsul.consul.lab_secrets import new_secrets
from ecsconsul.consul.snapshot_file import SnapshotName, StoredSnapshot, life_of
from ecsconsul.consul.snapshot_folder import SnapshotFolder
from ecsconsul.region.runtimes.lab_dir import LabDir, SnapshotSchedule
from ecsconsul.region.scheduled_snapshots import ScheduledSnapshots, seconds_left
from tests.consul_server import ConsulServer

Until = Callable[..., None]
TIMEOUT = 60.0
SECRETS = new_secrets("blue")
LIFE = life_of(SECRETS)
NOW = datetime(2026, 11, 29, 14, 0, 0, tzinfo=timezone.utc)


def stored(seconds: int, life: str = LIFE) -> StoredSnapshot:
    """A snapshot of so many seconds ago."""
    return StoredSnapshot(SnapshotName(NOW - timedelta(seconds=seconds), "1.8.7", 1, life), 1)


def test_the_first_snapshot_of_a_life_is_due_at_once() -> None:
    assert seconds_left([], LIFE, 60, NOW) == 0
    assert seconds_left([stored(1, "0" * 12)], LIFE, 60, NOW) == 0


def test_the_next_one_is_due_after_the_interval() -> None:
    assert seconds_left([stored(50), stored(10), stored(200)], LIFE, 60, NOW) == 50
    assert seconds_left([stored(61)], LIFE, 60, NOW) == 0


@pytest.fixture
def lab_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabDir:
    monkeypatch.setenv("ECSCONSUL_HOME", str(tmp_path))
    return LabDir("blue")


@contextmanager
def running(lab_dir: LabDir, address: Callable[[], str]) -> Iterator[ScheduledSnapshots]:
    snapshots = ScheduledSnapshots(lab_dir, address, lambda: SECRETS)
    snapshots.start()
    try:
        yield snapshots
    finally:
        snapshots.close()
        snapshots._thread.join(TIMEOUT)
        assert not snapshots._thread.is_alive()


def test_snapshots_follow_the_schedule(lab_dir: LabDir, server: ConsulServer, until: Until) -> None:
    folder = SnapshotFolder(lab_dir.snapshots)
    with running(lab_dir, lambda: f"{server.host}:{server.http}") as snapshots:
        lab_dir.write_snapshot_schedule(SnapshotSchedule(0.2, 3600, folder.where))
        snapshots.wake()
        until(lambda: len(folder.stored()) >= 2)
        lab_dir.write_snapshot_schedule(SnapshotSchedule(0.2, 0.5, folder.where))
        snapshots.wake()
        until(lambda: len(folder.stored()) == 1 and folder.stored()[0].name.life == LIFE)
    assert {path.suffix for path in lab_dir.snapshots.iterdir()} == {".snap"}


def test_without_a_schedule_nothing_is_asked(lab_dir: LabDir) -> None:
    asked = threading.Event()
    with running(lab_dir, lambda: asked.set() or "") as snapshots:
        snapshots.wake()
        assert not asked.wait(0.1)
        lab_dir.write_snapshot_schedule(SnapshotSchedule(60, 60, str(lab_dir.snapshots)))
        snapshots.wake()
        assert asked.wait(TIMEOUT)


def test_failure_is_logged_once_and_tried_again(
    lab_dir: LabDir, server: ConsulServer, caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    addresses = ["127.0.0.1:9"] * 3
    lab_dir.write_snapshot_schedule(SnapshotSchedule(0.05, 3600, str(lab_dir.snapshots)))
    folder = SnapshotFolder(lab_dir.snapshots)
    with (
        caplog.at_level(logging.ERROR),
        running(lab_dir, lambda: addresses.pop() if addresses else f"{server.host}:{server.http}"),
    ):
        until(folder.stored)
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == [
        "no snapshot of Consul's data was made: Consul does not answer"
    ]
