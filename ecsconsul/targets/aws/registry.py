"""Publishes the images of a lab in AWS: builds them on the user's engine and pushes them to ECR or another registry."""

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
from ...docker.source_files import files_label, read_label, source_files
from ...errors import LabError
from ..base import Say
from .docker_login import DockerLogin, stored_login
from .ecr import KEPT_IMAGES, EcrRepositories
from .registry_api import Denied, RegistryApi, split

# parallel builds and pushes; more would only compete for the processors and the uplink
MAX_PARALLEL = 4
# more images than revisions are kept: one that is built may never get into a revision
IMAGES_PER_REVISION = 2
_OWN_TAG = re.compile(rf"^[0-9a-f]{{{HASH_LENGTH}}}(-arm64)?$")
# part of ECR's message when an immutable tag already exists
_TAG_EXISTS = "cannot be overwritten because the"


class Repositories(Protocol):
    """Where the images are stored: ECR, or the registry in the config."""

    def name(self, service: str) -> str:
        """An image's name without its tag."""

    def login(self) -> dict[str, str]:
        """The login in the form that the Docker engine takes."""

    def blockers(self) -> list[LabError]:
        """What prevents a push."""

    def tags(self, service: str) -> list[str]:
        """The tags that exist; oldest first if the registry knows their age."""

    def labels(self, service: str, tag: str) -> dict[str, str]:
        """The labels of an image. Raises LabError."""

    def prepare(self, service: str, say: Say) -> None:
        """Create what a push needs."""

    def delete(self, service: str) -> list[str]:
        """Delete the lab's images; returns a line for each that is retained."""

    def hint(self) -> str:
        """What to do about a rejected push."""


class RegistryImages:
    """The images of one lab. A tag consists of the source's hash and, except for x86, the architecture."""

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
        self._labels = {LAB_LABEL: lab.name, REGISTRY_LABEL: registry or "ecr"}
        self._repositories: Repositories = (
            NamedRepositories(lab.name, registry, self._engine)
            if registry
            else EcrRepositories(
                lab.name, clients, self._engine.is_insecure, max(KEPT_IMAGES, IMAGES_PER_REVISION * lab.keep)
            )
        )
        self._slots = threading.BoundedSemaphore(MAX_PARALLEL)
        self._retained: list[str] = []

    def blockers(self) -> list[LabError]:
        """What prevents building and pushing. Changes nothing."""
        found = self._repositories.blockers()
        try:
            blocker = self._engine.blocker(self._platform)
            # images that are pushed already need no build; a later change fails with the same hint
            if blocker and not found and not all(map(self.tags, self._lab.image_names)):
                found.append(blocker)
        except LabError as error:
            found.append(error)
        return found

    def reference(self, service: str, tag: str) -> str:
        return f"{self._repositories.name(service)}:{tag}{self._suffix}"

    def tags(self, service: str) -> list[str]:
        """The source hashes with an image for the lab's architecture; oldest first if the registry knows their age."""
        own = [tag for tag in self._repositories.tags(service) if _OWN_TAG.match(tag)]
        return [tag[:HASH_LENGTH] for tag in own if tag[HASH_LENGTH:] == self._suffix]

    def exists(self, service: str, reference: str) -> bool:
        repository, _, tag = reference.rpartition(":")
        # of other repositories nothing is known: ECS may be allowed to pull what this user isn't
        return repository != self._repositories.name(service) or tag in self._repositories.tags(service)

    def publish(self, service: str, tag: str, source: Path, build_args: Mapping[str, str], say: Say) -> None:
        reference = self.reference(service, tag)
        with self._slots:
            say(f"building {reference} for {self._platform}")
            labels = {**self._labels, **files_label(source_files(source, build_args))}
            self._engine.build(reference, source, build_args, labels, self._platform, say)
            self._repositories.prepare(service, say)
            say(f"pushing {reference}")
            self._push(service, tag, reference, say)
        # the engine doesn't need its copies of earlier versions any more
        self._engine.forget(self._repositories.name(service), self._labels, keep=reference)

    def source(self, service: str, tag: str) -> Mapping[str, str] | None:
        """What an image was built from, as its label in the registry says. Raises LabError."""
        return read_label(self._repositories.labels(service, f"{tag}{self._suffix}"))

    def delete(self, service: str) -> None:
        self._retained += self._repositories.delete(service)
        self._engine.forget(self._repositories.name(service), self._labels)

    def kept(self) -> list[str]:
        """A line for each image that `delete` could not delete."""
        return list(self._retained)

    def _push(self, service: str, tag: str, reference: str, say: Say) -> None:
        try:
            self._engine.push(reference, self._repositories.login(), say)
        except PushRefused as refusal:
            # someone else pushed the same source first
            if _TAG_EXISTS not in refusal.why or tag not in self.tags(service):
                refusal.hint = self._repositories.hint()
                raise

    @cached_property
    def _platform(self) -> str:
        return platform_of(self._architecture())

    @property
    def _suffix(self) -> str:
        """Distinguishes images of the same source; those for x86 have the bare hash."""
        name = self._platform.rpartition("/")[2]
        return "" if name == "amd64" else f"-{name}"


class NamedRepositories:
    """The repositories below the config's `registry:`, a namespace of Docker Hub or host[:port]/path."""

    def __init__(self, lab: str, registry: str, engine: DockerEngine) -> None:
        self._lab = lab
        self._registry = registry
        # followed by a service's name, a bare host can be told from a namespace
        self._host = split(f"{registry}/service")[0]
        self._api = RegistryApi(self._host, self._stored_login, engine.is_insecure)
        self._lock = threading.Lock()
        self._known: list[DockerLogin | None] = []

    def name(self, service: str) -> str:
        return f"{self._registry}/{service}"

    def login(self) -> dict[str, str]:
        found = self._stored_login()
        return found.auth_config(self._host) if found else {}

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
            # Docker Hub's answer for a missing repository; if the login is at fault, the push says so
            return []

    def labels(self, service: str, tag: str) -> dict[str, str]:
        return self._api.labels(self._path(service), tag)

    def prepare(self, service: str, say: Say) -> None:
        """Nothing: the registry creates a repository on its first push."""

    def delete(self, service: str) -> list[str]:
        """Delete the images that have the lab's label."""
        path = self._path(service)
        retained = []
        try:
            tags = [tag for tag in self._api.tags(path) if _OWN_TAG.match(tag)]
        except LabError as error:
            # a registry that is gone or closed to us must not stop the lab's removal
            return [f"any images of {self.name(service)}: {error.what}: {error.why}"]
        for tag in tags:
            try:
                if self._api.labels(path, tag).get(LAB_LABEL) == self._lab:
                    self._api.delete(path, tag)
            except LabError as error:
                retained.append(f"image {self.name(service)}:{tag}: the registry can't delete it ({error.why})")
        return retained

    def hint(self) -> str:
        host = "" if self._host == split("a")[0] else f" {self._host}"
        return f"run `docker login{host}` as a user who may push to {self._registry}"

    def _path(self, service: str) -> str:
        return split(self.name(service))[1]

    def _stored_login(self) -> DockerLogin | None:
        """Read once: a credential helper may be slow or prompt the user."""
        with self._lock:
            if not self._known:
                self._known.append(stored_login(self._host))
            return self._known[0]
