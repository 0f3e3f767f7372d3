"""The images of each service, built from folders and published under the hashes of their source (steps 3 to 7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from ..config.container_spec import ContainerKeys
from ..config.lab import ServiceSpec
from ..docker.build_context import HASH_LENGTH, source_hash
from ..docker.source_files import source_files
from ..errors import LabError
from ..targets.base import Target
from .prerequisites import PREREQUISITES
from .step import Actual, BaseStep, Drift, FieldChange, Report

# the build argument through which a Dockerfile takes the lab's base image
BASE = "BASE"


class ExternalImage:
    """An image that is published elsewhere; a step that uses it needs only the prerequisites."""

    name = PREREQUISITES

    def __init__(self, reference: str) -> None:
        self.reference = reference


class ImageStep(BaseStep):
    """The image of one container. Its tag is the hash of its source, so the tag serves as the fingerprint."""

    needs = (PREREQUISITES,)

    def __init__(self, service: ContainerKeys, target: Target, base_image: str | None = None) -> None:
        """`service` is a container with a `path`, under the name that its image gets."""
        self.name = f"images/{service.name}"
        self._service = service
        self._target = target
        self.runs: Callable[[], str | None] = lambda: None
        """The reference of the image that runs; the list of steps connects it to the task definition's step."""
        self._build_args = {BASE: base_image} if base_image else {}

    @cached_property
    def tag(self) -> str:
        """The hash of the source. Raises LabError when the source can't be read."""
        return source_hash(Path(str(self._service.path)), self._build_args)

    @property
    def reference(self) -> str:
        """The image reference that a task definition uses."""
        return self._target.images.reference(self._service.name, self.tag)

    @cached_property
    def _desired(self) -> dict[str, Any]:
        return {"image": self.reference}

    def inspect(self) -> Actual | None:
        tags = self._target.images.tags(self._service.name)
        if not tags:
            return None
        if self.tag in tags:
            return Actual(self.fingerprint, True, self.tag)
        return Actual(None, True, tags[-1], fields=lambda: self._fields(tags), drift=self._drift)

    def _running_tag(self) -> str | None:
        """The tag of the image that the service's task definition names."""
        reference = self.runs()
        return reference.rpartition(":")[2][:HASH_LENGTH] if reference else None

    def _drift(self) -> Drift:
        """An image that a task definition needs, and whose source is unchanged, was here."""
        if self._running_tag() == self.tag:
            return Drift((FieldChange("image", self.tag, None),))
        return Drift(config_changed=True)

    def _fields(self, tags: Sequence[str]) -> list[FieldChange]:
        """Which files differ from those of the image that runs, else the newest. Raises LabError if nobody knows."""
        running = self._running_tag()
        tag = running if running and running in tags else tags[-1]
        old = self._target.images.source(self._service.name, tag)
        if old is None:
            raise LabError(
                "Its files aren't known",
                where=f"image {tag}",
                why="they aren't kept with images of an earlier version, nor with those of too many files",
            )
        new = source_files(Path(str(self._service.path)), self._build_args)
        paths = sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))
        return [FieldChange(path, old.get(path), new.get(path)) for path in paths]

    def apply(self, actual: Actual | None, report: Report) -> str:
        source = Path(str(self._service.path))
        self._target.images.publish(self._service.name, self.tag, source, self._build_args, report.say)
        return self.tag

    def destroy(self, report: Report) -> str:
        self._target.images.delete(self._service.name)
        return "deleted"


def images_of(
    service: ServiceSpec, target: Target, base_image: str | None = None
) -> dict[str, ImageStep | ExternalImage]:
    """The image of each container by its name, the main one first."""
    images: dict[str, ImageStep | ExternalImage] = {}
    for container in service.all_containers:
        built = replace(container, name=service.image_name(container.name))
        images[container.name] = (
            ExternalImage(container.image) if container.image else ImageStep(built, target, base_image)
        )
    return images
