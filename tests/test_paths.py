"""The paths of shipped files and of labs."""

import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from ecsconsul import paths
from ecsconsul.docker.build_context import files
from ecsconsul.region.runtimes.lab_dir import LabDir


def test_services_and_templates_exist():
    assert sorted(file.parent.name for file in paths.services_dir().glob("*/Dockerfile")) == [
        "portal",
        "stock-price",
        "weather",
    ]
    assert paths.templates_dir().is_dir()
    assert paths.templates_dir().is_absolute()


def test_region_log():
    assert paths.region_log("blue") == LabDir("blue").region_log


def test_registrator_image_contains_only_the_registrator():
    source = paths.registrator_source()
    found = {str(path.relative_to(source)) for path in files(source)}
    assert {name for name in found if not name.startswith("registrator/")} == {
        "Dockerfile",
        ".dockerignore",
        "__init__.py",
        "errors.py",
    }
    assert "registrator/__main__.py" in found


def test_lock_excludes_other_holders_until_it_is_closed(tmp_path):
    path = tmp_path / "new" / "lock"
    with paths.lock_file(path), pytest.raises(BlockingIOError):
        paths.lock_file(path)
    paths.lock_file(path).close()


def test_lock_on_a_removed_file_is_not_taken(tmp_path):
    """A holder that removes the file leaves waiters with a lock that excludes nobody."""
    path = tmp_path / "lock"
    with ThreadPoolExecutor(1) as pool:
        with paths.lock_file(path):
            waiting = pool.submit(paths.lock_file, path, blocking=True)
            await_opened_twice(path)
            path.unlink()
        with waiting.result(timeout=60), pytest.raises(BlockingIOError):
            paths.lock_file(path)


def await_opened_twice(path):
    end = time.monotonic() + 60
    while [file.path for file in psutil.Process().open_files()].count(str(path)) < 2:
        assert time.monotonic() < end
        time.sleep(0.01)
