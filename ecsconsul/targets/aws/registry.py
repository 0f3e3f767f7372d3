"""The images of a lab in AWS: built for its instances on the user's engine, pushed to ECR or any registry."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from ...config.lab import Lab
from ...docker.build_context import HASH_LENGTH
from ...docker.builder import LAB_LABEL, REGISTRY_LABEL, DockerEngine, PushRefused, platform_of
from ...errors import LabError
from ..base import Say
from .docker_login import Credentials, stored
from .ecr import EcrRepositories
from .registry_api import Denied, RegistryApi, split

# builds and pushes side by side; more would only share the processors and the line
AT_ONCE = 4
_OWN_TAG = re.compile(rf"^[0-9a-f]{{{HASH_LENGTH}}}(-arm64)?$")
# how ECR says that a tag which never changes is there already
_IMMUTABLE = "cannot be overwritten because the"


class Repositories(Protocol):
    """Where images are kept: in ECR, or in a registry that the config names."""

    def name(self, service: str) -> str:
        """The beginning of an image's name, before its tag."""

    def login(self) -> dict[str, str]:
        """What the Docker engine needs to push."""

    def blockers(self) -> list[LabError]:
        """What speaks against pushing."""

    def tags(self, service: str) -> list[str]:
        """The tags that are there; oldest first, where the registry tells their age."""

    def prepare(self, service: str, say: Say) -> None:
        """Make what must be there before a push."""

    def delete(self, service: str) -> list[str]:
        """Delete what the lab made; what could not be, a line each."""

    def hint(self) -> str:
        """What to do about a push that is refused."""


class RegistryImages:
    """The images of one lab. In a registry that others share, their tag tells the source and the architecture."""

    def __init__(
        self,
        lab: Lab,
        registry: str | None,
        clients: Callable[[str], Any],
        architecture: Callable[[], str],
        engine: DockerEngine | None = None,
    ) -> None:
        self._lab = lab
        self._architecture = architecture
        self._engine = engine or DockerEngine()
        self._marks = {LAB_LABEL: lab.name, REGISTRY_LABEL: registry or "ecr"}
        self._repositories: Repositories = (
            NamedRepositories(lab.name, registry, self._engine) if registry else EcrRepositories(lab.name, clients)
        )
        self._at_once = threading.BoundedSemaphore(AT_ONCE)
        self._kept: list[str] = []

    def blockers(self) -> list[LabError]:
        """What speaks against building and pushing, found without changing anything."""
        found = self._repositories.blockers()
        try:
            foreign = self._engine.blocker(self._platform)
            # what is pushed already needs no build, and an edit later fails with the same hint
            if foreign and not found and not all(self.tags(service.name) for service in self._lab.services):
                found.append(foreign)
        except LabError as error:
            found.append(error)
        return found

    def reference(self, service: str, tag: str) -> str:
        return f"{self._repositories.name(service)}:{tag}{self._suffix}"

    def tags(self, service: str) -> list[str]:
        """The sources whose images are there for the lab's architecture; oldest first, where the registry tells it."""
        own = [tag for tag in self._repositories.tags(service) if _OWN_TAG.match(tag)]
        return [tag[:HASH_LENGTH] for tag in own if tag[HASH_LENGTH:] == self._suffix]

    def publish(self, service: str, tag: str, source: Path, build_args: Mapping[str, str], say: Say) -> None:
        reference = self.reference(service, tag)
        with self._at_once:
            say(f"building {reference} for {self._platform}")
            self._engine.build(reference, source, build_args, self._marks, self._platform, say)
            self._repositories.prepare(service, say)
            say(f"pushing {reference}")
            self._push(service, tag, reference, say)
        # the copies of what was there before are of no more use
        self._engine.forget(self._repositories.name(service), self._marks, keep=reference)

    def delete(self, service: str) -> None:
        self._kept += self._repositories.delete(service)
        self._engine.forget(self._repositories.name(service), self._marks)

    def kept(self) -> list[str]:
        """What `delete` could not delete, a line each."""
        return list(self._kept)

    def _push(self, service: str, tag: str, reference: str, say: Say) -> None:
        try:
            self._engine.push(reference, self._repositories.login(), say)
        except PushRefused as refusal:
            # somebody else was faster with the same source
            if _IMMUTABLE not in refusal.why or tag not in self.tags(service):
                raise PushRefused(
                    refusal.what, where=refusal.where, why=refusal.why, hint=self._repositories.hint()
                ) from refusal

    @cached_property
    def _platform(self) -> str:
        return platform_of(self._architecture())

    @property
    def _suffix(self) -> str:
        """Tells images of the same source apart; those for x86 have the bare hash."""
        name = self._platform.rpartition("/")[2]
        return "" if name == "amd64" else f"-{name}"


class NamedRepositories:
    """The repositories below a name in the config: a namespace of Docker Hub, or host[:port]/path."""

    def __init__(self, lab: str, registry: str, engine: DockerEngine) -> None:
        self._lab = lab
        self._registry = registry
        # with a service's name behind it even a bare host is told from a namespace
        self._host = split(f"{registry}/service")[0]
        self._api = RegistryApi(self._host, self._credentials, engine.is_insecure)
        self._lock = threading.Lock()
        self._known: list[Credentials | None] = []

    def name(self, service: str) -> str:
        return f"{self._registry}/{service}"

    def login(self) -> dict[str, str]:
        found = self._credentials()
        return found.words(self._host) if found else {}

    def blockers(self) -> list[LabError]:
        try:
            self._api.check()
        except LabError as error:
            return [error]
        return []

    def tags(self, service: str) -> list[str]:
        try:
            return self._api.tags(self._path(service))
        except Denied:
            # how Docker Hub, too, says that a repository is not there; a push would tell otherwise
            return []

    def prepare(self, service: str, say: Say) -> None:
        """A registry makes a repository when the first image is pushed."""

    def delete(self, service: str) -> list[str]:
        """Only images that carry the lab's label are deleted."""
        path = self._path(service)
        kept = []
        try:
            tags = [tag for tag in self._api.tags(path) if _OWN_TAG.match(tag)]
        except LabError as error:
            # a registry that is gone, or that we may not see any more, keeps nobody from taking the lab away
            return [f"images of {self.name(service)}, if there are any: {error.what}: {error.why}"]
        for tag in tags:
            try:
                if self._api.labels(path, tag).get(LAB_LABEL) == self._lab:
                    self._api.delete(path, tag)
            except LabError as error:
                kept.append(f"image {self.name(service)}:{tag}: the registry does not delete it ({error.why})")
        return kept

    def hint(self) -> str:
        host = "" if self._host == split("a")[0] else f" {self._host}"
        return f"docker login{host}, as a user who may push to {self._registry}"

    def _path(self, service: str) -> str:
        return split(self.name(service))[1]

    def _credentials(self) -> Credentials | None:
        """Read once: a helper may ask its user, or take its time."""
        with self._lock:
            if not self._known:
                self._known.append(stored(self._host))
            return self._known[0]
