"""Finds this machine's Docker engine as the docker command does, and inspects it: is it usable, what of a lab is on it.

Read-only, and without Docker's SDK, which takes longer to load than all of these requests. `client` returns the SDK's
client for changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from ..errors import LabError, Unreachable
from ..registrator.http_transport import HttpClient, Response
from ..registrator.settings import Server

if TYPE_CHECKING:
    from docker import APIClient

DEFAULT_URL = "unix:///var/run/docker.sock"
DEFAULT_CONTEXT = "default"
# an engine that takes longer to describe itself is too slow to run a lab
LOOK_TIMEOUT = 5.0
REQUEST_TIMEOUT = 60.0
LAB_LABEL, HOME_LABEL, INSTANCE_LABEL = "ecsconsul.lab", "ecsconsul.home", "ecsconsul.instance"
START_HINT = "start Docker, or run the tasks as processes: ecsconsul up --runtime processes"


class EngineUnusable(LabError):
    """The Docker engine does not answer, or can't do what the lab needs; `why` says which."""


@dataclass(frozen=True)
class Left:
    """What the engine still has of a lab: names by id."""

    containers: dict[str, str]
    networks: dict[str, str]
    images: dict[str, str]
    volumes: dict[str, str]

    def lines(self) -> list[str]:
        """One line for each."""
        kinds = (
            ("container", self.containers),
            ("network", self.networks),
            ("volume", self.volumes),
            ("image", self.images),
        )
        return [f"{kind} {name}" for kind, found in kinds for name in found.values()]

    def __bool__(self) -> bool:
        return bool(self.containers or self.networks or self.images or self.volumes)


def engine_url() -> str:
    """The engine that the docker command would use: DOCKER_HOST, else the current context's, else the usual socket.

    Empty if the context can't be read.
    """
    if url := os.environ.get("DOCKER_HOST"):
        return url
    name = context_name()
    return DEFAULT_URL if name == DEFAULT_CONTEXT else _context_host(name)


def context_name() -> str:
    """The current Docker context: DOCKER_CONTEXT, else the one that `docker context use` has stored."""
    # https://docs.docker.com/engine/manage-resources/contexts/
    stored = _read_json(_config_dir() / "config.json").get("currentContext")
    return os.environ.get("DOCKER_CONTEXT") or stored or DEFAULT_CONTEXT


def _context_host(name: str) -> str:
    digest = hashlib.sha256(name.encode()).hexdigest()
    meta = _read_json(_config_dir() / "contexts" / "meta" / digest / "meta.json")
    return str(meta.get("Endpoints", {}).get("docker", {}).get("Host") or "")


def _config_dir() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty if there is none."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def labels(lab: str, home: Path) -> dict[str, str]:
    """The labels on everything that a lab creates. Its directory tells it from another user's lab of the same name."""
    return {LAB_LABEL: lab, HOME_LABEL: str(home)}


