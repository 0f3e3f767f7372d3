"""A lab's directory on this machine: its folders, its locks, and the file that says where its region listens."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from ...paths import state_folder

DOCKER, PROCESSES = "docker", "processes"
_REGION_LOG = "region.log"


@dataclass(frozen=True)
class RegionSpec:
    """The arguments that a region is started with."""

    lab: str
    region: str
    consul_binary: str
    consul_servers: int
    shared_address: bool
    ecs_instances: int = 0
    runtime: str = PROCESSES
    runtime_why: str = ""
    engine: str = ""
    agent_image: str = ""


@dataclass(frozen=True)
class RegionInfo:
    """What a running region is; addresses are host:port, `endpoint` is a URL."""

    pid: int
    version: str
    lab: str
    region: str
    endpoint: str
    consul_http: str
    consul_dns: str
    runtime: str = PROCESSES
    runtime_why: str = ""
    engine: str = ""
    forwarded_ports: tuple[int, ...] = ()
    vpc_id: str = ""
    subnet_ids: tuple[str, ...] = ()

    def runs(self, runtime: str | None) -> bool:
        """Whether tasks run with this runtime; `auto` and None match any."""
        return runtime not in (DOCKER, PROCESSES) or runtime == self.runtime


class LabDir:
    """The directory of one lab. `down` leaves its `logs` and nothing else."""

    def __init__(self, lab: str) -> None:
        self.lab = lab
        self.root = state_folder() / lab
        self.logs = self.root / "logs"
        self.region_log = self.logs / _REGION_LOG
        self.images = self.root / "images"
        self.environments = self.root / "environments"
        self.instances = self.root / "machines"
        self.tasks = self.root / "tasks"
        self._info = self.root / "region.json"
        self._region_lock = self.root / "region.lock"
        self._change_lock = self.root / "walk.lock"

    def service_logs(self, service: str) -> Path:
        """The folder with one log file for each task of a service (or of a family, for a task of its own)."""
        return self.logs / "services" / service

    def write_info(self, info: RegionInfo) -> None:
        """Replace the file atomically, so that a reader never sees half of it."""
        self.root.mkdir(parents=True, exist_ok=True)
        draft = self._info.with_suffix(".new")
        draft.write_text(json.dumps(asdict(info)))
        draft.replace(self._info)

    def info(self) -> RegionInfo | None:
        """The running region; None when none runs. A file that a crashed one left behind does not count."""
        try:
            found = json.loads(self._info.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return _region_info(found) if self.is_alive() else None

    def is_alive(self) -> bool:
        """Whether a region holds its lock. The kernel releases the lock however its holder exits."""
        try:
            with self._region_lock.open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return False
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True

    def lock_region(self) -> IO[str]:
        """The lock of the running region; close the file to release it. Raises BlockingIOError."""
        return self._take(self._region_lock)

    def lock_changes(self) -> IO[str]:
        """The lock of a command that changes the lab; close the file to release it. Raises BlockingIOError."""
        return self._take(self._change_lock)

    def _take(self, path: Path) -> IO[str]:
        self.root.mkdir(parents=True, exist_ok=True)
        lock = path.open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise
        if not _is_at(path, lock):
            # `down` has removed the file in between: a lock on it excludes nobody.
            lock.close()
            return self._take(path)
        return lock

    def rotate_logs(self) -> None:
        """Move the logs of the last run to logs/previous, and remove those of the run before it."""
        previous = self.logs / "previous"
        self.logs.mkdir(parents=True, exist_ok=True)
        remove(previous)
        old = [entry for entry in self.logs.iterdir() if entry.name != _REGION_LOG]
        if old:
            previous.mkdir()
        for entry in old:
            entry.rename(previous / entry.name)

    def clear_leftovers(self) -> None:
        """Remove what a crashed region left behind: its instances, its tasks, and its info."""
        for path in (self.instances, self.tasks, self._info):
            remove(path)

    def clear(self) -> None:
        """Remove everything but the logs."""
        with contextlib.suppress(FileNotFoundError):
            # The locks last: whoever takes them after that finds nothing that is still to be removed.
            locks = (self._region_lock, self._change_lock)
            for entry in (*(one for one in list(self.root.iterdir()) if one not in locks), *locks):
                if entry != self.logs:
                    remove(entry)

    def leftovers(self) -> list[Path]:
        """What is in the directory besides the logs."""
        if not self.root.is_dir():
            return []
        return sorted(entry for entry in self.root.iterdir() if entry != self.logs)


def _is_at(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def remove(path: Path) -> None:
    """Remove a file or a folder; fine when it is gone, or disappears meanwhile. Raises OSError."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
    elif sys.version_info >= (3, 12):
        shutil.rmtree(path, onexc=_unless_gone)
    else:
        shutil.rmtree(path, onerror=lambda function, name, info: _unless_gone(function, name, info[1]))


def _unless_gone(function: object, path: str, error: BaseException) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _region_info(found: dict[str, Any]) -> RegionInfo:
    # An older version of this tool may not have written all of them.
    known = {"version": "", **found}
    known = {name: known[name] for name in RegionInfo.__dataclass_fields__ if name in known}
    known |= {name: tuple(known[name]) for name in ("forwarded_ports", "subnet_ids") if name in known}
    return RegionInfo(**known)
