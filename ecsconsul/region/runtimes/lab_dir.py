"""A lab's directory, which only its user can read: its folders, its locks, its access key and its region's info."""

from __future__ import annotations

import base64
import fcntl
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import IO, TypeVar

import msgspec

from ...consul.lab_secrets import LabSecrets, Rotation, new_secrets
from ...errors import LabError
from ...paths import lock_file, state_folder, write_private

T = TypeVar("T")

DOCKER, PROCESSES = "docker", "processes"
_REGION_LOG = "region.log"
_PREVIOUS = "previous"


class RegionSpec(msgspec.Struct, frozen=True):
    """The arguments of a region, which it reads as JSON."""

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
    # An earlier region of the lab may have served requests that were signed with the key.
    key_is_new: bool = False


class AccessKey(msgspec.Struct, frozen=True):
    """The key that signs requests to a lab's region."""

    id: str
    secret: str

    @classmethod
    def random(cls) -> AccessKey:
        """A new key in the form of AWS's: AKIA and 16 characters of base32, and 40 characters of base64."""
        id = "AKIA" + base64.b32encode(os.urandom(10)).decode()
        return cls(id, base64.b64encode(os.urandom(30)).decode())

    def __repr__(self) -> str:
        return f"AccessKey({self.id!r})"


class RegionInfo(msgspec.Struct, frozen=True):
    """Describes a running region. Addresses are host:port, `endpoint` is a URL, `secrets` the generation in use."""

    pid: int
    endpoint: str
    version: str = ""
    lab: str = ""
    region: str = ""
    consul_http: str = ""
    consul_dns: str = ""
    runtime: str = PROCESSES
    runtime_why: str = ""
    engine: str = ""
    secrets: str = ""
    # How often the servers were restarted because their data had been restored.
    restores: int = 0
    key_id: str = ""
    forwarded_ports: tuple[int, ...] = ()
    vpc_id: str = ""
    subnet_ids: tuple[str, ...] = ()

    def runs(self, runtime: str | None) -> bool:
        """Whether tasks run in this runtime; `auto` and None match any."""
        return runtime not in (DOCKER, PROCESSES) or runtime == self.runtime


class SnapshotSchedule(msgspec.Struct, frozen=True):
    """How often the region makes a snapshot of Consul's data, and how long it keeps one, in seconds."""

    every: float
    keep: float
    folder: str


