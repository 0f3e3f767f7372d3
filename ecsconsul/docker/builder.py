"""Builds and pushes the images for AWS on the user's Docker engine."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LabError
from .build import build, emulation_hint, remove
from .engine import DEFAULT_CONTEXT, LAB_LABEL, Engine, EngineUnusable, context_name, engine_url, unreadable_context

if TYPE_CHECKING:
    from docker import APIClient

__all__ = ["LAB_LABEL", "REGISTRY_LABEL", "DockerEngine", "PushRefused", "platform_of"]

# how long the engine may stay silent: a registry can take its time over a layer it has received
SILENCE_SECONDS = 300
# on the images that stay on the engine, next to the lab's label
REGISTRY_LABEL = "ecsconsul.registry"
# a push reports each quarter
PROGRESS_PARTS = 4
_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}
_EMULATORS = {"amd64": "qemu-x86_64", "arm64": "qemu-aarch64"}
_START_HINT = "start Docker, or set DOCKER_HOST to another engine; images are built on it before they are pushed"


class PushRefused(LabError):
    """The registry rejected an image; `why` has its reason."""


def platform_of(architecture: str) -> str:
    """The image platform for an architecture as AWS names it (x86_64 or arm64)."""
    return f"linux/{_NAMES.get(architecture, architecture)}"


class DockerEngine:
    """Builds, pushes and removes images. Every operation has its own connection, so threads may share it."""

    def __init__(self, binfmt: Path = Path("/proc/sys/fs/binfmt_misc")) -> None:
        self._binfmt = binfmt

    def blocker(self, platform: str) -> LabError | None:
        """Why the engine can't build for a platform; None if it can. Raises EngineUnusable."""
        info = self._info()
        name = platform.rpartition("/")[2]
        own = _NAMES.get(info.get("Architecture", ""), info.get("Architecture", ""))
        if info.get("OSType", "linux") != "linux":
            return LabError(
                "The Docker engine doesn't run Linux containers",
                where="docker info",
                why=f"its OSType is {info['OSType']}",
                hint="switch Docker to Linux containers, or set DOCKER_HOST to another engine",
            )
        if own == name or not _shares_our_kernel() or self._emulates(name):
            return None
        return LabError(
            f"The Docker engine can't run {name} programs, which building for the instances requires",
            where="config, aws.instance_type",
            why=f"the engine is {own}, and its kernel has no emulator ({self._binfmt / _EMULATORS[name]})",
            hint=emulation_hint(platform),
        )

    def is_insecure(self, host: str) -> bool:
        """Whether the engine's configuration lets it use plain HTTP for a registry."""
        with contextlib.suppress(EngineUnusable):
            configured = self._info().get("RegistryConfig", {}).get("IndexConfigs") or {}
            return not configured.get(host, {}).get("Secure", True)
        return False

    def build(
        self,
        reference: str,
        source: Path,
        build_args: Mapping[str, str],
        labels: Mapping[str, str],
        platform: str,
        say: Callable[[str], None],
    ) -> None:
        """Build an image for a platform. Raises LabError."""
        with _connected() as docker:
            build(docker, reference, source, build_args, labels, say, platform)

    def push(self, reference: str, login: Mapping[str, str], say: Callable[[str], None]) -> None:
        """Push an image. Raises PushRefused with the registry's reason, EngineUnusable."""
        repository, _, tag = reference.rpartition(":")
        progress = _Progress(say)
        with _translated(reference), _connected() as docker:
            # older engines fail if there is no login at all, so an empty one is sent too
            messages = docker.push(repository, tag=tag, stream=True, decode=True, auth_config=dict(login))
            errors = []
            # the stream goes on after an error and must be read to its end
            for message in messages:
                errors += [message["error"]] if "error" in message else []
                progress.update(message)
        if errors:
            raise PushRefused("The registry rejected an image", where=reference, why=errors[0])

    def forget(self, repository: str, labels: Mapping[str, str], keep: str = "") -> None:
        """Remove a repository's labeled images from the engine, except `keep`. Without an engine there are none."""
        with contextlib.suppress(EngineUnusable), _translated(repository), _connected() as docker:
            filters = [f"{name}={value}" for name, value in labels.items()]
            for image in docker.images(name=repository, filters={"label": filters}):
                for reference in image["RepoTags"] or ():
                    if reference != keep and reference.startswith(f"{repository}:"):
                        remove(docker, reference)

    def _info(self) -> dict[str, Any]:
        with _translated("docker info"), _connected() as docker:
            found: dict[str, Any] = docker.info()
        return found

    def _emulates(self, name: str) -> bool:
        entry = self._binfmt / _EMULATORS[name]
        with contextlib.suppress(OSError):
            return entry.read_text().startswith("enabled")
        return False


