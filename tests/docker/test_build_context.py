"""What an image is made of: which files, their hash, and what the Dockerfile says of how it runs."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecsconsul.docker.build_context import Dockerfile, base_images, files, read_dockerfile, source_hash
from ecsconsul.errors import LabError


def write(folder: Path, **contents: str) -> Path:
    """Files by name; two underscores stand for a slash, one for a dot."""
    for name, content in contents.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def dockerfile(folder: Path, *lines: str) -> Dockerfile:
    (folder / "Dockerfile").write_text("\n".join(lines) + "\n")
    return read_dockerfile(folder)


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in files(folder)]


# files and their hash


def test_the_files_are_all_but_what_tools_leave_behind(tmp_path: Path) -> None:
    write(tmp_path, app_py="", static__page_html="")
    for noise in ("__pycache__/app.cpython-311.pyc", "old.pyc", ".git/HEAD", ".venv/bin/python", ".DS_Store"):
        (tmp_path / noise).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / noise).write_text("")
    assert names(tmp_path) == ["app.py", "static/page.html"]


def test_what_dockerignore_names_is_no_part_of_it(tmp_path: Path) -> None:
    write(tmp_path, app_py="", Dockerfile="FROM x", notes__a_md="", notes__keep_md="", secret_txt="")
    (tmp_path / ".dockerignore").write_text("# not these\n\nnotes\n!notes/keep.md\n  secret.txt  \nDockerfile\n")
    assert names(tmp_path) == [".dockerignore", "Dockerfile", "app.py", "notes/keep.md"]


def test_the_hash_is_twelve_digits_and_the_same_anywhere_and_any_time(tmp_path: Path) -> None:
    one, two = (write(tmp_path / name, app_py="x = 1", lib__a_py="") for name in ("one", "two"))
    os.utime(two / "app.py", (1, 1))
    assert re.fullmatch("[0-9a-f]{12}", source_hash(one))
    assert source_hash(one) == source_hash(two)


def test_every_edit_is_another_hash(tmp_path: Path) -> None:
    """Content, name, place, executable bit, a file more, a link's target, a build argument."""
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
def test_two_sources_have_one_hash_only_when_they_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, one: dict[str, bytes], two: dict[str, bytes]
) -> None:
    hashes = []
    for contents in (one, two):
        folder = tmp_path_factory.mktemp("source")
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        hashes.append(source_hash(folder))
    assert (hashes[0] == hashes[1]) == (one == two)


def test_a_link_to_nowhere_as_an_editor_leaves_it_is_no_obstacle(tmp_path: Path) -> None:
    write(tmp_path, app_py="")
    (tmp_path / ".#app.py").symlink_to("user@host.123:456")
    assert names(tmp_path) == [".#app.py", "app.py"]
    assert source_hash(tmp_path)


def test_a_link_to_a_folder_is_a_link_and_not_followed(tmp_path: Path) -> None:
    write(tmp_path, src__a_py="")
    (tmp_path / "loop").symlink_to(".")
    assert names(tmp_path) == ["loop", "src/a.py"]
    (tmp_path / ".dockerignore").write_text("nothing\n")
    assert names(tmp_path) == [".dockerignore", "loop", "src/a.py"]


def test_a_pipe_is_left_out_and_not_waited_for(tmp_path: Path) -> None:
    write(tmp_path, app_py="")
    os.mkfifo(tmp_path / "pipe")
    assert names(tmp_path) == ["app.py"]
    (tmp_path / ".dockerignore").write_text("nothing\n")
    assert names(tmp_path) == [".dockerignore", "app.py"]


def test_a_name_that_is_no_text_is_a_name_all_the_same(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/\xff.bin", "wb"):  # noqa: PTH123
        pass
    assert re.fullmatch("[0-9a-f]{12}", source_hash(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write(tmp_path, app_py="")
    (tmp_path / "app.py").chmod(0)
    with pytest.raises(LabError) as caught:
        source_hash(tmp_path)
    assert caught.value.where == str(tmp_path / "app.py")
    assert caught.value.why == "Permission denied"


# the Dockerfile


def test_how_an_image_runs(tmp_path: Path) -> None:
    found = dockerfile(
        tmp_path,
        "ARG BASE=python:3.12-slim",
        "FROM ${BASE}",
        "ENV PORT=4567 GREETING='good day'",
        "env LEGACY form",
        "WORKDIR /srv",
        "WORKDIR app",
        "COPY --chown=app:app . .",
        'ENTRYPOINT ["python", "-m"]',
        'CMD ["gunicorn", \\',
        '     "app:app"]',
    )
    assert found == Dockerfile(
        {"PORT": "4567", "GREETING": "good day", "LEGACY": "form"},
        "/srv/app",
        "/srv/app",
        ("python", "-m"),
        ("gunicorn", "app:app"),
    )


def test_only_the_last_stage_counts(tmp_path: Path) -> None:
    found = dockerfile(
        tmp_path,
        "FROM node AS page",
        "WORKDIR /page",
        "ENV NODE=1",
        'CMD ["npm", "start"]',
        "FROM python",
        "COPY --from=page /page/out static",
        "COPY . /opt/app/",
        'CMD ["python", "/opt/app/main.py"]',
    )
    assert found == Dockerfile({}, "/", "/opt/app", (), ("python", "/opt/app/main.py"))


def test_a_stage_inherits_from_the_stage_that_it_builds_upon(tmp_path: Path) -> None:
    found = dockerfile(
        tmp_path,
        "FROM python AS base",
        "WORKDIR /app",
        "ENV A=1",
        "COPY . .",
        "FROM base AS test",
        'CMD ["pytest"]',
        "FROM base AS final",
        "ENV B=2",
        'CMD ["python", "main.py"]',
    )
    assert found == Dockerfile({"A": "1", "B": "2"}, "/app", "/app", (), ("python", "main.py"))


def test_the_last_command_wins(tmp_path: Path) -> None:
    assert dockerfile(tmp_path, "FROM x", 'CMD ["one"]', 'CMD ["two"]').command == ("two",)


@pytest.mark.parametrize(
    ("lines", "where", "what"),
    [
        (["FROM x", "", "CMD python app.py"], ":3", "CMD is not in the JSON form"),
        (["FROM x", "ENTRYPOINT ['python']"], ":2", "ENTRYPOINT is not in the JSON form"),
        (["FROM x", 'CMD {"a": 1}'], ":2", "CMD is not in the JSON form"),
        (["FROM x", "CMD [1]"], ":2", "CMD is not in the JSON form"),
        (["FROM x", "RUN make"], "", "A Dockerfile does not say what to run"),
    ],
)
def test_what_does_not_say_how_to_run_is_refused_with_its_line(
    tmp_path: Path, lines: list[str], where: str, what: str
) -> None:
    with pytest.raises(LabError) as caught:
        dockerfile(tmp_path, *lines)
    assert caught.value.what == what
    assert caught.value.where == f"{tmp_path / 'Dockerfile'}{where}"
    assert caught.value.hint


def test_no_dockerfile_is_said(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no Dockerfile that can be read") as caught:
        read_dockerfile(tmp_path)
    assert caught.value.where == str(tmp_path / "Dockerfile")


def test_the_bases_are_the_images_and_not_the_stages(tmp_path: Path) -> None:
    write(
        tmp_path,
        Dockerfile="ARG BASE=python:3\nFROM node AS page\nFROM ${BASE} AS one\nFROM one\nFROM scratch\n",
    )
    assert base_images(tmp_path, {}) == ("node", "python:3")
    assert base_images(tmp_path, {"BASE": "python:3.12-slim"}) == ("node", "python:3.12-slim")
