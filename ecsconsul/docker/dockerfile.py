"""Reads Dockerfiles: how an image runs, and which images it builds upon."""

from __future__ import annotations

import io
import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LabError

if TYPE_CHECKING:
    from dockerfile_parse import DockerfileParser


@dataclass(frozen=True)
class Dockerfile:
    """How an image runs, according to the last stage of its Dockerfile.

    `root` is where `COPY . <root>` puts the folder inside the image. Both paths are absolute inside the image.
    """

    environment: dict[str, str]
    workdir: str
    root: str
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]


def read_dockerfile(folder: Path) -> Dockerfile:
    """Read how the image of a folder runs. Raises LabError with file and line."""
    path = folder / "Dockerfile"
    stage = _last_stage(_parser(path, {}).structure)
    workdir, root = _directories(stage)
    entrypoint, command = _exec_form(path, stage, "ENTRYPOINT"), _exec_form(path, stage, "CMD")
    if not entrypoint and not command:
        raise LabError(
            "The Dockerfile doesn't say what to run",
            where=str(path),
            why="its last stage has neither ENTRYPOINT nor CMD",
            hint='add one, such as CMD ["gunicorn", "app:app"]',
        )
    return Dockerfile(_environment(stage), workdir, root, entrypoint, command)


def base_images(folder: Path, build_args: Mapping[str, str]) -> tuple[str, ...]:
    """The images that a folder's Dockerfile builds upon, that of the last stage last. Raises LabError."""
    parser = _parser(folder / "Dockerfile", build_args)
    stages = {words[2] for words in _froms(parser.structure) if len(words) == 3 and words[1].lower() == "as"}
    found = [image.strip("'\"") for image in parser.parent_images]
    return tuple(dict.fromkeys(image for image in found if image not in stages and image != "scratch"))


def _parser(path: Path, build_args: Mapping[str, str]) -> DockerfileParser:
    from dockerfile_parse import DockerfileParser

    try:
        content = path.read_bytes()
    except OSError as error:
        raise LabError(
            "The Dockerfile of a service can't be read",
            where=str(path),
            why=error.strerror or str(error),
            hint="check the service's `path` in the config; every service's folder needs a Dockerfile",
        ) from error
    return DockerfileParser(fileobj=io.BytesIO(content), build_args=dict(build_args))


def _froms(structure: list[dict[str, Any]]) -> list[list[str]]:
    """The words of each FROM without its options: the image, and `AS name` if the stage has one."""
    values = [line["value"] for line in structure if line["instruction"] == "FROM"]
    return [[word for word in value.split() if not word.startswith("--")] for value in values]


def _last_stage(structure: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines of the last stage, after those of the stages that it builds upon."""
    lines: list[dict[str, Any]] = []
    stages: dict[str, list[dict[str, Any]]] = {}
    for line in structure:
        if line["instruction"] == "FROM":
            (words,) = _froms([line])
            lines = [*stages.get(words[0].lower(), [line])]
            if len(words) == 3:
                stages[words[2].lower()] = lines
        else:
            lines.append(line)
    return lines


def _environment(stage: list[dict[str, Any]]) -> dict[str, str]:
    from dockerfile_parse import DockerfileParser

    content = "".join(line["content"] for line in stage)
    return dict(DockerfileParser(fileobj=io.BytesIO(content.encode())).envs)


def _directories(stage: list[dict[str, Any]]) -> tuple[str, str]:
    """The final WORKDIR, and where the folder was copied to (the WORKDIR if no COPY names a place)."""
    workdir, root = "/", None
    for line in stage:
        if line["instruction"] == "WORKDIR":
            workdir = posixpath.normpath(posixpath.join(workdir, line["value"].strip().strip('"')))
        elif line["instruction"] in ("COPY", "ADD"):
            words = [word for word in line["value"].split() if not word.startswith("--")]
            if len(words) == 2 and words[0] in (".", "./"):
                root = posixpath.normpath(posixpath.join(workdir, words[1]))
    return workdir, root or workdir


def _exec_form(path: Path, stage: list[dict[str, Any]], instruction: str) -> tuple[str, ...]:
    lines = [line for line in stage if line["instruction"] == instruction]
    if not lines:
        return ()
    last = lines[-1]
    try:
        words = json.loads(last["value"])
    except json.JSONDecodeError:
        words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise LabError(
            f"{instruction} is not in the exec (JSON) form",
            where=f"{path}:{last['startline'] + 1}",
            why=f"`{last['value']}` would run in a shell, which does not pass signals on to the task",
            hint=f'write it as {instruction} ["program", "argument"]',
        )
    return tuple(words)
