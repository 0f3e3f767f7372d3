"""Dockerfiles: how an image runs, and which images it builds upon."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecsconsul.docker.dockerfile import Dockerfile, base_images, read_dockerfile
from ecsconsul.errors import LabError


def dockerfile(folder: Path, *lines: str) -> Dockerfile:
    (folder / "Dockerfile").write_text("\n".join(lines) + "\n")
    return read_dockerfile(folder)


def test_last_stage_says_how_the_image_runs(tmp_path: Path) -> None:
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


def test_other_stages_are_ignored(tmp_path: Path) -> None:
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


def test_stage_inherits_from_its_base_stage(tmp_path: Path) -> None:
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


def test_last_cmd_wins(tmp_path: Path) -> None:
    assert dockerfile(tmp_path, "FROM x", 'CMD ["one"]', 'CMD ["two"]').command == ("two",)


@pytest.mark.parametrize(
    ("lines", "where", "what"),
    [
        (["FROM x", "", "CMD python app.py"], ":3", "CMD is not in the exec (JSON) form"),
        (["FROM x", "ENTRYPOINT ['python']"], ":2", "ENTRYPOINT is not in the exec (JSON) form"),
        (["FROM x", 'CMD {"a": 1}'], ":2", "CMD is not in the exec (JSON) form"),
        (["FROM x", "CMD [1]"], ":2", "CMD is not in the exec (JSON) form"),
        (["FROM x", "RUN make"], "", "The Dockerfile doesn't say what to run"),
    ],
)
def test_unusable_command_is_refused_with_its_line(tmp_path: Path, lines: list[str], where: str, what: str) -> None:
    with pytest.raises(LabError) as caught:
        dockerfile(tmp_path, *lines)
    assert caught.value.what == what
    assert caught.value.where == f"{tmp_path / 'Dockerfile'}{where}"
    assert caught.value.hint


def test_missing_dockerfile_is_reported(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="Dockerfile of a service can't be read") as caught:
        read_dockerfile(tmp_path)
    assert caught.value.where == str(tmp_path / "Dockerfile")


def test_base_images_leave_out_stages_and_scratch(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        "ARG BASE=python:3\nFROM node AS page\nFROM ${BASE} AS one\nFROM one\nFROM scratch\n"
    )
    assert base_images(tmp_path, {}) == ("node", "python:3")
    assert base_images(tmp_path, {"BASE": "python:3.12-slim"}) == ("node", "python:3.12-slim")
