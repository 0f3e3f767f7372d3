"""Makes the file tree of an image without Docker: carries out COPY, ADD and WORKDIR as Docker does.

https://docs.docker.com/reference/dockerfile/#copy. Nothing is ever written outside of the tree, wherever its symbolic
links lead.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..errors import LabError
from .build_context import copyable
from .instructions import Source
from .stages import Copy, Folder, Run, Stage

LINKS = 40  # as many links as Linux follows in one path
WITHOUT_DOCKER = "let a Docker engine build it (`runtime: docker`), or copy what the task needs from the folder itself"

_REMOTE = re.compile(r"(https?|git|ssh)://|git@")
# carries out RUN in a tree where it can; whether it has
Runner = Callable[[Run, Path], bool]


class FileTree:
    """Builds the trees of a Dockerfile's stages below one folder, each when it's needed."""

    def __init__(self, source: Source, stages: Sequence[Stage], place: Path, run: Runner) -> None:
        self._source = source
        self._stages = stages
        self._place = place
        self._run = run
        self._made: dict[int, Path] = {}
        self.left_out: list[Run] = []  # what wasn't carried out, in the order of the Dockerfile's lines

    def build(self) -> Path:
        """The tree of the last stage. Raises LabError with file and line, and OSError."""
        tree = self._stage(len(self._stages) - 1)
        self.left_out.sort(key=lambda one: one.line)
        return tree

    def _stage(self, number: int) -> Path:
        if number in self._made:
            return self._made[number]
        stage, tree = self._stages[number], self._place / str(number)
        if isinstance(stage.base, int):
            shutil.copytree(self._stage(stage.base), tree, symlinks=True)
        else:
            tree.mkdir(parents=True)
        for operation in stage.operations:
            if isinstance(operation, Folder):
                inside(tree, operation.path).mkdir(parents=True, exist_ok=True)
            elif isinstance(operation, Copy):
                self._copy(operation, tree)
            elif not self._run(operation, tree):
                self.left_out.append(operation)
        self._made[number] = tree
        return tree

    def _copy(self, copy: Copy, tree: Path) -> None:
        context = self._context(copy)
        found: list[Path] = []
        for pattern in copy.sources:
            matching = context.matching(pattern)
            if not matching:
                raise self._missing(copy, pattern)
            found += matching
        destination = copy.destination
        if len(found) > 1 and not destination.endswith("/"):
            destination += "/"
        for path in found:
            _Placing(tree, context, copy).put(path, destination)
        for name, text in copy.texts:
            target = inside(tree, posixpath.join(destination, name) if destination.endswith("/") else destination)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            target.chmod(copy.mode or 0o644)

    def _context(self, copy: Copy) -> _Context:
        remote = next((one for one in copy.sources if _REMOTE.match(one)), "") if copy.unpacks else ""
        if remote or isinstance(copy.stage, str):
            raise self._source.fault(
                copy.line,
                "A file of an image can't be had",
                f"{remote or f'the image {copy.stage}'} isn't fetched without Docker",
                WITHOUT_DOCKER,
            )
        if copy.stage is None:
            return _Context.of_folder(self._source.path.parent)
        return _Context.of_tree(self._stage(copy.stage))

    def _missing(self, copy: Copy, pattern: str) -> LabError:
        why, hint = f"there is no {pattern} to copy", "correct the path, or look at .dockerignore"
        if isinstance(copy.stage, int):
            before = [one for one in self._stages[copy.stage].operations if isinstance(one, Run)]
            runs = [one for one in before if one in self.left_out]
            if runs:
                lines = "; ".join(f"line {one.line}: {shortened(one.text)}" for one in runs)
                why = f"there is no {pattern}: without Docker, RUN isn't carried out ({lines})"
                hint = WITHOUT_DOCKER
        return self._source.fault(copy.line, "A file of an image is missing", why, hint)


class _Context:
    """What COPY can copy from: the folder without what .dockerignore excludes, or the tree of a stage."""

    def __init__(self, root: Path, paths: Sequence[Path]) -> None:
        self.root = root
        self._paths = paths

    @classmethod
    def of_folder(cls, folder: Path) -> _Context:
        return cls(folder, copyable(folder))

    @classmethod
    def of_tree(cls, tree: Path) -> _Context:
        return cls(tree, list(_everything(tree)))

    def matching(self, pattern: str) -> list[Path]:
        """The files and folders that a source means; `..` can't lead out of the context."""
        path = posixpath.normpath(posixpath.join("/", pattern)).lstrip("/")
        if not path:
            return [self.root]
        if not re.search(r"[*?\[]", path):
            found = self.root / path
            return [found] if found in self._known() else []
        matches = re.compile(_expression(path)).fullmatch
        return sorted(one for one in self._known() if matches(one.relative_to(self.root).as_posix()))

    def below(self, folder: Path) -> list[Path]:
        """The files and links in a folder, at any depth."""
        return [path for path in self._paths if folder in path.parents]

    def _known(self) -> set[Path]:
        parents = {parent for path in self._paths for parent in path.parents if self.root in parent.parents}
        return {*self._paths, *parents}


