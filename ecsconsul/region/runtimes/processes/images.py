"""Images without Docker: an immutable copy of the service's folder, named by the hash of its source.

Its Dockerfile says how it runs; its requirements.txt is installed into an environment of its own unless the
Python that runs this tool satisfies it already.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from ....docker.build_context import files
from ....docker.dockerfile import Dockerfile, read_dockerfile
from ....errors import LabError
from ..lab_dir import LabDir, remove

INSTALL_TIMEOUT = 600.0
_RECIPE = ".ecsconsul-image.json"
# Held by whichever store installs: two services that require the same share an environment, and are published at once.
_installing = threading.Lock()


@dataclass(frozen=True)
class Image:
    """One published image: its files, how it runs, and the folder of programs that its tasks find first."""

    reference: str
    folder: Path
    dockerfile: Dockerfile
    programs: Path


class ImageStore:
    """The images of one lab, by reference `<lab>/<service>:<hash>`."""

    def __init__(self, home: LabDir) -> None:
        self._home = home

    def tags(self, repository: str) -> list[str]:
        """The tags that are published in a repository, oldest first."""
        folder = self._home.images / repository
        if not folder.is_dir():
            return []
        return [p.name for p in sorted(folder.iterdir(), key=lambda p: p.stat().st_mtime) if (p / _RECIPE).is_file()]

    def publish(self, repository: str, tag: str, source: Path) -> None:
        """Copy the source and install what it requires; all of it or nothing. Raises LabError."""
        dockerfile = read_dockerfile(source)
        programs = self._programs(source)
        try:
            self._put(self._home.images / repository / tag, source, dockerfile, programs)
        except OSError as error:
            raise LabError("An image cannot be published", where=str(source), why=str(error)) from error

    def _put(self, target: Path, source: Path, dockerfile: Dockerfile, programs: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as draft:
            copy = Path(draft, target.name)
            _copy(source, copy)
            recipe = {"dockerfile": asdict(dockerfile), "programs": str(programs)}
            (copy / _RECIPE).write_text(json.dumps(recipe))
            if target.exists():
                remove(target)
            copy.rename(target)

    def get(self, reference: str) -> Image | None:
        """The image of a reference, or None when it was never published here."""
        repository, _, tag = reference.rpartition(":")
        name = repository.rpartition("/")[2]
        folder = self._home.images / name / tag
        try:
            recipe = json.loads((folder / _RECIPE).read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        found = recipe["dockerfile"]
        lists = {"entrypoint": tuple(found["entrypoint"]), "command": tuple(found["command"])}
        return Image(reference, folder, Dockerfile(**{**found, **lists}), Path(recipe["programs"]))

    def delete(self, repository: str) -> None:
        """Remove a repository and its images; one that is not there is fine."""
        remove(self._home.images / repository)

    def _programs(self, source: Path) -> Path:
        requirements = source / "requirements.txt"
        if not requirements.is_file() or satisfied(requirements):
            return Path(sysconfig.get_path("scripts"))
        with _installing:
            return self._environment(requirements) / "bin"

    def _environment(self, requirements: Path) -> Path:
        key = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:16]
        target = self._home.environments / key
        if (target / "ready").is_file():
            return target
        remove(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        _run([sys.executable, "-m", "venv", str(target)], requirements)
        pip = [
            str(target / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        _run([*pip, "-r", str(requirements)], requirements)
        (target / "ready").touch()
        return target


def copy_for_task(image: Image, folder: Path) -> None:
    """A task's own writable copy of the image, as a container has its own layer."""
    shutil.copytree(image.folder, folder, symlinks=True, ignore=shutil.ignore_patterns(_RECIPE))


def satisfied(requirements: Path) -> bool:
    """Whether the running Python meets every line. A line that is no plain requirement (-r, a URL) is not met."""
    from importlib.metadata import PackageNotFoundError, version

    from packaging.requirements import InvalidRequirement, Requirement

    for line in requirements.read_text().splitlines():
        text = line.split(" #")[0].strip()
        if not text or text.startswith("#"):
            continue
        try:
            wanted = Requirement(text)
            if wanted.url or wanted.extras:
                return False
            if wanted.marker and not wanted.marker.evaluate():
                continue
            if not wanted.specifier.contains(version(wanted.name), prereleases=True):
                return False
        except (InvalidRequirement, PackageNotFoundError):
            return False
    return True


def _copy(source: Path, target: Path) -> None:
    for path in files(source):
        destination = target / path.relative_to(source)
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, destination, follow_symlinks=False)


def _run(argv: list[str], requirements: Path) -> None:
    try:
        subprocess.run(argv, check=True, capture_output=True, text=True, timeout=INSTALL_TIMEOUT)
    except subprocess.CalledProcessError as error:
        raise LabError(
            "The requirements of an image cannot be installed",
            where=str(requirements),
            why="\n".join((error.stderr or error.stdout).strip().splitlines()[-8:]),
            hint="the same lines are what pip would say inside `docker build`",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise LabError(
            "The requirements of an image cannot be installed",
            where=str(requirements),
            why=f"no end after {INSTALL_TIMEOUT:.0f} s",
        ) from error
