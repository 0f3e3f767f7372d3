"""Lists the files of an image's build context and hashes them.

The hash is the image's tag on both targets: unchanged sources are never built twice, and changed ones always are.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

from ..errors import LabError

HASH_LENGTH = 12
# What Python, git and editors leave behind would change the hash without a change to the source.
_NOISE = frozenset(
    {"__pycache__", ".git", ".hg", ".svn", ".venv", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".DS_Store"}
)


def files(folder: Path) -> list[Path]:
    """The files and symbolic links of the build context, sorted, without those that .dockerignore excludes.

    As in Docker, links are not followed. Pipes and sockets are left out.
    """
    ignore = folder / ".dockerignore"
    if ignore.is_file():
        from docker.utils.build import exclude_paths

        kept = exclude_paths(str(folder), _patterns(ignore))
        paths = [folder / name for name in kept if not _is_noise(Path(name).parts)]
    else:
        paths = _walk(folder)
    return sorted(path for path in paths if path.is_symlink() or path.is_file())


def copyable(folder: Path) -> list[Path]:
    """The files that COPY can copy: not a Dockerfile that .dockerignore excludes, though it's read."""
    ignore = folder / ".dockerignore"
    if not ignore.is_file():
        return files(folder)
    patterns = [one.lstrip("/").removeprefix("**/") for one in _patterns(ignore)]
    excluded = {name for name in ("Dockerfile", ".dockerignore") if any(fnmatch(name, one) for one in patterns)}
    return [path for path in files(folder) if path.parent != folder or path.name not in excluded]


def _patterns(ignore: Path) -> list[str]:
    lines = (line.strip() for line in ignore.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def source_hash(folder: Path, build_args: Mapping[str, str] | None = None) -> str:
    """The first 12 hex digits of the SHA-256 over names, contents, executable bits and build arguments.

    Raises LabError.
    """
    digest = hashlib.sha256()
    for name, value in sorted((build_args or {}).items()):
        digest.update(f"{name}={value}\0".encode())
    try:
        for path in files(folder):
            kind, content = content_of(path)
            digest.update(os.fsencode(path.relative_to(folder)) + f"\0{kind}\0{len(content)}\0".encode())
            digest.update(content)
    except OSError as error:
        raise unreadable(error) from error
    return digest.hexdigest()[:HASH_LENGTH]


def unreadable(error: OSError) -> LabError:
    """The error for a source of which a file can't be read."""
    return LabError(
        "The source of an image can't be read",
        where=str(error.filename),
        why=error.strerror or str(error),
        hint="make the file readable, or exclude it in .dockerignore",
    )


def content_of(path: Path) -> tuple[str, bytes]:
    """A file's kind (1: executable, 0: not, or link) and its content, or the link's target."""
    if path.is_symlink():
        return "link", os.fsencode(path.readlink())
    return str(int(bool(path.stat().st_mode & 0o111))), path.read_bytes()


def _walk(folder: Path) -> list[Path]:
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _NOISE]
        links = [name for name in folders if Path(place, name).is_symlink()]
        found += [Path(place, name) for name in (*names, *links) if not _is_noise((name,))]
    return found


def _is_noise(parts: tuple[str, ...]) -> bool:
    return not _NOISE.isdisjoint(parts) or parts[-1].endswith((".pyc", ".pyo"))