class LabDir:
    """The directory of one lab. `down` leaves its `logs` and `snapshots`, and nothing else."""

    def __init__(self, lab: str) -> None:
        self.lab = lab
        self.root = state_folder() / lab
        self.logs = self.root / "logs"
        self.region_log = self.logs / _REGION_LOG
        # what happened in the lab, beside the logs and rotated with them
        self.journal = self.logs
        self.snapshots = self.root / "snapshots"
        self.images = self.root / "images"
        self.environments = self.root / "environments"
        self.instances = self.root / "instances"
        self.tasks = self.root / "tasks"
        # folders that stand for instances' own and for file systems of EFS
        self.volumes = self.root / "volumes"
        self._info = self.root / "region.json"
        self._consul_secrets = self.root / "consul-secrets.json"
        self._rotation = self.root / "rotation.json"
        self._schedule = self.root / "schedule.json"
        self._access_key = self.root / "access-key.json"
        self._region_lock = self.root / "region.lock"
        self._change_lock = self.root / "change.lock"

    @property
    def journals(self) -> list[Path]:
        """The folders of the journals of this run and the one before, oldest first."""
        return [self.logs / _PREVIOUS, self.journal]

    def service_logs(self, service: str) -> Path:
        """The folder with a log file for each task of a service."""
        return self.logs / "services" / service

    def task_log(self, service: str, task: str, container: str = "") -> Path:
        """The log file of a task, or of one of its containers if it has several."""
        return self.service_logs(service) / (f"{task}-{container}.log" if container else f"{task}.log")

    def prepare(self) -> None:
        """Create the directory; one that others can read, from an older version, is made private. Raises LabError."""
        self.root.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.root.mkdir(mode=0o700)
        except FileExistsError:
            found = self.root.lstat()
            # Its owner could read everything that is written into it, and a link could lead anywhere.
            if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode):
                raise _not_own(self.root) from None
            if stat.S_IMODE(found.st_mode) & 0o077:
                self.root.chmod(0o700)

    def ensure_access_key(self) -> bool:
        """Make the lab's access key unless it has one that nobody else could read; whether one was made."""
        self.prepare()
        if self.access_key() and not self._access_key.stat().st_mode & 0o077:
            return False
        write_private(self._access_key, msgspec.json.encode(AccessKey.random()))
        return True

    def access_key(self) -> AccessKey | None:
        """The key that signs requests to the lab's region; None when there is none."""
        try:
            return msgspec.json.decode(self._access_key.read_bytes(), type=AccessKey)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def write_info(self, info: RegionInfo) -> None:
        """Write the region's info atomically, so that readers never see half a file."""
        self.prepare()
        write_private(self._info, msgspec.json.encode(info))

    def info(self) -> RegionInfo | None:
        """The running region's info; None when no region runs, even if a crashed one left its file behind.

        Raises LabError when the directory is another user's.
        """
        try:
            info = msgspec.json.decode(self._info.read_bytes(), type=RegionInfo)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        except PermissionError as error:
            raise _not_own(self.root) from error
        return info if self.is_alive() else None

    def consul_secrets(self) -> LabSecrets:
        """The secrets of the lab's Consul. Raises LabError when there are none that can be read."""
        hint = "`ecsconsul up` starts the lab anew with other secrets"
        found = _read_secret(self._consul_secrets, LabSecrets, hint)
        if found is None:
            raise LabError("The secrets of the lab's Consul are missing", where=str(self._consul_secrets), hint=hint)
        return found

    def make_consul_secrets(self) -> None:
        """Create the secrets of the lab's Consul, unless it has some; a rotation of lost ones cannot be continued."""
        if self.has_consul_secrets():
            return
        self.write_rotation(None)
        self.write_consul_secrets(new_secrets(self.lab))

    def has_consul_secrets(self) -> bool:
        """Whether there are secrets that can be read."""
        try:
            self.consul_secrets()
        except LabError:
            return False
        return True

    def write_consul_secrets(self, lab_secrets: LabSecrets) -> None:
        """Replace the secrets of the lab's Consul."""
        self.prepare()
        write_private(self._consul_secrets, msgspec.json.encode(lab_secrets))

    def rotation(self) -> Rotation | None:
        """The rotation of secrets that has begun and not ended. Raises LabError when it cannot be read."""
        hint = f"remove {self._rotation} and run `ecsconsul rotate` again, which revokes everything older"
        return _read_secret(self._rotation, Rotation, hint)

    def write_rotation(self, rotation: Rotation | None) -> None:
        """Keep a rotation that begins, or forget one that has ended."""
        if rotation:
            write_private(self._rotation, msgspec.json.encode(rotation))
        else:
            self._rotation.unlink(missing_ok=True)

    def snapshot_schedule(self) -> SnapshotSchedule | None:
        """When the region makes snapshots; None if it makes none."""
        try:
            return msgspec.json.decode(self._schedule.read_bytes(), type=SnapshotSchedule)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def write_snapshot_schedule(self, schedule: SnapshotSchedule | None) -> None:
        """Change when the region makes snapshots; it reads the file when it's woken."""
        self.prepare()
        if schedule:
            write_private(self._schedule, msgspec.json.encode(schedule))
        else:
            self._schedule.unlink(missing_ok=True)

    def is_alive(self) -> bool:
        """Whether a region holds its lock, which the kernel releases however the region exits."""
        try:
            with self._region_lock.open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return False
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True

    def lock_region(self) -> IO[str]:
        """Take the lock of the running region; close the file to release it. Raises BlockingIOError."""
        self.prepare()
        return lock_file(self._region_lock)

    def lock_changes(self) -> IO[str]:
        """Take the lock of commands that change the lab; close the file to release it. Raises BlockingIOError."""
        self.prepare()
        return lock_file(self._change_lock)

    def rotate_logs(self) -> None:
        """Move the logs of the previous run to logs/previous, and remove older ones."""
        previous = self.logs / _PREVIOUS
        self.prepare()
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
        """Remove everything but the logs and the snapshots."""
        for entry in self.leftovers():
            remove(entry)

    def leftovers(self) -> list[Path]:
        """The directory's entries besides what is kept, the locks last: their next holder must not lose any file."""
        if not self.root.is_dir():
            return []
        entries = [entry for entry in self.root.iterdir() if entry not in (self.logs, self.snapshots)]
        return sorted(entries, key=lambda entry: (entry == self._change_lock, entry == self._region_lock, entry))


def _read_secret(path: Path, kind: type[T], hint: str) -> T | None:
    """A file of secrets; None when there is none. Raises LabError, which repeats nothing of the file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LabError(
            "A file of secrets cannot be read", where=str(path), why=str(error.strerror), hint=hint
        ) from error
    except msgspec.DecodeError:
        raise LabError("A file of secrets is damaged", where=str(path), hint=hint) from None


def remove(path: Path) -> None:
    """Remove a file or a folder; does nothing when it is gone or disappears meanwhile. Raises OSError."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
    elif sys.version_info >= (3, 12):
        shutil.rmtree(path, onexc=_unless_gone)
    else:
        shutil.rmtree(path, onerror=lambda function, name, info: _unless_gone(function, name, info[1]))


def _unless_gone(function: object, path: str, error: BaseException) -> None:
    if isinstance(error, FileNotFoundError):
        return
    if not isinstance(error, PermissionError) or not _opened(Path(path)):
        raise error
    remove(Path(path))


def _opened(path: Path) -> bool:
    """Whether a folder was closed, as by a task that made it read-only, and is open to its owner now."""
    closed = [one for one in (path.parent, path) if one.is_dir() and not one.is_symlink() and not _is_open(one)]
    for folder in closed:
        folder.chmod(stat.S_IRWXU)
    return bool(closed)


def _is_open(folder: Path) -> bool:
    return folder.stat().st_mode & stat.S_IRWXU == stat.S_IRWXU


def _not_own(root: Path) -> LabError:
    return LabError(
        "The lab's folder belongs to another user",
        where=str(root),
        hint="set ECSCONSUL_HOME to a folder of your own",
    )
