"""Finds the paths of an image in a task's copy of its file tree, where the task itself sees this machine's files.

Only what an image brings is in its tree: the base image's own files, such as its Python, are this machine's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ....docker.file_tree import inside

# a path in a shell's text: not in the middle of another one
_PATH = re.compile(r"(?<![\w./$~}-])(/[\w.@+-]+(?:/[\w.@+-]+)*/?)")


def mapped(word: str, tree: Path) -> str:
    """A word in which the paths of the image are those of the tree: /app/x, --config=/app/x, /app/lib:/app/more."""
    if "/" not in word:
        return word
    if re.fullmatch(r"[^\s'\"]*", word):
        return re.sub(r"(^|[=:,])(/[^=:,]*)", lambda match: match[1] + _in_tree(match[2], tree), word)
    return _PATH.sub(lambda match: _in_tree(match[1], tree), word)


def search_path(tree: Path, image_path: str, programs: Path, machine_path: str) -> str:
    """Where a task's programs are looked for: the image's own, those of its requirements, and the machine's."""
    own = [inside(tree, part) for part in image_path.split(":") if part.startswith("/")]
    return ":".join([*(str(part) for part in own if part.is_dir()), str(programs), machine_path])


def mapped_words(words: Sequence[str], tree: Path) -> list[str]:
    """Each word of a command line, mapped."""
    return [mapped(word, tree) for word in words]


def _in_tree(path: str, tree: Path) -> str:
    if not path.strip("/"):
        return path
    found = inside(tree, path)
    if not (found.exists() or found.is_symlink()):
        return path
    return f"{found}/" if path.endswith("/") else str(found)
