"""The image of each service, built from its folder and published under the hash of its source (steps 3 to 7)."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from ..config.lab import ServiceSpec
from ..docker.build_context import source_hash
from ..targets.base import Target
from .base_step import BaseStep
from .step import Actual, Report, fingerprint

# the build argument by which a Dockerfile takes the lab's base image
BASE = "BASE"


class ImageStep(BaseStep):
    """One service's image; its tag is the hash of what it was made of, so the tag is the fingerprint."""

    def __init__(self, service: ServiceSpec, target: Target, base_image: str | None = None) -> None:
        self.name = f"images/{service.name}"
        self.needs = ("ground",)
        self._service = service
        self._target = target
        self._build_args = {BASE: base_image} if base_image else {}

    @cached_property
    def tag(self) -> str:
        """The hash of the source. Raises LabError when it cannot be read."""
        return source_hash(Path(self._service.path), self._build_args)

    @property
    def reference(self) -> str:
        """The name under which a task definition asks for the image."""
        return self._target.images.reference(self._service.name, self.tag)

    def wanted(self) -> dict[str, Any]:
        return {"image": self.reference}

    def found(self) -> Actual | None:
        tags = self._target.images.tags(self._service.name)
        if not tags:
            return None
        if self.tag in tags:
            return Actual(fingerprint(self.wanted()), True, self.tag)
        return Actual(None, True, tags[-1])

    def apply(self, found: Actual | None, report: Report) -> str:
        source = Path(self._service.path)
        self._target.images.publish(self._service.name, self.tag, source, self._build_args, report.say)
        return self.tag

    def destroy(self, report: Report) -> str:
        self._target.images.delete(self._service.name)
        return "deleted"
