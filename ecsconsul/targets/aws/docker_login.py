"""Reads the login for a registry that `docker login` stored, from Docker's config file or a credential helper."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

from ...errors import LabError


@dataclass(frozen=True)
class DockerLogin:
    """A user name and password, or an identity token instead. Its repr shows none of them."""

    username: str = field(repr=False)
    password: str = field(repr=False)
    identity_token: str = field(default="", repr=False)

    def auth_config(self, host: str) -> dict[str, str]:
        """The login in the form that the Docker engine takes."""
        if self.identity_token:
            return {"identitytoken": self.identity_token, "serveraddress": host}
        return {"username": self.username, "password": self.password, "serveraddress": host}


def stored_login(host: str) -> DockerLogin | None:
    """The login that `docker login` stored for a registry, if there is one. Raises LabError if it can't be read."""
    from docker.auth import load_config
    from docker.credentials import StoreError
    from docker.errors import DockerException

    try:
        with warnings.catch_warnings():
            # the warning about a missing helper: an error follows
            warnings.simplefilter("ignore")
            found = load_config().resolve_authconfig(host)
    except (DockerException, StoreError, ValueError) as error:
        raise LabError(
            "Docker's stored logins can't be read",
            where=f"registry {host}",
            # the text of a broken entry could contain part of the password
            why=type(error).__name__ if isinstance(error, ValueError) else str(error),
            hint=f"run `docker login {host}`",
        ) from error
    # the SDK spells the keys as the file or helper does
    entry = {key.lower(): value for key, value in (found or {}).items() if value}
    if not entry.keys() & {"identitytoken", "password"}:
        return None
    return DockerLogin(entry.get("username", ""), entry.get("password", ""), entry.get("identitytoken", ""))
