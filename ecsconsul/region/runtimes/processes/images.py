"""Images without Docker: immutable copies of the services' folders, tagged with the hash of their source.

The Dockerfile defines how an image runs. Its requirements.txt is installed into a virtual environment, unless the
Python that runs ecsconsul already satisfies it.
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
_METADATA = ".ecsconsul-image.json"
# Services with the same requirements share an environment, and are published at the same time.
_install_lock = threading.Lock()


@dataclass(frozen=True)
class Image:
    """A published image: its files, its Dockerfile, and the folder that comes first in its tasks' PATH."""

    reference: str
    folder: Path
    dockerfile: Dockerfile
    programs: Path


class ImageStore:
    """The images of one lab, by reference `<lab>/<service>:<hash>`."""

    def __init__(self, lab_dir: LabDir) -> None:
        self._lab_dir = lab_dir

    def tags(self, repository: str) -> list[str]:
        """The published tags of a repository, oldest first."""
        folder = self._lab_dir.images / repository
        if not folder.is_dir():
            return []
        return [p.name for p in sorted(folder.iterdir(), key=lambda p: p.stat().st_mtime) if (p / _METADATA).is_file()]

    def publish(self, repository: str, tag: str, source: Path) -> None:
        """Copy the source and install its requirements, all or nothing. Raises LabError."""
        dockerfile = read_dockerfile(source)
        programs = self._programs(source)
        try:
            self._put(self._lab_dir.images / repository / tag, source, dockerfile, programs)
        except OSError as error:
            raise LabError("An image cannot be published", where=str(source), why=str(error)) from error

    def _put(self, target: Path, source: Path, dockerfile: Dockerfile, programs: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as draft:
            copy = Path(draft, target.name)
            _copy(source, copy)
            metadata = {"dockerfile": asdict(dockerfile), "programs": str(programs)}
            (copy / _METADATA).write_text(json.dumps(metadata))
            if target.exists():
                remove(target)
            copy.rename(target)

    def get(self, reference: str) -> Image | None:
        """The image of a reference; None when it was never published."""
        repository, _, tag = reference.rpartition(":")
        name = repository.rpartition("/")[2]
        folder = self._lab_dir.images / name / tag
        try:
            metadata = json.loads((folder / _METADATA).read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        dockerfile = metadata["dockerfile"]
        lists = {key: tuple(dockerfile[key]) for key in ("entrypoint", "command")}
        return Image(reference, folder, Dockerfile(**{**dockerfile, **lists}), Path(metadata["programs"]))

    def delete(self, repository: str) -> None:
        """Remove a repository and its images, if it exists."""
        remove(self._lab_dir.images / repository)

    def _programs(self, source: Path) -> Path:
        requirements = source / "requirements.txt"
        if not requirements.is_file() or satisfied(requirements):
            return Path(sysconfig.get_path("scripts"))
        with _install_lock:
            return self._environment(requirements) / "bin"

    def _environment(self, requirements: Path) -> Path:
        key = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:16]
        target = self._lab_dir.environments / key
        if (target / "ready").is_file():
            return target
        remove(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        _run([sys.executable, "-m", "venv", str(target)], requirements)
        pip = [str(target / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "-r", str(requirements)], requirements)
        (target / "ready").touch()
        return target


def copy_for_task(image: Image, folder: Path) -> None:
    """Create a task's own writable copy of the image, like a container's writable layer."""
    shutil.copytree(image.folder, folder, symlinks=True, ignore=shutil.ignore_patterns(_METADATA))


def satisfied(requirements: Path) -> bool:
    """Whether the running Python satisfies every line; False for lines that are no plain requirement (-r, a URL)."""
    from importlib.metadata import PackageNotFoundError, version

    from packaging.requirements import InvalidRequirement, Requirement

    for line in requirements.read_text().splitlines():
        text = line.split(" #")[0].strip()
        if not text or text.startswith("#"):
            continue
        try:
            requirement = Requirement(text)
            if requirement.url or requirement.extras:
                return False
            if requirement.marker and not requirement.marker.evaluate():
                continue
            if not requirement.specifier.contains(version(requirement.name), prereleases=True):
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
            hint="pip would fail the same way in `docker build`",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise LabError(
            "The requirements of an image cannot be installed",
            where=str(requirements),
            why=f"pip has not finished after {INSTALL_TIMEOUT:.0f} s",
        ) from error
