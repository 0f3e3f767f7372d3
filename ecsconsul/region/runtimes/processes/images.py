"""Images without Docker: file trees made from the services' Dockerfiles, tagged with the hash of their source."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ....errors import LabError
from ..lab_dir import LabDir, remove

if TYPE_CHECKING:
    from ....docker.stages import ImageConfig

# An earlier version's images are files of another form, under another name.
_METADATA, _TREE = "image.json", "tree"

Say = Callable[[str], object]


@dataclass(frozen=True)
class Image:
    """A published image: its file tree, how it runs, and the folder that comes first in its tasks' PATH."""

    reference: str
    tree: Path
    config: ImageConfig
    programs: Path


class ImageStore:
    """The images of one lab, by reference `<lab>/<service>:<hash>`."""

    def __init__(self, lab_dir: LabDir) -> None:
        self._lab_dir = lab_dir

    def tags(self, repository: str) -> list[str]:
        """The published tags of a repository, oldest first."""
        folder = self._lab_dir.images / repository
        if not folder.is_dir():
            return []
        return [p.name for p in sorted(folder.iterdir(), key=lambda p: p.stat().st_mtime) if (p / _METADATA).is_file()]

    def publish(
        self, repository: str, tag: str, folder: Path, say: Say, files: Mapping[str, str] | None = None
    ) -> None:
        """Make the image's tree and install its requirements, all or nothing. Raises LabError.

        `files` are what it is made from, for `source`.
        """
        try:
            self._put(self._lab_dir.images / repository / tag, folder, say, files)
        except OSError as error:
            raise LabError("An image cannot be published", where=str(folder), why=str(error)) from error

    def source(self, repository: str, tag: str) -> dict[str, str] | None:
        """What an image was made from; None for one of an earlier version, or that is gone."""
        try:
            found = json.loads((self._lab_dir.images / repository / tag / _METADATA).read_text()).get("files")
        except (FileNotFoundError, NotADirectoryError):
            return None
        return dict(found) if found else None

    def _put(self, target: Path, folder: Path, say: Say, files: Mapping[str, str] | None) -> None:
        from .image_build import build

        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as draft:
            built = build(self._lab_dir, folder, Path(draft), say)
            metadata = {"config": msgspec.to_builtins(built.config), "programs": str(built.programs)}
            metadata |= {"files": dict(files)} if files else {}
            made = Path(draft, "made")
            made.mkdir()
            built.tree.rename(made / _TREE)
            (made / _METADATA).write_text(json.dumps(metadata))
            if target.exists():
                remove(target)
            made.rename(target)

    def get(self, reference: str) -> Image | None:
        """The image of a reference; None when it was never published."""
        from ....docker.stages import ImageConfig

        repository, _, tag = reference.rpartition(":")
        folder = self._lab_dir.images / repository.rpartition("/")[2] / tag
        try:
            metadata = json.loads((folder / _METADATA).read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        config = msgspec.convert(metadata["config"], ImageConfig)
        return Image(reference, folder / _TREE, config, Path(metadata["programs"]))

    def delete(self, repository: str) -> None:
        """Remove a repository and its images, if it exists."""
        remove(self._lab_dir.images / repository)


def copy_for_task(image: Image, folder: Path) -> None:
    """Create a task's own writable copy of the image, like a container's writable layer."""
    shutil.copytree(image.tree, folder, symlinks=True)
