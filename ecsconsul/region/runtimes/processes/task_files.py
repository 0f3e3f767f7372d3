"""How a task finds the files of its image: at their own paths below a root of its own, or at those of its copy.

Only what an image brings is in its tree. The base image's own files, such as its Python, are this machine's.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ....docker.file_tree import inside
from ....docker.stages import DEFAULT_PATH
from .images import Image

CHECK_SECONDS = 30.0
# a path in a shell's text: not in the middle of another one
_PATH = re.compile(r"(?<![\w./$~}-])(/[\w.@+-]+(?:/[\w.@+-]+)*/?)")
_LAUNCHER = (sys.executable, "-I", "-S", str(Path(__file__).with_name("task_root.py")))


def can_have_own_root(folder: Path) -> bool:
    """Whether this kernel lets this user run programs in a root of their own; `folder` is for the try."""
    if sys.platform != "linux":
        return False
    with tempfile.TemporaryDirectory(dir=folder, prefix=".root-") as place:
        for name in ("tree", "root"):
            Path(place, name).mkdir()
        argv = [*_LAUNCHER, "run", f"{place}/tree", f"{place}/root", "/", "true"]
        try:
            return subprocess.run(argv, capture_output=True, timeout=CHECK_SECONDS).returncode == 0
        except subprocess.TimeoutExpired:
            # a machine that takes so long for it is better off without
            return False


def entering(pid: int, argv: Sequence[str]) -> list[str] | None:
    """The command line that runs a program where the process `pid` is; None if that process has no root of its own."""
    if sys.platform != "linux" or Path(f"/proc/{pid}/root").readlink() == Path("/proc/self/root").readlink():
        return None
    return [*_LAUNCHER, "enter", str(pid), *argv]


@dataclass(frozen=True)
class MountedFolder:
    """A folder of the lab that a task has at a path of its own."""

    folder: Path
    path: str
    read_only: bool = False
    starts_with_image: bool = False


@dataclass(frozen=True)
class TaskFiles:
    """An image and a task's copy of its tree. `own_root`: whether the task has a root folder of its own.

    `working_directory` replaces the image's WORKDIR; `limits` are soft and hard ulimits by their names.
    """

    image: Image
    copy: Path
    own_root: bool
    working_directory: str = ""
    mounted: tuple[MountedFolder, ...] = ()
    limits: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def workdir(self) -> str:
        """The folder in which the task's program starts."""
        return posixpath.join(self.image.config.workdir, self.working_directory)

    def prepare(self) -> None:
        """Make the places of mounted folders in the copy, and the working directory. Raises OSError.

        Without a root of its own, the task has links to the folders there.
        """
        for one in self.mounted:
            place = inside(self.copy, one.path)
            one.folder.mkdir(parents=True, exist_ok=True)
            place.mkdir(parents=True, exist_ok=True)
            if one.starts_with_image and not any(one.folder.iterdir()):
                shutil.copytree(place, one.folder, symlinks=True, dirs_exist_ok=True)
            if not self.own_root:
                shutil.rmtree(place)
                place.symlink_to(one.folder)
        if self.working_directory and not self._mounted_at(self.workdir):
            inside(self.copy, self.workdir).mkdir(parents=True, exist_ok=True)

    def _mounted_at(self, path: str) -> Path | None:
        """Where a path below a mounted folder really is; None for other paths."""
        for one in reversed(self.mounted):
            if path == one.path or path.startswith(f"{one.path.rstrip('/')}/"):
                return one.folder / posixpath.relpath(path, one.path)
        return None

    def environment(self, machine_path: str) -> dict[str, str]:
        """The image's variables, and the PATH of its task."""
        own = {name: self.word(value) for name, value in self.image.config.environment.items()}
        return {**own, "PATH": self._search_path(machine_path)}

    def command_line(self, words: Sequence[str], path: str) -> tuple[list[str], Path | None]:
        """The command line that runs the words in the image's WORKDIR, and the folder to run it in.

        Raises FileNotFoundError if there is no such program.
        """
        program, limits = self._program(words[0], path), self._limit_words()
        if not self.own_root:
            plain = [*_LAUNCHER, *limits, "plain"] if limits else []
            workdir = self._mounted_at(self.workdir) or inside(self.copy, self.workdir)
            return [*plain, program, *map(self.word, words[1:])], workdir
        root = self.copy.with_name(f"{self.copy.name}.root")
        root.mkdir()
        prefix = [*_LAUNCHER, *limits, *self._volume_words(), "run", str(self.copy), str(root), self.workdir]
        return [*prefix, program, *words[1:]], None

    def _limit_words(self) -> list[str]:
        return [word for name, (soft, hard) in self.limits.items() for word in ("limit", name, str(soft), str(hard))]

    def _volume_words(self) -> list[str]:
        """Each folder at its place in the copy, whatever links lead there; outer ones first."""
        found = []
        for one in sorted(self.mounted, key=lambda one: one.path.count("/")):
            place = "/" + str(inside(self.copy, one.path).relative_to(self.copy))
            found += ["volume", str(one.folder), place, "ro" if one.read_only else "rw"]
        return found

    def word(self, word: str) -> str:
        """A word as the task must have it: without a root of its own, the image's paths are those of the copy.

        /app/x, --config=/app/x, /app/lib:/app/more, and a shell's text that names them.
        """
        if self.own_root or "/" not in word:
            return word
        if re.fullmatch(r"[^\s'\"]*", word):
            return re.sub(r"(^|[=:,])(/[^=:,]*)", lambda match: match[1] + self._in_copy(match[2]), word)
        return _PATH.sub(lambda match: self._in_copy(match[1]), word)

    def _in_copy(self, path: str) -> str:
        if not path.strip("/"):
            return path
        if mounted := self._mounted_at(path):
            return str(mounted)
        found = inside(self.copy, path)
        if not (found.exists() or found.is_symlink()):
            return path
        return f"{found}/" if path.endswith("/") else str(found)

    def _search_path(self, machine_path: str) -> str:
        """The image's own folders, the programs of its requirements, and what this machine has.

        Where both have a folder, such as /usr/local/bin, this machine's Python must not come before the requirements'.
        """
        given = self.image.config.environment.get("PATH", DEFAULT_PATH).split(":")
        own = [part for part in given if part.startswith("/") and inside(self.copy, part).is_dir()]
        shared = [part for part in own if self.own_root and Path(part).is_dir()]
        first = [self.word(part) for part in own if part not in shared]
        return ":".join([*first, str(self.image.programs), *shared, machine_path])

    def _program(self, word: str, path: str) -> str:
        """Where a program is. One of the base image, such as /usr/local/bin/python, is looked for by its name."""
        if "/" in word:
            own = inside(self.copy, posixpath.join(self.workdir, word))
            if own.exists():
                return word if self.own_root else str(own)
            found = shutil.which(word) or shutil.which(Path(word).name, path=path)
        else:
            found = self._in_path(word, path)
        if found is None:
            raise FileNotFoundError(2, "No such file or directory", word)
        return found

    def _in_path(self, name: str, path: str) -> str | None:
        for part in path.split(":"):
            places = [inside(self.copy, part) / name, Path(part, name)] if self.own_root else [Path(part, name)]
            if any(place.is_file() and os.access(place, os.X_OK) for place in places):
                return posixpath.join(part, name)
        return None
