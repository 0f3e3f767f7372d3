"""The images of a local lab: on the Docker engine if its region runs containers, else in the lab's own store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ...docker.source_files import source_files
from ...region.runtimes.lab_dir import LabDir

if TYPE_CHECKING:
    from ...region.runtimes.docker.images import DockerImages
    from ...region.runtimes.processes.images import ImageStore

Say = Callable[[str], None]


class LabImages:
    """The images of one lab, wherever its region looks for them; without a region, those of its own store.

    With a `runtime`, the images of a region that uses another one don't count.
    """

    def __init__(self, lab: str, home: LabDir, runtime: str | None = None) -> None:
        self._lab = lab
        self._home = home
        self._runtime = runtime

    def reference(self, service: str, tag: str) -> str:
        return f"{self._lab}/{service}:{tag}"

    def tags(self, service: str) -> list[str]:
        info = self._home.info()
        if info and not info.runs(self._runtime):
            return []
        engine = self._engine()
        return self._built(engine).tags(service) if engine else self._copied().tags(service)

    def exists(self, service: str, reference: str) -> bool:
        engine = self._engine()
        return self._built(engine).exists(reference) if engine else self._copied().get(reference) is not None

    def publish(self, service: str, tag: str, source: Path, build_args: Mapping[str, str], say: Say) -> None:
        engine = self._engine()
        if engine:
            self._built(engine).publish(service, tag, source, build_args, say)
            return
        # without a build, there is nothing to which the build arguments could apply
        say(f"copying {source}")
        self._copied().publish(service, tag, source, say, source_files(source, build_args))

    def source(self, service: str, tag: str) -> Mapping[str, str] | None:
        engine = self._engine()
        return self._built(engine).source(service, tag) if engine else self._copied().source(service, tag)

    def delete(self, service: str) -> None:
        engine = self._engine()
        if engine:
            self._built(engine).delete(service)
        else:
            self._copied().delete(service)

    def _engine(self) -> str:
        info = self._home.info()
        return info.engine if info else ""

    def _built(self, engine: str) -> DockerImages:
        from ...region.runtimes.docker.images import DockerImages

        return DockerImages(self._lab, self._home.root, engine)

    def _copied(self) -> ImageStore:
        from ...region.runtimes.processes.images import ImageStore

        return ImageStore(self._home)
