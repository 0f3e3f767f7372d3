"""Paths of the files that ship with the package, and of the labs' state."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

HOME_VARIABLE = "ECSCONSUL_HOME"
_PACKAGE = Path(__file__).resolve().parent


def services_dir() -> Path:
    """The folder of the built-in services, one folder with a Dockerfile each."""
    return _shipped("services")


def templates_dir() -> Path:
    """The folder of the CloudFormation template and its boot scripts."""
    return _shipped("templates")


def state_folder() -> Path:
    """The folder of all labs: ECSCONSUL_HOME, or the user's state folder."""
    if folder := os.environ.get(HOME_VARIABLE):
        return Path(folder).absolute()
    from platformdirs import user_state_path

    return user_state_path("ecsconsul")


def region_log(lab: str) -> Path:
    """The log of a lab's region on this machine."""
    return state_folder() / lab / "logs" / "region.log"


def registrator_source() -> Path:
    """The build context of the Registrator's image: this package, filtered by its .dockerignore."""
    return _PACKAGE


def lock_file(path: Path, *, blocking: bool = False) -> IO[str]:
    """Lock a file, which is created if need be; close it to release the lock. The kernel does so when a process ends.

    Raises BlockingIOError when another process holds the lock, unless `blocking`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if blocking else fcntl.LOCK_NB))
            # The previous holder may have removed the file meanwhile; a lock on it would exclude nobody.
            if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                return file
        except FileNotFoundError:
            pass
        except BlockingIOError:
            file.close()
            raise
        file.close()


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only this user can read, atomically: neither the file nor its draft is ever readable by others.

    Raises OSError.
    """
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        with open_private(draft) as file:
            file.write(content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def open_private(path: Path) -> IO[bytes]:
    """Open a new file for writing that only this user can read; replaces an older one. Raises OSError."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _shipped(name: str) -> Path:
    # an installed package contains the folder (setup.cfg), a checkout has it next to the package
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name
