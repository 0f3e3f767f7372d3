"""The images of a lab on the Docker engine: built from their folders, found by the lab's labels, removed with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ....docker.build import build, remove
from ....docker.engine import Engine, client, labels


class DockerImages:
    """The images of one lab."""

    def __init__(self, lab: str, home: Path, url: str) -> None:
        self._lab = lab
        self._home = home
        self._url = url

    def tags(self, service: str) -> list[str]:
        """The tags of a service's images, oldest first. Raises EngineUnusable."""
        return Engine(self._url).tags(self._lab, self._home, f"{self._lab}/{service}")

    def publish(
        self, service: str, tag: str, source: Path, build_args: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        """Build the image, and take away the ones before. Raises LabError with the build's last lines."""
        docker = client(self._url)
        reference = f"{self._lab}/{service}:{tag}"
        say(f"building {reference}")
        build(docker, reference, source, build_args, labels(self._lab, self._home), say)

    def delete(self, service: str) -> None:
        """Remove all images of a service; none is fine."""
        tags = self.tags(service)
        if tags:
            docker = client(self._url)
            for tag in tags:
                remove(docker, f"{self._lab}/{service}:{tag}")
