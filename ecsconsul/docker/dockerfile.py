"""Reads Dockerfiles: how an image runs, and which images it builds upon."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import LabError
from .instructions import Source, read_source
from .stages import Copy, ImageConfig, Stage, read_stages


def read_image(folder: Path, build_args: Mapping[str, str] | None = None) -> tuple[Source, list[Stage]]:
    """A folder's Dockerfile and its stages, the last of which says how the image runs. Raises LabError."""
    source = read_source(folder)
    stages = read_stages(source, build_args or {})
    if not (stages[-1].config.entrypoint or stages[-1].config.command):
        raise LabError(
            "The Dockerfile doesn't say what to run",
            where=str(source.path),
            why="its last stage has neither ENTRYPOINT nor CMD",
            hint='add one, such as CMD ["gunicorn", "app:app"]',
        )
    return source, stages


def image_config(folder: Path) -> ImageConfig:
    """How the image of a folder runs. Raises LabError with file and line."""
    return read_image(folder)[1][-1].config


def command_place(folder: Path) -> str:
    """The file and line of a folder's Dockerfile that says what to run. Raises LabError."""
    source, _ = read_image(folder)
    lines = {one.keyword: one.line for one in source.instructions if one.keyword in ("ENTRYPOINT", "CMD")}
    return f"{source.path}:{lines.get('CMD') or lines['ENTRYPOINT']}"


def base_images(folder: Path, build_args: Mapping[str, str]) -> tuple[str, ...]:
    """The images that a folder's Dockerfile builds upon, that of the last stage last. Raises LabError."""
    stages = read_stages(read_source(folder), build_args)
    found = (image for stage in stages for image in _images(stage))
    return tuple(dict.fromkeys(image for image in found if image != "scratch"))


def _images(stage: Stage) -> Iterator[str]:
    if isinstance(stage.base, str):
        yield stage.base
    for operation in stage.operations:
        if isinstance(operation, Copy) and isinstance(operation.stage, str):
            yield operation.stage