class Engine:
    """One Docker engine, read-only. Every method raises EngineUnusable if it does not answer."""

    def __init__(self, url: str, *, look_timeout: float | None = None) -> None:
        self.url = url
        self._path = url.removeprefix("unix://")
        self._look_timeout = look_timeout or LOOK_TIMEOUT

    def check(self) -> None:
        """Raises EngineUnusable unless this machine can reach the engine's containers by their addresses."""
        if not sys.platform.startswith("linux"):
            raise _unusable("on this system containers run in a virtual machine, so their addresses can't be reached")
        if not self.url:
            raise _unusable(unreadable_context())
        if not self.url.startswith("unix://"):
            raise _unusable(f"the docker command uses {self.url}, and a local lab needs this machine's own (unix://)")
        info = self._get("/info", self._look_timeout)
        if "name=rootless" in (info.get("SecurityOptions") or ()):
            raise _unusable("the engine is rootless, so its containers' addresses can't be reached")
        if info.get("OSType") != "linux":
            raise _unusable(f"the engine runs {info.get('OSType')} containers, and the lab needs Linux ones")
        if info.get("OperatingSystem") == "Docker Desktop":
            raise _unusable("Docker Desktop runs containers in a virtual machine, so their addresses can't be reached")

    def ping(self) -> None:
        """Raises EngineUnusable unless something answers at the engine's socket."""
        self._request("/_ping", self._look_timeout)

    def has_image(self, reference: str) -> bool:
        """Whether the engine has the image, so that it need not pull it."""
        return self._image(reference) is not None

    def image_labels(self, reference: str) -> dict[str, str]:
        """The labels of an image; none if there is no such image."""
        found = self._image(reference) or {}
        return dict((found.get("Config") or {}).get("Labels") or {})

    def _image(self, reference: str) -> dict[str, Any] | None:
        answer = self._request(f"/images/{quote(reference)}/json", REQUEST_TIMEOUT)
        if answer.code not in (200, 404):
            raise self._refusal(answer)
        return dict(json.loads(answer.body)) if answer.code == 200 else None

    def left(self, lab: str, home: Path) -> Left:
        """Everything that has the lab's labels."""
        query = _query(lab, home)
        containers = self._get(f"/containers/json?all=1&{query}")
        return Left(
            {one["Id"]: one["Names"][0].lstrip("/") for one in containers},
            {one["Id"]: one["Name"] for one in self._get(f"/networks?{query}")},
            {one["Id"]: " ".join(one["RepoTags"] or [one["Id"]]) for one in self._get(f"/images/json?{query}")},
            {one["Name"]: one["Name"] for one in self._get(f"/volumes?{query}")["Volumes"] or ()},
        )

    def tags(self, lab: str, home: Path, repository: str) -> list[str]:
        """The tags of the images that the lab built in a repository, oldest first."""
        images = self._get(f"/images/json?{_query(lab, home, reference=[repository])}")
        names = [name for one in sorted(images, key=lambda one: one["Created"]) for name in one["RepoTags"] or ()]
        return [tag for name, _, tag in (name.rpartition(":") for name in names) if name == repository]

    def is_there(self) -> bool:
        """Whether an engine answers at a local socket."""
        if not self.url.startswith("unix://") or not Path(self._path).exists():
            return False
        try:
            self._get("/info", self._look_timeout)
        except EngineUnusable:
            return False
        return True

    def _get(self, path: str, timeout: float = REQUEST_TIMEOUT) -> Any:
        answer = self._request(path, timeout)
        if answer.code != 200:
            raise self._refusal(answer)
        return json.loads(answer.body)

    def _refusal(self, answer: Response) -> EngineUnusable:
        return _unusable(f"{self._path} answers {answer.code} {answer.text}")

    def _request(self, path: str, timeout: float) -> Response:
        """One request on its own connection: there are few of them, and nobody would close a pooled one."""
        with closing(HttpClient("Docker", Server(socket=self._path), timeout=timeout)) as http:
            try:
                return http.request("GET", path)
            except Unreachable as error:
                raise _unusable(_why(self._path, error)) from error


def client(url: str) -> APIClient:
    """The SDK's client for an engine; threads may share it. Raises EngineUnusable."""
    from docker import APIClient
    from docker.errors import DockerException

    try:
        return APIClient(base_url=url, version="auto", timeout=int(REQUEST_TIMEOUT), max_pool_size=64)
    except DockerException as error:
        raise _unusable(str(error)) from error


def unreadable_context() -> str:
    """Why `engine_url` found nothing."""
    return f"the Docker context {context_name()} does not exist or names no engine (`docker context ls` lists them)"


def _query(lab: str, home: Path, **filters: list[str]) -> str:
    selected = [f"{key}={value}" for key, value in labels(lab, home).items()]
    return urlencode({"filters": json.dumps({"label": selected, **filters})})


def _unusable(why: str) -> EngineUnusable:
    return EngineUnusable("There is no Docker engine to run the lab in containers", why=why, hint=START_HINT)


def _why(path: str, error: Unreachable) -> str:
    if isinstance(error.__cause__, FileNotFoundError):
        return f"there is no {path}"
    if isinstance(error.__cause__, PermissionError):
        return f"this user may not use {path}; members of the group docker may"
    return f"nothing answers at {path}: {error.why}"
