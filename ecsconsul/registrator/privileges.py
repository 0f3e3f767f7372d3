"""Drops root privileges but keeps access to the sockets of Docker and Consul, through their groups."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from ..errors import LabError, WrongUsage


def drop_privileges(name: str, sockets: Iterable[str]) -> None:
    """Switch to this user, with the groups of these sockets; does nothing unless started as root.

    Stays root if a socket doesn't admit its group. Raises WrongUsage if the user doesn't exist.
    """
    import pwd

    if os.geteuid() != 0:
        return
    try:
        user = pwd.getpwnam(name)
    except KeyError as error:
        raise WrongUsage("No such user", where=f"-user {name}") from error
    groups = {_group_of(path) for path in sockets}
    if None in groups:
        return
    os.setgroups(sorted(group for group in groups if group is not None))
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    os.environ["HOME"] = "/"


def _group_of(path: str) -> int | None:
    """The group that may use a socket; None if only its owner may. Raises LabError if there is no such socket."""
    try:
        status = Path(path).stat()
    except OSError as error:
        raise LabError("No such socket", where=path, why=error.strerror or str(error)) from error
    return status.st_gid if status.st_mode & stat.S_IWGRP else None
