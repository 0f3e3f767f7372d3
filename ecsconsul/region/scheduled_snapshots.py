"""Makes a snapshot of Consul's data at the interval of the lab's schedule, and deletes those that are too old."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from ..consul.lab_secrets import MANAGEMENT, LabSecrets
from ..consul.snapshot_file import StoredSnapshot, life_of
from ..consul.snapshot_folder import SnapshotFolder
from ..errors import LabError
from .runtimes.lab_dir import LabDir, SnapshotSchedule

log = logging.getLogger(__name__)

# until Consul can be asked, which several threads bring about
NOT_READY_DELAY = 1.0
# after a failure, whose reason is logged once for as long as it stays the same
RETRY_DELAY = 5.0


class ScheduledSnapshots:
    """A thread that waits until the next snapshot is due. The first one is due as soon as Consul answers."""

    def __init__(self, lab_dir: LabDir, address: Callable[[], str], secrets: Callable[[], LabSecrets]) -> None:
        """`address` is that of Consul's HTTP API, "" while it can't be asked."""
        self._lab_dir = lab_dir
        self._address = address
        self._secrets = secrets
        self._woken = threading.Event()
        self._closing = False
        self._failure = ""
        self._thread = threading.Thread(target=self._loop, name="snapshots", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """The schedule may have changed."""
        self._woken.set()

    def close(self) -> None:
        """Make no further snapshot. One that is being made ends with the process; only its draft is lost."""
        self._closing = True
        self._woken.set()

    def _loop(self) -> None:
        while not self._closing:
            self._woken.clear()
            self._woken.wait(self._next_pass())

    def _next_pass(self) -> float | None:
        """Make a snapshot if one is due; the seconds until the next pass, None without a schedule."""
        schedule = self._lab_dir.snapshot_schedule()
        if schedule is None:
            return None
        address = self._address()
        if not address:
            return NOT_READY_DELAY
        try:
            delay = self._follow(schedule, address)
        except LabError as error:
            if str(error) != self._failure:
                log.error("no snapshot of Consul's data was made: %s", error)
            self._failure = str(error)
            return min(schedule.every, RETRY_DELAY)
        self._failure = ""
        return delay

    def _follow(self, schedule: SnapshotSchedule, address: str) -> float:
        """Raises LabError."""
        folder = SnapshotFolder(Path(schedule.folder))
        left = seconds_left(folder.stored(), life_of(self._secrets()), schedule.every, datetime.now(timezone.utc))
        if left > 0:
            return left
        self._save(folder, address)
        for name in folder.prune(schedule.keep):
            log.info("deleted the snapshot %s", name)
        return schedule.every

    def _save(self, folder: SnapshotFolder, address: str) -> None:
        from ..consul.catalog import Consul
        from ..consul.snapshot_transfer import name_for, save, scratch

        host, _, port = address.rpartition(":")
        secrets = self._secrets()
        consul = Consul(host, int(port), token=secrets.token(MANAGEMENT))
        with scratch() as path:
            name = name_for(consul, save(consul, path), secrets)
            folder.put(path, name)
        log.info("made the snapshot %s", name)


def seconds_left(stored: list[StoredSnapshot], life: str, every: float, now: datetime) -> float:
    """The seconds until the next snapshot is due; 0 if this life of the lab has none, or an old one."""
    newest = max((one.name.taken for one in stored if one.name.life == life), default=None)
    return max(0.0, every - (now - newest).total_seconds()) if newest else 0.0
