"""What an image was built from, and how its label keeps that."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

import pytest

from ecsconsul.docker.build_context import source_hash
from ecsconsul.docker.source_files import FILES_LABEL, LABEL_LENGTH, files_label, read_label, source_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text("print()")
    (tmp_path / "run.sh").write_text("#!/bin/sh")
    (tmp_path / "run.sh").chmod(0o755)
    (tmp_path / "link").symlink_to("app.py")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.py").write_text("")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("")
    return tmp_path


def test_lists_what_the_hash_covers(folder: Path) -> None:
    found = source_files(folder, {"BASE": "python:3.12"})
    assert found.keys() == {
        "build-args/BASE", "files/app.py", "files/run.sh", "files/link", "files/lib/a.py",
    }  # fmt: skip
    assert found["build-args/BASE"] == "python:3.12"
    assert found["files/link"] == "link to app.py"
    assert found["files/run.sh"].endswith(" executable")


@pytest.mark.parametrize("change", ["content", "mode", "new", "gone", "link"])
def test_differs_exactly_when_the_hash_does(folder: Path, change: str) -> None:
    before, tag = source_files(folder), source_hash(folder)
    path = {"new": "new.py", "link": "link"}.get(change, "app.py")
    if change in ("content", "new"):
        (folder / path).write_text("x")
    elif change == "mode":
        (folder / path).chmod(0o755)
    else:
        (folder / path).unlink()
        if change == "link":
            (folder / path).symlink_to("run.sh")
    after = source_files(folder)
    assert source_hash(folder) != tag
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} == {f"files/{path}"}


def test_a_label_keeps_the_files(folder: Path) -> None:
    found = source_files(folder)
    assert read_label(files_label(found)) == found


def test_too_many_files_have_no_label() -> None:
    found = {f"files/{number}": base64.b64encode(number.to_bytes(9, "big")).decode() * 3 for number in range(20_000)}
    assert files_label(found) == {}
    some = {f"files/src/module_{number}.py": f"{number * 7919 % 2**48:012x}" for number in range(600)}
    assert len(files_label(some)[FILES_LABEL]) <= LABEL_LENGTH


@pytest.mark.parametrize(
    "labels", [None, {}, {FILES_LABEL: "no base64!"}, {FILES_LABEL: "aGVsbG8="},
               {FILES_LABEL: base64.b64encode(zlib.compress(b"[1]")).decode()},
               {FILES_LABEL: base64.b64encode(zlib.compress(b" " * 50_000_000)).decode()}],
)  # fmt: skip
def test_a_label_that_cannot_be_read_says_nothing(labels: dict[str, str] | None) -> None:
    assert read_label(labels) is None
