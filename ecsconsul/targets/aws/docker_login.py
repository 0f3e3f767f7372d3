"""The user's login at a registry, from Docker's own config file and its credential helpers; never shown."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

from ...errors import LabError


@dataclass(frozen=True)
class Credentials:
    """A user name with its password, or a token that stands for both."""

    username: str = field(repr=False)
    password: str = field(repr=False)
    identity_token: str = field(default="", repr=False)

    def words(self, host: str) -> dict[str, str]:
        """As the Docker engine wants them."""
        if self.identity_token:
            return {"identitytoken": self.identity_token, "serveraddress": host}
        return {"username": self.username, "password": self.password, "serveraddress": host}


def stored(host: str) -> Credentials | None:
    """What `docker login` has stored for a registry; None: nothing. Raises LabError."""
    from docker.auth import load_config
    from docker.credentials import StoreError
    from docker.errors import DockerException

    try:
        with warnings.catch_warnings():
            # of a helper that is missing, which is an error below
            warnings.simplefilter("ignore")
            found = load_config().resolve_authconfig(host)
    except (DockerException, StoreError, ValueError) as error:
        raise LabError(
            "Docker's stored logins cannot be read",
            where=f"registry {host}",
            # the words of a broken entry might hold a part of it
            why=type(error).__name__ if isinstance(error, ValueError) else str(error),
            hint=f"docker login {host}",
        ) from error
    # the SDK spells keys as the file or the helper that they come from does
    told = {key.lower(): value for key, value in (found or {}).items() if value}
    if not told.keys() & {"identitytoken", "password"}:
        return None
    return Credentials(told.get("username", ""), told.get("password", ""), told.get("identitytoken", ""))
