"""What is released: the same files whenever and wherever they are built, and a wheel that runs in an empty folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.consul_server import consul_binary
from tests.e2e.lab import REPOSITORY, Lab, free_port
from tests.require import require

SECONDS = 300.0


def build(out: Path, umask: int = 0o022, **variables: str) -> dict[str, str]:
    """The SHA-256 of each file that `.ci/build` makes of a clone beside `out`."""
    clone = out.with_name(f"{out.name}-source")
    subprocess.run(
        ["git", "clone", "--quiet", "--no-hardlinks", str(REPOSITORY), str(clone)],
        check=True, timeout=SECONDS, umask=umask,
    )  # fmt: skip
    environment: Mapping[str, str] = {**os.environ, "PYTHON": sys.executable, **variables}
    done = subprocess.run(
        [".ci/build", str(out)],
        cwd=clone, env=environment, umask=umask, capture_output=True, text=True, check=False, timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.iterdir()}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The folder with the sdist and the wheel, and the SHA-256 of both."""
    require("git", shutil.which("git") is not None and (REPOSITORY / ".git").exists(), "this isn't a clone")
    folder = tmp_path_factory.mktemp("release") / "dist"
    return folder, build(folder)


def test_a_release_is_the_same_wherever_it_is_built(release: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    _, first = release
    assert sorted(name.rpartition(".")[2] for name in first) == ["gz", "whl"]
    assert build(tmp_path / "again", umask=0o077, TZ="Asia/Tokyo", LC_ALL="C", USER="somebody") == first


@dataclass
class Installed(Lab):
    """A lab whose command is the one of the wheel."""

    program: str = ""

    def command(self) -> list[str]:
        return [self.program]


def test_the_wheel_runs_in_an_empty_folder(release: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    """With nothing of this repository: what `pipx install` and `uvx` do, except that dependencies are here already."""
    consul_binary()
    [wheel] = release[0].glob("*.whl")
    home = tmp_path / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    python = str(home / "bin" / "python")
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", str(wheel)],
        check=True, timeout=SECONDS,
    )  # fmt: skip
    ours = sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)})
    (Path(ours) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    gunicorn = home / "bin" / "gunicorn"
    gunicorn.write_text(f"#!{python}\nfrom gunicorn.app.wsgiapp import run\nrun()\n")
    gunicorn.chmod(0o755)
    assert (home / "share" / "man" / "man1" / "ecsconsul-up.1").is_file()
    folder = tmp_path / "empty"
    folder.mkdir()
    lab = Installed(folder, f"wheel-{os.getpid()}", {"ECSCONSUL_RUNTIME": "processes", "PYTHONPATH": ""})
    lab.program = str(home / "bin" / "ecsconsul")
    lab.ok("init")
    lab.edit("lab: consul-lab", f"lab: {lab.name}")
    lab.edit("host_port: 8080", f"host_port: {free_port()}")
    try:
        assert lab.up()["changes"]["created"] > 5
        assert lab.status()["healthy"]
    finally:
        lab.clear()
