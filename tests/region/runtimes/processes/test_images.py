"""Images without Docker are published atomically, never change, and come with their requirements."""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
from pathlib import Path

import pytest

from ecsconsul.errors import LabError
from ecsconsul.region.runtimes.lab_dir import LabDir
from ecsconsul.region.runtimes.processes.images import ImageStore, copy_for_task
from ecsconsul.targets.local.lab_images import LabImages


@pytest.fixture
def store(lab_dir: LabDir) -> ImageStore:
    return ImageStore(lab_dir)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "Dockerfile").write_text(
        'FROM x\nENV A=1\nWORKDIR /app\nCOPY . .\nENTRYPOINT ["python"]\nCMD ["app.py"]\n'
    )
    (folder / "app.py").write_text("print('one')")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("app.py")
    (folder / "editor").symlink_to("nowhere")
    return folder


def test_published_image_is_not_affected_by_later_edits(store: ImageStore, source: Path) -> None:
    store.publish("weather", "abc", source, print)
    (source / "app.py").write_text("print('two')")
    image = store.get("lab/weather:abc")
    assert image is not None
    assert (image.tree / "app" / "app.py").read_text() == "print('one')"
    assert (image.tree / "app" / "run.sh").stat().st_mode & 0o111
    assert str((image.tree / "app" / "link").readlink()) == "app.py"
    assert (image.config.entrypoint, image.config.command) == (("python",), ("app.py",))
    assert image.config.environment == {"A": "1"}
    assert image.programs == Path(sysconfig.get_path("scripts"))


def make_older(repository: Path) -> None:
    """Age all tags by a second, because tags published within one clock tick have the same age."""
    for folder in repository.glob("*"):
        stat = folder.stat()
        os.utime(folder, ns=(stat.st_atime_ns, stat.st_mtime_ns - 10**9))


def test_tags_of_complete_images_are_listed_oldest_first(store: ImageStore, source: Path, lab_dir: LabDir) -> None:
    assert store.tags("weather") == []
    for tag in ("b", "a", "c"):
        make_older(lab_dir.images / "weather")
        store.publish("weather", tag, source, print)
    (lab_dir.images / "weather" / "half").mkdir()
    assert store.tags("weather") == ["b", "a", "c"]
    assert not list((lab_dir.images / "weather").glob(".building-*"))


@pytest.mark.parametrize("reference", ["lab/weather:none", "lab/nothing:abc", "python", "", "docker.io/weather:3"])
def test_unpublished_image_is_not_found(store: ImageStore, source: Path, reference: str) -> None:
    store.publish("weather", "abc", source, print)
    assert store.get(reference) is None


def test_publish_and_delete_are_idempotent(store: ImageStore, source: Path) -> None:
    store.publish("weather", "abc", source, print)
    store.publish("weather", "abc", source, print)
    assert store.tags("weather") == ["abc"]
    store.delete("weather")
    store.delete("weather")
    assert store.tags("weather") == []


def test_failed_publish_is_an_error_and_leaves_nothing(store: ImageStore, source: Path, lab_dir: LabDir) -> None:
    lab_dir.images.mkdir(parents=True)
    (lab_dir.images / "weather").write_text("a file where a folder must be")
    with pytest.raises(LabError, match="cannot be published") as caught:
        store.publish("weather", "abc", source, print)
    assert caught.value.where == str(source)
    (source / "Dockerfile").unlink()
    with pytest.raises(LabError, match="Dockerfile of a service can't be read"):
        store.publish("other", "abc", source, print)
    assert store.tags("other") == []


def test_each_task_has_a_writable_copy(store: ImageStore, source: Path, tmp_path: Path) -> None:
    store.publish("weather", "abc", source, print)
    image = store.get("lab/weather:abc")
    assert image is not None
    copy_for_task(image, tmp_path / "task")
    (tmp_path / "task" / "app" / "app.py").write_text("changed")
    assert sorted(path.name for path in (tmp_path / "task" / "app").iterdir()) == sorted(
        ["Dockerfile", "app.py", "run.sh", "link", "editor"]
    )
    assert (image.tree / "app" / "app.py").read_text() == "print('one')"


def test_missing_requirement_is_installed_once(lab_dir: LabDir, source: Path, tmp_path: Path) -> None:
    """Two services with the same requirements, published at the same time, share one environment."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "greeting"\nversion = "1"\n'
    )
    (package / "backend.py").write_text(BACKEND)
    (source / "requirements.txt").write_text(f"greeting @ {package.as_uri()}\n")
    images = LabImages("lab", lab_dir)
    publishing = [
        threading.Thread(target=images.publish, args=(name, "1", source, {}, print)) for name in ("one", "two")
    ]
    for thread in publishing:
        thread.start()
    for thread in publishing:
        thread.join(600)
    store = ImageStore(lab_dir)
    one, two = store.get("lab/one:1"), store.get("lab/two:1")
    assert one is not None
    assert two is not None
    assert one.programs == two.programs != Path(sys.executable).parent
    assert list(one.programs.parent.glob("lib/python*/site-packages/greeting.py"))
    assert (package / "builds").read_text() == "built\n"


def test_failed_installation_reports_pips_output(store: ImageStore, source: Path) -> None:
    (source / "requirements.txt").write_text("greeting @ file:///nowhere/greeting\n")
    with pytest.raises(LabError, match="cannot be installed") as caught:
        store.publish("weather", "abc", source, print)
    assert caught.value.where == str(source / "requirements.txt")
    assert "nowhere" in caught.value.why
    assert store.tags("weather") == []


# The smallest backend that builds a wheel without other packages.
BACKEND = """
import pathlib, zipfile

def build_wheel(folder, settings=None, metadata=None):
    with open("builds", "a") as builds:
        builds.write("built\\n")
    name = "greeting-1-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as wheel:
        wheel.writestr("greeting.py", "")
        wheel.writestr("greeting-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: greeting\\nVersion: 1\\n")
        wheel.writestr("greeting-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr("greeting-1.dist-info/RECORD", "")
    return name
"""
