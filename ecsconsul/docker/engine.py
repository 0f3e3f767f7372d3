"""Looks at the Docker engine of this machine: whether it answers and can be used, and what of a lab is on it.

Read-only and without Docker's SDK, which takes longer to load than all that is asked here; who changes something
takes the SDK's client from `client`.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from ..errors import LabError

if TYPE_CHECKING:
    from docker import APIClient

DEFAULT_URL = "unix:///var/run/docker.sock"
# an engine that needs longer to say what it is is none to build a lab on
LOOK_TIMEOUT = 5.0
REQUEST_TIMEOUT = 60.0
LAB_LABEL, HOME_LABEL, INSTANCE_LABEL = "ecsconsul.lab", "ecsconsul.home", "ecsconsul.instance"
START_HINT = "start Docker, or run the tasks as processes: ecsconsul up --runtime processes"


class EngineUnusable(LabError):
    """There is no engine on which the lab could be; `why` tells."""


@dataclass(frozen=True)
class Left:
    """What of a lab is on the engine, by id, each with a name for people."""

    containers: dict[str, str]
    networks: dict[str, str]
    images: dict[str, str]

    def lines(self) -> list[str]:
        """One line for each."""
        kinds = (("container", self.containers), ("network", self.networks), ("image", self.images))
        return [f"{kind} {name}" for kind, found in kinds for name in found.values()]

    def __bool__(self) -> bool:
        return bool(self.containers or self.networks or self.images)


def engine_url() -> str:
    """DOCKER_HOST, else the socket at its usual place."""
    return os.environ.get("DOCKER_HOST") or DEFAULT_URL


def labels(lab: str, home: Path) -> dict[str, str]:
    """What marks each thing of a lab; its home tells it from another user's lab of the same name."""
    return {LAB_LABEL: lab, HOME_LABEL: str(home)}


class Engine:
    """One engine, looked at. Every method raises EngineUnusable when it does not answer."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._path = url.removeprefix("unix://")

    def check(self) -> None:
        """Raises EngineUnusable unless containers of this engine can be reached from here by their addresses."""
        if not sys.platform.startswith("linux"):
            raise _unusable("on this system containers run in a virtual machine, and cannot be reached from here")
        if not self.url.startswith("unix://"):
            raise _unusable(f"DOCKER_HOST is {self.url}; the engine must be that of this machine (unix://...)")
        info = self._get("/info", LOOK_TIMEOUT)
        if "name=rootless" in (info.get("SecurityOptions") or ()):
            raise _unusable("the engine is rootless, and its containers cannot be reached from here")
        if info.get("OSType") != "linux":
            raise _unusable(f"the engine runs containers of {info.get('OSType')}, not of Linux")

    def has_image(self, reference: str) -> bool:
        """Whether the image is there, so that nothing must be pulled."""
        code, body = self._request(f"/images/{quote(reference)}/json", REQUEST_TIMEOUT)
        if code not in (200, 404):
            raise self._refusal(code, body)
        return code == 200

    def left(self, lab: str, home: Path) -> Left:
        """Everything with the lab's labels."""
        told = [f"{key}={value}" for key, value in labels(lab, home).items()]
        query = urlencode({"filters": json.dumps({"label": told})})
        containers = self._get(f"/containers/json?all=1&{query}")
        return Left(
            {one["Id"]: one["Names"][0].lstrip("/") for one in containers},
            {one["Id"]: one["Name"] for one in self._get(f"/networks?{query}")},
            {one["Id"]: " ".join(one["RepoTags"] or [one["Id"]]) for one in self._get(f"/images/json?{query}")},
        )

    def tags(self, lab: str, home: Path, repository: str) -> list[str]:
        """The tags of a repository's images that the lab made, oldest first."""
        told = [f"{key}={value}" for key, value in labels(lab, home).items()]
        query = urlencode({"filters": json.dumps({"label": told, "reference": [repository]})})
        found = sorted(self._get(f"/images/json?{query}"), key=lambda one: one["Created"])
        names = [name for one in found for name in one["RepoTags"] or ()]
        return [tag for name, _, tag in (name.rpartition(":") for name in names) if name == repository]

    def is_there(self) -> bool:
        """Whether there is an engine to ask at all: a socket, and somebody who answers."""
        if not self.url.startswith("unix://") or not Path(self._path).exists():
            return False
        try:
            self._get("/info", LOOK_TIMEOUT)
        except EngineUnusable:
            return False
        return True

    def _get(self, path: str, timeout: float = REQUEST_TIMEOUT) -> Any:
        code, body = self._request(path, timeout)
        if code != 200:
            raise self._refusal(code, body)
        return json.loads(body)

    def _refusal(self, code: int, body: bytes) -> EngineUnusable:
        return _unusable(f"{self._path} answers {code} {body[:200].decode(errors='replace').strip()}")

    def _request(self, path: str, timeout: float) -> tuple[int, bytes]:
        """One request on a connection of its own: there are only a few, and nobody would close a kept one."""
        with closing(_Connection(self._path, timeout)) as connection:
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                return answer.status, answer.read()
            except (OSError, HTTPException) as error:
                raise _unusable(_why(self._path, error)) from error


class _Connection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def client(url: str) -> APIClient:
    """The SDK's client of an engine; many threads may share it. Raises EngineUnusable."""
    from docker import APIClient
    from docker.errors import DockerException

    try:
        return APIClient(base_url=url, version="auto", timeout=int(REQUEST_TIMEOUT), max_pool_size=64)
    except DockerException as error:
        raise _unusable(str(error)) from error


def _unusable(why: str) -> EngineUnusable:
    return EngineUnusable("There is no Docker engine to run the lab in containers", why=why, hint=START_HINT)


def _why(path: str, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no {path}"
    if isinstance(error, PermissionError):
        return f"this user may not use {path}; the group docker may"
    return f"nothing answers at {path}: {error}"
