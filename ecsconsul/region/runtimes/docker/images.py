"""Builds, lists and removes a lab's images on the Docker engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ....docker.build import build, remove
from ....docker.engine import Engine, client, labels
from ....docker.source_files import files_label, read_label, source_files


class DockerImages:
    """The images of one lab."""

    def __init__(self, lab: str, root: Path, url: str) -> None:
        self._lab = lab
        self._root = root
        self._url = url

    def tags(self, service: str) -> list[str]:
        """The tags of a service's images, oldest first. Raises EngineUnusable."""
        return Engine(self._url).tags(self._lab, self._root, f"{self._lab}/{service}")

    def exists(self, reference: str) -> bool:
        """Whether the engine has an image. Raises EngineUnusable."""
        return Engine(self._url).has_image(reference)

    def publish(
        self, service: str, tag: str, source: Path, build_args: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        """Build an image, and remove the previous ones. Raises LabError with the last lines of the build's output."""
        docker = client(self._url)
        reference = f"{self._lab}/{service}:{tag}"
        say(f"building {reference}")
        own = {**labels(self._lab, self._root), **files_label(source_files(source, build_args))}
        build(docker, reference, source, build_args, own, say)

    def source(self, service: str, tag: str) -> dict[str, str] | None:
        """What an image was built from; None for one that doesn't say, or that is gone. Raises EngineUnusable."""
        return read_label(Engine(self._url).image_labels(f"{self._lab}/{service}:{tag}"))

    def delete(self, service: str) -> None:
        """Remove all images of a service, if any."""
        tags = self.tags(service)
        if tags:
            docker = client(self._url)
            for tag in tags:
                remove(docker, f"{self._lab}/{service}:{tag}")
