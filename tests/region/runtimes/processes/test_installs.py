"""What a RUN installs is installed; all else is left out, and said."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

import pytest

from ecsconsul.docker.stages import Run
from ecsconsul.errors import LabError
from ecsconsul.region.runtimes.lab_dir import LabDir
from ecsconsul.region.runtimes.processes.installs import Installs, satisfied


@pytest.mark.parametrize(
    ("line", "met"),
    [
        ("flask>=1", True),
        ("Flask", True),
        ("flask>=1 # the framework", True),
        ("# only a comment\n\n", True),
        ('nothing-such; python_version < "3"', True),
        ("flask<1", False),
        ("nothing-such-as-this", False),
        ("flask[async]", False),
        ("flask @ https://example.com/flask.whl", False),
        ("-r other.txt", False),
        ("flask>=1 --hash=sha256:00", False),
    ],
)
def test_requirements_are_satisfied_only_when_certain(tmp_path: Path, line: str, met: bool) -> None:
    (tmp_path / "requirements.txt").write_text(line + "\n")
    assert satisfied(tmp_path / "requirements.txt") is met


@pytest.mark.parametrize(
    ("text", "is_carried_out"),
    [
        ("pip install -r requirements.txt", True),
        ("pip3 install --no-cache-dir --requirement=requirements.txt", True),
        ("python -m pip install -rrequirements.txt", True),
        ("PIP_NO_CACHE_DIR=1 pip install --upgrade pip && pip install -r requirements.txt", True),
        ("python -m venv /venv && /venv/bin/pip install -r requirements.txt", True),
        ('["pip", "install", "-r", "requirements.txt"]', True),
        ("pip install flask", False),
        ("apt-get update && pip install -r requirements.txt", False),
        ("make", False),
        ("echo 'a; b'", False),
    ],
)
def test_what_a_run_installs_is_told_from_what_it_does_else(
    lab_dir: LabDir, tmp_path: Path, text: str, is_carried_out: bool
) -> None:
    tree = tmp_path / "tree"
    (tree / "app").mkdir(parents=True)
    (tree / "app/requirements.txt").write_text("flask>=1\n")
    installs = Installs(lab_dir, tmp_path)
    assert installs.carry_out(Run(1, text, "/app"), tree) is is_carried_out
    assert installs.programs() == Path(sysconfig.get_path("scripts"))
    assert (tree / "venv").is_dir() == ("venv" in text)


def test_places_that_pip_installs_to_can_be_copied_from(lab_dir: LabDir, tmp_path: Path) -> None:
    for text in ("pip install --prefix=/install -r r", "pip wheel -w /wheels -r r", "pip install --user -r r"):
        Installs(lab_dir, tmp_path).carry_out(Run(1, text, "/"), tmp_path)
    assert all((tmp_path / name).is_dir() for name in ("install", "wheels", "root/.local"))


def test_missing_requirements_are_an_error(lab_dir: LabDir, tmp_path: Path) -> None:
    installs = Installs(lab_dir, tmp_path)
    installs.carry_out(Run(3, "pip install -r none.txt", "/"), tmp_path)
    with pytest.raises(LabError, match="requirements of an image are missing") as caught:
        installs.programs()
    assert (caught.value.where, caught.value.why) == (str(tmp_path), "pip is told to read none.txt")


@pytest.mark.parametrize("lock", [True, False])
def test_npm_installs_where_it_is_there(
    lab_dir: LabDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: bool
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "npm").write_text('#!/bin/sh\necho "$@" >called\n')
    (programs / "npm").chmod(0o755)
    tree = tmp_path / "tree"
    (tree / "app").mkdir(parents=True)
    if lock:
        (tree / "app/package-lock.json").write_text("{}")
    run = Run(1, "npm ci --omit=dev", "/app")
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    assert Installs(lab_dir, tmp_path).carry_out(run, tree)
    assert (tree / "app/called").read_text() == ("ci --omit=dev\n" if lock else "install --omit=dev\n")
    assert (tree / "app/node_modules").is_dir()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("npm") is None
    assert not Installs(lab_dir, tmp_path).carry_out(run, tree)
