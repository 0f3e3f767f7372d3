"""Build contexts: which files belong to them, and their hash."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecsconsul.docker.build_context import files, source_hash
from ecsconsul.errors import LabError


def write(folder: Path, **contents: str) -> Path:
    """Write files by name; two underscores stand for a slash, one for a dot."""
    for name, content in contents.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in files(folder)]


def test_files_of_tools_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, app_py="", static__page_html="")
    for noise in ("__pycache__/app.cpython-311.pyc", "old.pyc", ".git/HEAD", ".venv/bin/python", ".DS_Store"):
        (tmp_path / noise).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / noise).write_text("")
    assert names(tmp_path) == ["app.py", "static/page.html"]


def test_dockerignore_excludes_files(tmp_path: Path) -> None:
    write(tmp_path, app_py="", Dockerfile="FROM x", notes__a_md="", notes__keep_md="", secret_txt="")
    (tmp_path / ".dockerignore").write_text("# not these\n\nnotes\n!notes/keep.md\n  secret.txt  \nDockerfile\n")
    assert names(tmp_path) == [".dockerignore", "Dockerfile", "app.py", "notes/keep.md"]


def test_hash_does_not_depend_on_place_or_time(tmp_path: Path) -> None:
    one, two = (write(tmp_path / name, app_py="x = 1", lib__a_py="") for name in ("one", "two"))
    os.utime(two / "app.py", (1, 1))
    assert re.fullmatch("[0-9a-f]{12}", source_hash(one))
    assert source_hash(one) == source_hash(two)


def test_every_change_changes_the_hash(tmp_path: Path) -> None:
    """Content, executable bit, name, a new file, a link and its target, a build argument."""
    write(tmp_path, app_py="x = 1", b_py="")
    seen = {source_hash(tmp_path), source_hash(tmp_path, {"A": "1"}), source_hash(tmp_path, {"A": "2"})}
    (tmp_path / "app.py").write_text("x = 2")
    seen.add(source_hash(tmp_path))
    (tmp_path / "app.py").chmod(0o755)
    seen.add(source_hash(tmp_path))
    (tmp_path / "b.py").rename(tmp_path / "c.py")
    seen.add(source_hash(tmp_path))
    write(tmp_path, empty_txt="")
    seen.add(source_hash(tmp_path))
    (tmp_path / "link").symlink_to("app.py")
    seen.add(source_hash(tmp_path))
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("c.py")
    seen.add(source_hash(tmp_path))
    assert len(seen) == 9


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    one=st.dictionaries(st.sampled_from(["a", "b", "ab"]), st.binary(max_size=3)),
    two=st.dictionaries(st.sampled_from(["a", "b", "ab"]), st.binary(max_size=3)),
)
def test_only_equal_sources_have_equal_hashes(
    tmp_path_factory: pytest.TempPathFactory, one: dict[str, bytes], two: dict[str, bytes]
) -> None:
    hashes = []
    for contents in (one, two):
        folder = tmp_path_factory.mktemp("source")
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        hashes.append(source_hash(folder))
    assert (hashes[0] == hashes[1]) == (one == two)


def test_dangling_link_of_an_editor_is_accepted(tmp_path: Path) -> None:
    write(tmp_path, app_py="")
    (tmp_path / ".#app.py").symlink_to("user@host.123:456")
    assert names(tmp_path) == [".#app.py", "app.py"]
    assert source_hash(tmp_path)


def test_link_to_a_folder_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path, src__a_py="")
    (tmp_path / "loop").symlink_to(".")
    assert names(tmp_path) == ["loop", "src/a.py"]
    (tmp_path / ".dockerignore").write_text("nothing\n")
    assert names(tmp_path) == [".dockerignore", "loop", "src/a.py"]


def test_pipe_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, app_py="")
    os.mkfifo(tmp_path / "pipe")
    assert names(tmp_path) == ["app.py"]
    (tmp_path / ".dockerignore").write_text("nothing\n")
    assert names(tmp_path) == [".dockerignore", "app.py"]


def test_name_that_is_not_utf8_is_accepted(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/\xff.bin", "wb"):  # noqa: PTH123
        pass
    assert re.fullmatch("[0-9a-f]{12}", source_hash(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, app_py="")
    (tmp_path / "app.py").chmod(0)
    with pytest.raises(LabError) as caught:
        source_hash(tmp_path)
    assert caught.value.where == str(tmp_path / "app.py")
    assert caught.value.why == "Permission denied"
