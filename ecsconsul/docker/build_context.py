"""What an image is made of: the files of a service's folder, their hash, and what its Dockerfile says. Read-only.

The hash is the image's tag in both worlds, so the same source is never built twice and an edit always is.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LabError

if TYPE_CHECKING:
    from dockerfile_parse import DockerfileParser

HASH_LENGTH = 12
# Never part of a source: what Python, git and editors leave behind would change the hash without any edit.
_NOISE = frozenset(
    {
        "__pycache__",
        ".git",
        ".hg",
        ".svn",
        ".venv",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        ".DS_Store",
    }
)


@dataclass(frozen=True)
class Dockerfile:
    """What the last stage of a Dockerfile says of how the image runs.

    `root` is where `COPY . <root>` put the folder inside the image; `workdir` is absolute inside the image.
    """

    environment: dict[str, str]
    workdir: str
    root: str
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]


def files(folder: Path) -> list[Path]:
    """The files and links of the build context, sorted; what .dockerignore names is left out.

    A link is itself and not what it leads to, as in Docker. Pipes and sockets are no part of a source.
    """
    ignore = folder / ".dockerignore"
    if ignore.is_file():
        from docker.utils.build import exclude_paths

        patterns = [line.strip() for line in ignore.read_text().splitlines()]
        kept = exclude_paths(str(folder), [line for line in patterns if line and not line.startswith("#")])
        paths = [folder / name for name in kept if not _is_noise(Path(name).parts)]
    else:
        paths = _walk(folder)
    return sorted(path for path in paths if path.is_symlink() or path.is_file())


def source_hash(folder: Path, build_args: Mapping[str, str] | None = None) -> str:
    """The first 12 hex digits of the SHA-256 over names, contents, executable bits and build arguments.

    Raises LabError.
    """
    digest = hashlib.sha256()
    for name, value in sorted((build_args or {}).items()):
        digest.update(f"{name}={value}\0".encode())
    try:
        for path in files(folder):
            kind, content = _content(path)
            digest.update(os.fsencode(path.relative_to(folder)) + f"\0{kind}\0{len(content)}\0".encode())
            digest.update(content)
    except OSError as error:
        raise LabError(
            "The source of an image cannot be read",
            where=str(error.filename),
            why=error.strerror or str(error),
        ) from error
    return digest.hexdigest()[:HASH_LENGTH]


def _content(path: Path) -> tuple[str, bytes]:
    """What tells one file of this name from another: its kind (1 executable, 0 not, or a link) and its content."""
    if path.is_symlink():
        return "link", os.fsencode(path.readlink())
    return str(int(bool(path.stat().st_mode & 0o111))), path.read_bytes()


def read_dockerfile(folder: Path) -> Dockerfile:
    """What the folder's Dockerfile says of how it runs. Raises LabError with file and line."""
    path = folder / "Dockerfile"
    stage = _last_stage(_parser(path, {}).structure)
    workdir, root = _places(stage)
    entrypoint, command = _exec_form(path, stage, "ENTRYPOINT"), _exec_form(path, stage, "CMD")
    if not entrypoint and not command:
        raise LabError(
            "A Dockerfile does not say what to run",
            where=str(path),
            why="its last stage has neither ENTRYPOINT nor CMD",
            hint='add, say, CMD ["gunicorn", "app:app"]',
        )
    return Dockerfile(_environment(stage), workdir, root, entrypoint, command)


def base_images(folder: Path, build_args: Mapping[str, str]) -> tuple[str, ...]:
    """The images that the folder's Dockerfile builds upon, that of its last stage last. Raises LabError."""
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
            "A service has no Dockerfile that can be read", where=str(path), why=error.strerror or str(error)
        ) from error
    return DockerfileParser(fileobj=io.BytesIO(content), build_args=dict(build_args))


def _froms(structure: list[dict[str, Any]]) -> list[list[str]]:
    """The words of each FROM without its options: image, and perhaps `AS name`."""
    values = [line["value"] for line in structure if line["instruction"] == "FROM"]
    return [[word for word in value.split() if not word.startswith("--")] for value in values]


def _walk(folder: Path) -> list[Path]:
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _NOISE]
        links = [name for name in folders if Path(place, name).is_symlink()]
        found += [Path(place, name) for name in (*names, *links) if not _is_noise((name,))]
    return found


def _is_noise(parts: tuple[str, ...]) -> bool:
    return not _NOISE.isdisjoint(parts) or parts[-1].endswith((".pyc", ".pyo"))


def _last_stage(structure: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines of the last stage, those of the stages that it builds upon first."""
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


def _places(stage: list[dict[str, Any]]) -> tuple[str, str]:
    """The final WORKDIR, and where the folder was copied to (the WORKDIR when no COPY says so)."""
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
            f"{instruction} is not in the JSON form",
            where=f"{path}:{last['startline'] + 1}",
            why=f"{last['value']} would need a shell between the task and its signals",
            hint=f'write it as {instruction} ["program", "argument"]',
        )
    return tuple(words)
