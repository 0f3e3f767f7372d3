"""Where a lab lives on this machine: its folders, and the one small file that says where its region listens."""

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

from ...paths import HOME_VARIABLE, state_folder

__all__ = ["DOCKER", "HOME_VARIABLE", "PROCESSES", "LabDir", "RegionInfo", "RegionSpec", "base_folder", "remove"]

DOCKER, PROCESSES = "docker", "processes"
_REGION_LOG = "region.log"


@dataclass(frozen=True)
class RegionSpec:
    """What a region is started with."""

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
    """What the region says of itself; addresses are host:port, endpoints are URLs."""

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
    doors: tuple[int, ...] = ()
    vpc_id: str = ""
    subnet_ids: tuple[str, ...] = ()

    def runs(self, runtime: str | None) -> bool:
        """Whether it is of this runtime; any will do for `auto`, and where none is told."""
        return runtime not in (DOCKER, PROCESSES) or runtime == self.runtime


class LabDir:
    """The folder of one lab. What `down` leaves is `logs`, and nothing else."""

    def __init__(self, lab: str) -> None:
        self.lab = lab
        self.root = base_folder() / lab
        self.logs = self.root / "logs"
        self.region_log = self.logs / _REGION_LOG
        self.images = self.root / "images"
        self.environments = self.root / "environments"
        self.machines = self.root / "machines"
        self.tasks = self.root / "tasks"
        self._facts = self.root / "region.json"
        self._lock = self.root / "region.lock"
        self._walk = self.root / "walk.lock"

    def service_logs(self, service: str) -> Path:
        """The folder with one log file for each task of a service (or of a family, for a task of its own)."""
        return self.logs / "services" / service

    def write_info(self, facts: RegionInfo) -> None:
        """Replace the small file at once, so that a reader sees the old or the new one, never half."""
        self.root.mkdir(parents=True, exist_ok=True)
        draft = self._facts.with_suffix(".new")
        draft.write_text(json.dumps(asdict(facts)))
        draft.replace(self._facts)

    def facts(self) -> RegionInfo | None:
        """What a living region says of itself; None when none runs (a file left by a dead one does not count)."""
        try:
            found = json.loads(self._facts.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return _facts(found) if self.is_alive() else None

    def is_alive(self) -> bool:
        """Whether a region holds the lab's lock. The kernel drops the lock with its holder, however that ends."""
        try:
            with self._lock.open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return False
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True

    def lock_region(self) -> IO[str]:
        """The lock that a living region holds (close the file to let go). Raises BlockingIOError when another does."""
        return self._take(self._lock)

    def lock_walk(self) -> IO[str]:
        """The lock of who changes the lab, an `up` or a `down`. Raises BlockingIOError when another does."""
        return self._take(self._walk)

    def _take(self, path: Path) -> IO[str]:
        self.root.mkdir(parents=True, exist_ok=True)
        lock = path.open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise
        if not _is_at(path, lock):
            # `down` has removed it in between: nobody else would meet us at this one
            lock.close()
            return self._take(path)
        return lock

    def rotate_logs(self) -> None:
        """The logs of the life before move to logs/previous, and those of the one before that go."""
        previous = self.logs / "previous"
        self.logs.mkdir(parents=True, exist_ok=True)
        remove(previous)
        old = [entry for entry in self.logs.iterdir() if entry.name != _REGION_LOG]
        if old:
            previous.mkdir()
        for entry in old:
            entry.rename(previous / entry.name)

    def clear_remains(self) -> None:
        """Remove what a region that crashed has left: its machines, its tasks, and what it said of itself."""
        for path in (self.machines, self.tasks, self._facts):
            remove(path)

    def clear(self) -> None:
        """Remove everything but the logs."""
        with contextlib.suppress(FileNotFoundError):
            # the locks last: whoever takes them from then on finds nothing that is still to be removed
            locks = (self._lock, self._walk)
            for entry in (*(one for one in list(self.root.iterdir()) if one not in locks), *locks):
                if entry != self.logs:
                    remove(entry)

    def leftovers(self) -> list[Path]:
        """What is still there beside the logs."""
        if not self.root.is_dir():
            return []
        return sorted(entry for entry in self.root.iterdir() if entry != self.logs)


def _is_at(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def base_folder() -> Path:
    """Where all local labs live, a folder each."""
    return state_folder()


def remove(path: Path) -> None:
    """Remove a file or a folder; one that is gone, or goes meanwhile, is fine. Raises OSError."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
    elif sys.version_info >= (3, 12):
        shutil.rmtree(path, onexc=_unless_gone)
    else:
        shutil.rmtree(path, onerror=lambda function, name, info: _unless_gone(function, name, info[1]))


def _unless_gone(function: object, path: str, error: BaseException) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _facts(found: dict[str, Any]) -> RegionInfo:
    # what an older version of this tool wrote may lack some
    known = {"version": "", **found}
    known = {name: known[name] for name in RegionInfo.__dataclass_fields__ if name in known}
    known |= {name: tuple(known[name]) for name in ("doors", "subnet_ids") if name in known}
    return RegionInfo(**known)
