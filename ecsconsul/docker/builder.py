"""The user's Docker engine, where images for AWS are built and pushed from; which registry is for others."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LabError
from .build import build, emulation_hint, remove

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker import APIClient

DEFAULT_URL = "unix:///var/run/docker.sock"
# the longest silence of the engine: a registry may take its time over a layer that it has got
SILENCE = 300
# labels of the copies that stay on the engine; those of the local target's images have its home as well
LAB_LABEL, REGISTRY_LABEL = "ecsconsul.lab", "ecsconsul.registry"
# each quarter of a push is told
TOLD_PARTS = 4
_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}
_EMULATORS = {"amd64": "qemu-x86_64", "arm64": "qemu-aarch64"}
_START_HINT = "start Docker, or name an engine in DOCKER_HOST; images are built on it before they are pushed"


class EngineUnusable(LabError):
    """The engine does not answer; `why` tells."""


class PushRefused(LabError):
    """A registry did not take an image; `why` has its words."""


def platform_of(architecture: str) -> str:
    """x86_64 or arm64, as AWS names architectures, as an image's platform."""
    return f"linux/{_NAMES.get(architecture, architecture)}"


class DockerEngine:
    """Builds, pushes and forgets; each of these on a connection of its own, so many threads may share it."""

    def __init__(self, binfmt: Path = Path("/proc/sys/fs/binfmt_misc")) -> None:
        self._binfmt = binfmt

    def objection(self, platform: str) -> LabError | None:
        """What speaks against building for a platform. Raises EngineUnusable."""
        info = self._info()
        name = platform.rpartition("/")[2]
        own = _NAMES.get(info.get("Architecture", ""), info.get("Architecture", ""))
        if info.get("OSType", "linux") != "linux":
            return LabError("The Docker engine runs no Linux containers", why=f"OSType is {info['OSType']}")
        if own == name or not _has_our_kernel() or self._emulates(name):
            return None
        return LabError(
            f"The Docker engine cannot run {name} programs, as builds for the instances must",
            where="config, aws.instance_type",
            why=f"the engine is {own}, and its kernel knows no emulator ({self._binfmt / _EMULATORS[name]})",
            hint=emulation_hint(platform),
        )

    def is_insecure(self, host: str) -> bool:
        """Whether the engine was told that a registry speaks plain HTTP."""
        with contextlib.suppress(EngineUnusable):
            configured = self._info().get("RegistryConfig", {}).get("IndexConfigs") or {}
            return not configured.get(host, {}).get("Secure", True)
        return False

    def build(
        self,
        reference: str,
        source: Path,
        build_args: Mapping[str, str],
        marks: Mapping[str, str],
        platform: str,
        say: Callable[[str], None],
    ) -> None:
        """Build an image for a platform. Raises LabError."""
        with _connected() as docker:
            build(docker, reference, source, build_args, marks, say, platform)

    def push(self, reference: str, login: Mapping[str, str], say: Callable[[str], None]) -> None:
        """Push an image. Raises PushRefused with the registry's words, EngineUnusable."""
        repository, _, tag = reference.rpartition(":")
        progress = _Progress(say)
        with _translated(reference), _connected() as docker:
            # a login of nobody is sent as well: older engines miss it
            told = docker.push(repository, tag=tag, stream=True, decode=True, auth_config=dict(login))
            refusals = []
            # read to its end, which comes after an error
            for message in told:
                refusals += [message["error"]] if "error" in message else []
                progress.heed(message)
        if refusals:
            raise PushRefused("An image cannot be pushed", where=reference, why=refusals[0])

    def forget(self, repository: str, marks: Mapping[str, str], keep: str = "") -> None:
        """Remove the marked copies of a repository's images but one; whoever has no engine has no copies."""
        with contextlib.suppress(EngineUnusable), _translated(repository), _connected() as docker:
            told = [f"{name}={value}" for name, value in marks.items()]
            for image in docker.images(name=repository, filters={"label": told}):
                for reference in image["RepoTags"] or ():
                    if reference != keep and reference.startswith(f"{repository}:"):
                        remove(docker, reference)

    def _info(self) -> dict[str, Any]:
        with _translated("info"), _connected() as docker:
            found: dict[str, Any] = docker.info()
        return found

    def _emulates(self, name: str) -> bool:
        entry = self._binfmt / _EMULATORS[name]
        with contextlib.suppress(OSError):
            return entry.read_text().startswith("enabled")
        return False


def _address() -> dict[str, Any]:
    """Where the docker command would find its engine: DOCKER_HOST, else its current context, else the usual socket."""
    import os

    from docker import ContextAPI
    from docker.utils import kwargs_from_env

    found: dict[str, Any] = {"base_url": DEFAULT_URL, **kwargs_from_env()}
    if not os.environ.get("DOCKER_HOST"):
        context = ContextAPI.get_context(os.environ.get("DOCKER_CONTEXT"))
        if context and context.Name != "default":
            found = {"base_url": context.Host, "tls": context.TLSConfig or False}
    return found


def _has_our_kernel() -> bool:
    """Whether it runs beside us; engines in virtual machines bring their own emulators."""
    return sys.platform == "linux" and str(_address()["base_url"]).startswith("unix://")


@contextlib.contextmanager
def _connected() -> Iterator[APIClient]:
    """The SDK's client. Raises EngineUnusable."""
    from docker import APIClient
    from docker.errors import DockerException

    try:
        where = _address()
        _knock(str(where["base_url"]))
        docker = APIClient(version="auto", timeout=SILENCE, **where)
    except (DockerException, ValueError, OSError) as error:
        raise EngineUnusable("No Docker engine answers", why=str(error), hint=_START_HINT) from error
    with contextlib.closing(docker):
        yield docker


def _knock(url: str) -> None:
    """Raises OSError, in words that the SDK does not have, where nothing listens at a socket."""
    if url.startswith("unix://"):
        path = url.removeprefix("unix://")
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(path)
            except FileNotFoundError as error:
                raise OSError(f"there is no {path}") from error
            except PermissionError as error:
                raise OSError(f"this user may not use {path}; the group docker may") from error


@contextlib.contextmanager
def _translated(where: str) -> Iterator[None]:
    """The SDK's errors in our own form."""
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except APIError as error:
        raise PushRefused("The Docker engine refuses", where=where, why=str(error.explanation)) from error
    except (DockerException, RequestException) as error:
        raise EngineUnusable("The Docker engine went away", where=where, why=str(error), hint=_START_HINT) from error


class _Progress:
    """Tells each quarter of the bytes that are known to be pushed; layers that the registry has are none."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._layers: dict[str, tuple[int, int]] = {}
        self._told = 0

    def heed(self, message: Mapping[str, Any]) -> None:
        """One message of the engine."""
        detail = message.get("progressDetail") or {}
        layer = message.get("id", "")
        if "total" in detail:
            # the engine counts a little beyond a layer's size
            self._layers[layer] = (min(detail.get("current", 0), detail["total"]), detail["total"])
        elif message.get("status") == "Pushed" and layer in self._layers:
            self._layers[layer] = (self._layers[layer][1],) * 2
        self._tell()

    def _tell(self) -> None:
        done = sum(current for current, _ in self._layers.values())
        total = sum(size for _, size in self._layers.values())
        part = done * TOLD_PARTS // total if total else 0
        if part > self._told:
            self._told = part
            self._say(f"pushed {done / 1e6:.1f} of {total / 1e6:.1f} MB")
