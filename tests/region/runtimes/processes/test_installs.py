"""What a RUN installs is installed; all else is left out, and said."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

import pytest

from ecsconsul.docker.stages import Run
from ecsconsul.errors import LabError
from ecsconsul.region.runtimes.lab_dir import LabDir
from ecsconsul.region.runtimes.processes.installs import Installs, content_of, hints, satisfied


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
        ("pip install flask", True),
        ("uv pip install --system -r requirements.txt", True),
        ("pip install poetry && pip install 'flask>=1'", True),
        ("pip install --index-url https://example.com flask", False),
        ("pip install .", False),
        ("pip install git+https://example.com/flask", False),
        ("poetry install --no-root", False),
        ("uv sync --frozen", False),
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


def project(folder: Path) -> None:
    """A project that needs no network to be built: its own backend makes the wheel."""
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = ["."]\n'
    )
    (folder / "own.py").write_text(
        "import zipfile\n"
        "def build_wheel(folder, settings=None, metadata=None):\n"
        "    open('left-behind', 'w').close()\n"
        "    name = 'kin-1.0-py3-none-any.whl'\n"
        "    with zipfile.ZipFile(folder + '/' + name, 'w') as archive:\n"
        "        archive.writestr('kin.py', 'def main(): print(1)')\n"
        "        about = 'kin-1.0.dist-info/'\n"
        "        archive.writestr(about + 'METADATA', 'Metadata-Version: 2.1\\nName: kin\\nVersion: 1.0\\n')\n"
        "        wheel = 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n'\n"
        "        archive.writestr(about + 'WHEEL', wheel)\n"
        "        archive.writestr(about + 'entry_points.txt', '[console_scripts]\\nkin = kin:main\\n')\n"
        "        archive.writestr(about + 'RECORD', '')\n"
        "    return name\n"
    )


def test_project_is_installed_with_its_programs(lab_dir: LabDir, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    project(tree / "src")
    installs = Installs(lab_dir, tmp_path)
    assert installs.carry_out(Run(1, "pip install --no-cache-dir -e .", "/src"), tree)
    programs = installs.programs()
    assert (programs / "kin").is_file()
    assert not (tree / "src/left-behind").exists(), "the image is as it was"
    assert installs.programs() == programs


def test_projects_environment_depends_on_all_of_its_files(tmp_path: Path) -> None:
    project(tmp_path / "src")
    before = content_of(tmp_path / "src")
    (tmp_path / "src/more.py").touch()
    assert content_of(tmp_path / "src") != before


def test_other_tools_are_named_with_a_way_out() -> None:
    (found,) = hints([Run(3, "make", "/"), Run(7, "poetry config x y && poetry install", "/")])
    assert found.startswith("line 7: what poetry installs is installed from a requirements.txt")
    assert "`poetry export -o requirements.txt`" in found


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
