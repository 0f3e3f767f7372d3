"""Gives root up for a user who may do one thing more: use the sockets of Docker and Consul, by their groups."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from ..errors import LabError, WrongUsage


def become(name: str, sockets: Iterable[str]) -> None:
    """Be this user from now on, with the groups of these sockets; without effect unless started as root.

    Stays root when a socket does not let its group in. Raises WrongUsage when there is no such user.
    """
    import pwd

    if os.geteuid() != 0:
        return
    try:
        user = pwd.getpwnam(name)
    except KeyError as error:
        raise WrongUsage("There is no such user", where=f"-user {name}") from error
    groups = {_group_of(path) for path in sockets}
    if None in groups:
        return
    os.setgroups(sorted(group for group in groups if group is not None))
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    os.environ["HOME"] = "/"


def _group_of(path: str) -> int | None:
    """The group that may use a socket; None where a group may not. Raises LabError when there is no socket."""
    try:
        found = Path(path).stat()
    except OSError as error:
        raise LabError("There is no such socket", where=path, why=error.strerror or str(error)) from error
    return found.st_gid if found.st_mode & stat.S_IWGRP else None
