"""What is carried out of a Dockerfile's RUN: the installation of declared dependencies, by pip and by npm.

All else that a RUN does would change this machine instead of an image.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from ....docker.file_tree import inside
from ....docker.instructions import json_words
from ....docker.stages import Run
from ....errors import LabError
from ..lab_dir import LabDir, remove
from .pip_words import read_pip

INSTALL_SECONDS = 600.0
# Services with the same requirements share an environment, and are published at the same time.
_lock = threading.Lock()
_NPM = ("ci", "install", "i")
# what writes the requirements of a tool that isn't run here
_EXPORTS = {
    "poetry": "poetry export -o requirements.txt",
    "uv": "uv export --no-dev -o requirements.txt",
    "pipenv": "pipenv requirements >requirements.txt",
    "pdm": "pdm export -o requirements.txt",
}


class Installs:
    """The installations of one image, which is made from a folder."""

    def __init__(self, lab_dir: LabDir, folder: Path) -> None:
        self._lab_dir = lab_dir
        self._folder = folder
        self._requirements: list[Path] = []
        self._packages: list[str] = []
        self._projects: list[tuple[Path, str]] = []  # folders, each with the extras to install

    def carry_out(self, run: Run, tree: Path) -> bool:
        """Carry out what a RUN installs, in the tree of its stage; whether it does nothing else. Raises LabError."""
        # each of them, also after one that isn't carried out
        done = [self._one(command, run, tree) for command in _commands(run.text)]
        return all(done)

    def programs(self) -> Path:
        """The folder with the programs of what pip was told to install. Raises LabError.

        A requirements.txt beside the Dockerfile counts, even if no RUN names it.
        """
        beside = self._folder / "requirements.txt"
        files = self._requirements or ([beside] if beside.is_file() else [])
        if all(map(satisfied, files)) and all(map(_is_met, self._packages)) and not self._projects:
            return Path(sysconfig.get_path("scripts"))
        with _lock:
            return self._environment(files) / "bin"

    def _one(self, words: Sequence[str], run: Run, tree: Path) -> bool:
        words = [word for word in words if not re.fullmatch(r"\w+=.*", word)]
        program = posixpath.basename(words[0]) if words else ""
        if program in ("python", "python3") and words[1:3] == ["-m", "pip"]:
            program, words = "pip", words[2:]
        if program == "uv" and words[1:2] == ["pip"]:
            program, words = "pip", words[1:]
        if program in ("pip", "pip3") and len(words) > 1 and words[1] in ("install", "wheel"):
            return self._pip(words[2:], run, tree)
        if words[1:3] == ["-m", "venv"] or program == "virtualenv":
            # it is copied to the last stage; its programs are those of the environment made here
            self._place(words[-1], run, tree)
            return True
        return (
            program == "npm"
            and len(words) > 1
            and words[1] in _NPM
            and _npm(words, inside(tree, run.workdir), self._where("package.json"))
        )

    def _pip(self, words: Sequence[str], run: Run, tree: Path) -> bool:
        found = read_pip(words)
        self._requirements += [inside(tree, posixpath.join(run.workdir, one)) for one in found.files]
        self._packages += found.packages
        projects = [self._project(one, run, tree) for one in found.projects]
        self._projects += [one for one in projects if one]
        for place in [*found.places, *["/root/.local"] * ("--user" in words)]:
            self._place(place, run, tree)
        return (found.complete or bool(found.files)) and all(projects)

    def _project(self, word: str, run: Run, tree: Path) -> tuple[Path, str] | None:
        """A project's folder and the extras to install; None if there is none, or not yet."""
        path, bracket, extras = word.partition("[")
        folder = inside(tree, posixpath.join(run.workdir, path))
        known = any((folder / name).is_file() for name in ("pyproject.toml", "setup.py"))
        return (folder, bracket + extras) if known else None

    def _place(self, path: str, run: Run, tree: Path) -> None:
        inside(tree, posixpath.join(run.workdir, path)).mkdir(parents=True, exist_ok=True)

    def _where(self, name: str) -> Path:
        """The file of the folder that an error is about, or the folder."""
        return self._folder / name if (self._folder / name).is_file() else self._folder

    def _environment(self, files: Sequence[Path]) -> Path:
        where, missing = (
            self._where(files[0].name if files else "pyproject.toml"),
            [one.name for one in files if not one.is_file()],
        )
        if missing:
            why = f"pip is told to read {missing[0]}"
            raise LabError("The requirements of an image are missing", where=str(self._folder), why=why)
        content = b"".join(one.read_bytes() for one in files) + repr(self._packages).encode()
        content += b"".join(extras.encode() + content_of(project) for project, extras in self._projects)
        target = self._lab_dir.environments / hashlib.sha256(content + sys.version.encode()).hexdigest()[:16]
        if (target / "ready").is_file():
            return target
        remove(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        _run([sys.executable, "-m", "venv", str(target)], self._folder, where)
        pip = [str(target / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        with tempfile.TemporaryDirectory() as drafts:
            # what a build leaves beside its source must not get into the image
            projects = [_copied(one, Path(drafts, str(n))) + extras for n, (one, extras) in enumerate(self._projects)]
            named = [word for one in files for word in ("-r", str(one))]
            _run([*pip, *named, *self._packages, *projects], self._folder, where)
        (target / "ready").touch()
        return target


def hints(left_out: Sequence[Run]) -> list[str]:
    """What to do about the RUNs that would have installed dependencies with a tool that isn't run here."""
    found = []
    for run in left_out:
        programs = [posixpath.basename(words[0]) for words in _commands(run.text)]
        tool = next((one for one in programs if one in _EXPORTS), "")
        if tool:
            found.append(
                f"line {run.line}: what {tool} installs is installed from a requirements.txt beside the Dockerfile:"
                f" `{_EXPORTS[tool]}`"
            )
    return found


def satisfied(requirements: Path) -> bool:
    """Whether the running Python satisfies every line; False for lines that are no plain requirement (-r, a URL)."""
    if not requirements.is_file():
        return False
    lines = (line.split(" #")[0].strip() for line in requirements.read_text().splitlines())
    return all(_is_met(text) for text in lines if text and not text.startswith("#"))


def _is_met(text: str) -> bool:
    from importlib.metadata import PackageNotFoundError, version

    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text)
        if requirement.url or requirement.extras:
            return False
        if requirement.marker and not requirement.marker.evaluate():
            return True
        return requirement.specifier.contains(version(requirement.name), prereleases=True)
    except (InvalidRequirement, PackageNotFoundError):
        return False


def content_of(project: Path) -> bytes:
    """All that a project's installation depends on."""
    paths = sorted(one for one in project.rglob("*") if one.is_file())
    return b"".join(str(one.relative_to(project)).encode() + one.read_bytes() for one in paths)


def _copied(project: Path, to: Path) -> str:
    shutil.copytree(project, to, symlinks=True)
    return str(to)


def _commands(text: str) -> list[list[str]]:
    """The words of each command of a RUN, whether it is in the shell form or a JSON list."""
    if words := json_words(text):
        return [words]
    found = []
    for part in re.split(r"&&|;", text):
        try:
            found.append(shlex.split(part))
        except ValueError:
            # quotes across a separator: a command of its own that is carried out nowhere
            found.append(["sh", "-c", part])
    return [words for words in found if words]


def _npm(words: Sequence[str], folder: Path, where: Path) -> bool:
    if shutil.which("npm") is None:
        return False
    is_locked = any((folder / name).is_file() for name in ("package-lock.json", "npm-shrinkwrap.json"))
    # `ci` demands a lock file, without which only `install` can do what is meant
    _run(["npm", "ci" if is_locked and words[1] == "ci" else "install", *words[2:]], folder, where)
    (folder / "node_modules").mkdir(exist_ok=True)
    return True


def _run(argv: list[str], folder: Path, where: Path) -> None:
    try:
        subprocess.run(argv, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS, cwd=folder)
    except subprocess.CalledProcessError as error:
        raise LabError(
            "The requirements of an image cannot be installed",
            where=str(where),
            why="\n".join((error.stderr or error.stdout).strip().splitlines()[-8:]),
            hint=f"{Path(argv[0]).name} would fail the same way in `docker build`",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise LabError(
            "The requirements of an image cannot be installed",
            where=str(where),
            why=f"{Path(argv[0]).name} has not finished after {INSTALL_SECONDS:.0f} s",
        ) from error