class _Placing:
    """Puts what one COPY names into a tree."""

    def __init__(self, tree: Path, context: _Context, copy: Copy) -> None:
        self._tree = tree
        self._context = context
        self._copy = copy

    def put(self, path: Path, destination: str) -> None:
        """A folder's content goes into the destination; a file is put there, or into it if it's a folder."""
        if path.is_dir() and not path.is_symlink():
            inside(self._tree, destination).mkdir(parents=True, exist_ok=True)
            for one in self._context.below(path):
                self._put_file(one, posixpath.join(destination, one.relative_to(path).as_posix()))
            return
        if self._copy.unpacks and path.is_file() and tarfile.is_tarfile(path):
            _unpack(path, inside(self._tree, destination))
            return
        target = inside(self._tree, destination)
        into = destination.endswith("/") or target.is_dir()
        self._put_file(path, posixpath.join(destination, path.name) if into else destination)

    def _put_file(self, path: Path, destination: str) -> None:
        relative = path.relative_to(self._context.root).as_posix()
        if any(re.fullmatch(_expression(pattern), relative) for pattern in self._copy.excluded):
            return
        target = inside(self._tree, posixpath.dirname(destination)) / posixpath.basename(destination)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_symlink() or target.is_file():
            target.unlink()
        if path.is_dir() and not path.is_symlink():
            target.mkdir(exist_ok=True)
            return
        shutil.copy2(path, target, follow_symlinks=False)
        if self._copy.mode is not None and not target.is_symlink():
            target.chmod(self._copy.mode)
        self._give_away(target)

    def _give_away(self, target: Path) -> None:
        """To the owner of --chown, if this user may and the machine knows the owner."""
        if self._copy.owner and os.geteuid() == 0:
            with contextlib.suppress(KeyError):
                os.lchown(target, *_ids(self._copy.owner))


def inside(tree: Path, path: str) -> Path:
    """Where a path of an image is in its tree. Links are followed as in the image, where `/` is the tree.

    Raises LabError for links that lead in a circle.
    """
    waiting = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    at, links = tree, 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            at = at if at == tree else at.parent
            continue
        if not (at / part).is_symlink():
            at /= part
            continue
        links += 1
        if links > LINKS:
            raise LabError("The links of an image lead in a circle", where=path)
        target = str((at / part).readlink())
        at = tree if target.startswith("/") else at
        waiting += [one for one in reversed(target.split("/")) if one not in ("", ".")]
    return at


def shortened(text: str, length: int = 60) -> str:
    """A text's beginning, for one line of a message."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def warning_about(source: Source, left_out: Sequence[Run]) -> str:
    """One line that names each RUN that wasn't carried out; empty if there is none."""
    if not left_out:
        return ""
    lines = "; ".join(f"line {one.line}: {shortened(one.text)}" for one in left_out)
    return f"{source.path}: without Docker, RUN isn't carried out ({lines})"


def _everything(tree: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(tree):
        yield from (Path(place, name) for name in names)
        # links to folders, and folders that hold nothing
        yield from (
            Path(place, name)
            for name in folders
            if Path(place, name).is_symlink() or not any(Path(place, name).iterdir())
        )


def _expression(pattern: str) -> str:
    """Go's filepath.Match as a regular expression, and `**` for any number of folders."""
    found, at = "", 0
    while at < len(pattern):
        char = pattern[at]
        if pattern.startswith("**/", at):
            found, at = found + "(?:.*/)?", at + 3
            continue
        if char == "[" and (end := pattern.find("]", at + 2)) > 0:
            found, at = found + pattern[at : end + 1], end + 1
            continue
        if char == "\\" and at + 1 < len(pattern):
            at += 1
            char = re.escape(pattern[at])
        else:
            char = {"*": "[^/]*", "?": "[^/]"}.get(char, re.escape(char))
        found, at = found + char, at + 1
    return found


def _unpack(archive: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        tar.extractall(target, filter="data")


def _ids(owner: str) -> tuple[int, int]:
    """The user and group of `user`, `user:group` or numbers. Raises KeyError if the machine has none of that name."""
    import grp
    import pwd

    user, _, group = owner.partition(":")
    number = int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid
    if not group:
        return number, number
    return number, int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
