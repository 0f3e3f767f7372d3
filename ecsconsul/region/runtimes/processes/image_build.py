"""Makes an image's file tree from a Dockerfile, and installs its requirements. Only building needs a Dockerfile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ....docker.dockerfile import read_image
from ....docker.file_tree import FileTree, warning_about
from ....docker.stages import ImageConfig
from ..lab_dir import LabDir
from .installs import Installs, hints


class BuiltImage(NamedTuple):
    """An image's file tree, how it runs, and the folder that comes first in its tasks' PATH."""

    tree: Path
    config: ImageConfig
    programs: Path


def build(lab_dir: LabDir, folder: Path, draft: Path, say: Callable[[str], object]) -> BuiltImage:
    """Build the source in `folder` inside the folder `draft`. Raises LabError, OSError."""
    source, stages = read_image(folder)
    config, installs = stages[-1].config, Installs(lab_dir, folder)
    trees = FileTree(source, stages, draft, installs.carry_out)
    tree = trees.build()
    if warning := warning_about(source, trees.left_out):
        say("; ".join([warning, *hints(trees.left_out)]))
    if config.user and config.user not in ("root", "0"):
        say(f"{source.path}: without Docker, the task runs as you, not as {config.user}")
    return BuiltImage(tree, config, Path(installs.programs()))
