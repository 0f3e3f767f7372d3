"""The image of each service, built from its folder and published under the hash of its source (steps 3 to 7)."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from ..config.container_spec import ContainerKeys
from ..docker.build_context import source_hash
from ..targets.base import Target
from .prerequisites import PREREQUISITES
from .step import Actual, BaseStep, Report

# the build argument through which a Dockerfile takes the lab's base image
BASE = "BASE"


class ImageStep(BaseStep):
    """One service's image. Its tag is the hash of its source, so the tag serves as the fingerprint."""

    needs = (PREREQUISITES,)

    def __init__(self, service: ContainerKeys, target: Target, base_image: str | None = None) -> None:
        """`service` is a container with a `path`, under the name that its image gets."""
        self.name = f"images/{service.name}"
        self._service = service
        self._target = target
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
        return Actual(None, True, tags[-1])

    def apply(self, actual: Actual | None, report: Report) -> str:
        source = Path(str(self._service.path))
        self._target.images.publish(self._service.name, self.tag, source, self._build_args, report.say)
        return self.tag

    def destroy(self, report: Report) -> str:
        self._target.images.delete(self._service.name)
        return "deleted"