def _shares_our_kernel() -> bool:
    """Whether the engine runs on this kernel. Engines in virtual machines bring their own emulators."""
    return sys.platform == "linux" and engine_url().startswith("unix://")


@contextlib.contextmanager
def _connected() -> Iterator[APIClient]:
    """The SDK's client. Raises EngineUnusable."""
    from docker import APIClient
    from docker.errors import DockerException

    url = engine_url()
    if not url:
        raise _no_answer(unreadable_context())
    try:
        if url.startswith("unix://"):
            # it explains a missing socket better than the SDK does
            Engine(url).ping()
        docker = APIClient(version="auto", timeout=SILENCE_SECONDS, **{"base_url": url, **_tls_options()})
    except EngineUnusable as error:
        raise _no_answer(error.why, url) from error
    except (DockerException, ValueError, OSError) as error:
        raise _no_answer(str(error), url) from error
    with contextlib.closing(docker):
        yield docker


def _tls_options() -> dict[str, Any]:
    """The certificates for the engine: Docker's own variables for DOCKER_HOST, else those of the current context."""
    from docker import ContextAPI
    from docker.utils import kwargs_from_env

    if os.environ.get("DOCKER_HOST"):
        return dict(kwargs_from_env())
    name = context_name()
    context = ContextAPI.get_context(name) if name != DEFAULT_CONTEXT else None
    return {"tls": context.TLSConfig} if context and context.TLSConfig else {}


def _no_answer(why: str, url: str = "") -> EngineUnusable:
    return EngineUnusable("The Docker engine doesn't answer", where=url, why=why, hint=_START_HINT)


@contextlib.contextmanager
def _translated(where: str) -> Iterator[None]:
    """Raise the SDK's errors as ours."""
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except APIError as error:
        raise PushRefused("The Docker engine rejected the request", where=where, why=str(error.explanation)) from error
    except (DockerException, RequestException) as error:
        raise EngineUnusable(
            "The connection to the Docker engine broke", where=where, why=str(error), hint=_START_HINT
        ) from error


class _Progress:
    """Reports each quarter of the bytes to push; layers that the registry already has don't count."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._layers: dict[str, tuple[int, int]] = {}
        self._reported = 0

    def update(self, message: Mapping[str, Any]) -> None:
        """Take in one message from the engine."""
        detail = message.get("progressDetail") or {}
        layer = message.get("id", "")
        if "total" in detail:
            # the engine counts slightly past a layer's size
            self._layers[layer] = (min(detail.get("current", 0), detail["total"]), detail["total"])
        elif message.get("status") == "Pushed" and layer in self._layers:
            self._layers[layer] = (self._layers[layer][1],) * 2
        self._report()

    def _report(self) -> None:
        done = sum(current for current, _ in self._layers.values())
        total = sum(size for _, size in self._layers.values())
        part = done * PROGRESS_PARTS // total if total else 0
        if part > self._reported:
            self._reported = part
            self._say(f"pushed {done / 1e6:.1f} of {total / 1e6:.1f} MB")
