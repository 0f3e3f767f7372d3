"""How an image runs, and which images it builds upon."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecsconsul.docker.dockerfile import base_images, image_config
from ecsconsul.docker.stages import ImageConfig
from ecsconsul.errors import LabError


def config(folder: Path, *lines: str) -> ImageConfig:
    (folder / "Dockerfile").write_text("\n".join(lines) + "\n")
    return image_config(folder)


def test_last_stage_says_how_the_image_runs(tmp_path: Path) -> None:
    found = config(
        tmp_path,
        "ARG BASE=python:3.12-slim",
        "FROM ${BASE}",
        "ENV PORT=4567 GREETING='good day'",
        "env LEGACY form of old",
        "LABEL team=shop",
        "WORKDIR /srv",
        "WORKDIR app",
        "COPY --chown=app:app . .",
        "USER app",
        "EXPOSE 4567 53/udp",
        "STOPSIGNAL SIGINT",
        "HEALTHCHECK --interval=5s CMD curl -f http://localhost/ || exit 1",
        'ENTRYPOINT ["python", "-m"]',
        'CMD ["gunicorn", \\',
        '     "app:app"]',
    )
    assert found == ImageConfig(
        environment={"PORT": "4567", "GREETING": "good day", "LEGACY": "form of old"},
        workdir="/srv/app",
        entrypoint=("python", "-m"),
        command=("gunicorn", "app:app"),
        user="app",
        ports=("4567", "53/udp"),
        labels={"team": "shop"},
        health_check=("CMD-SHELL", "curl -f http://localhost/ || exit 1"),
        stop_signal="SIGINT",
    )


def test_stage_inherits_from_its_base_stage_alone(tmp_path: Path) -> None:
    found = config(
        tmp_path,
        "FROM node AS page",
        "ENV NODE=1",
        "FROM python AS Base",
        "WORKDIR /app",
        "ENV A=1",
        "FROM base AS test",
        'CMD ["pytest"]',
        "FROM base",
        "ENV B=2",
        'CMD ["python", "main.py"]',
    )
    assert (found.environment, found.workdir) == ({"A": "1", "B": "2"}, "/app")
    assert found.command == ("python", "main.py")


def test_entry_point_clears_the_command_of_an_earlier_stage_only(tmp_path: Path) -> None:
    base = ("FROM x AS base", 'CMD ["--leaked"]')
    assert config(tmp_path, *base, "FROM base", 'ENTRYPOINT ["run"]').command == ()
    assert config(tmp_path, *base, "FROM base", 'CMD ["own"]', 'ENTRYPOINT ["run"]').command == ("own",)
    assert config(tmp_path, "FROM x", 'ENTRYPOINT ["run"]', 'CMD ["own"]').command == ("own",)


def test_variables_come_from_arguments_and_the_environment(tmp_path: Path) -> None:
    found = config(
        tmp_path,
        "ARG GLOBAL=g",
        "FROM x",
        "ARG GLOBAL",
        "ARG OWN=o",
        "ENV ALL=$GLOBAL$OWN$NONE OWN=e",
        "ENV AFTER=$OWN SAME=$ALL",
        "WORKDIR /$OWN",
        "CMD echo $OWN",
    )
    assert found.environment == {"ALL": "go", "OWN": "e", "AFTER": "e", "SAME": "go"}
    # a command is substituted by its shell, when it runs
    assert (found.workdir, found.command) == ("/e", ("/bin/sh", "-c", "exec echo $OWN"))


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("CMD python app.py", ("/bin/sh", "-c", "exec python app.py")),
        ("CMD exec python app.py", ("/bin/sh", "-c", "exec python app.py")),
        ("CMD A=1 python app.py", ("/bin/sh", "-c", "A=1 python app.py")),
        ("CMD migrate && python app.py", ("/bin/sh", "-c", "migrate && python app.py")),
        ("CMD cd x; ./run", ("/bin/sh", "-c", "cd x; ./run")),
        ("CMD ['python']", ("/bin/sh", "-c", "exec ['python']")),
        ('SHELL ["/bin/bash", "-ec"]\nCMD python app.py', ("/bin/bash", "-ec", "python app.py")),
    ],
)
def test_shell_form_runs_in_the_shell_and_leaves_signals_to_the_program(
    tmp_path: Path, line: str, command: tuple[str, ...]
) -> None:
    assert config(tmp_path, "FROM x", line).command == command


@pytest.mark.parametrize(
    ("lines", "where", "why"),
    [
        (["CMD run"], ":1", "CMD comes before the first FROM"),
        (["FROM x", "", "JUMP y"], ":3", "JUMP is no instruction"),
        (["FROM x", "ENV A=${B", "CMD run"], ":2", "a modifier that Docker doesn't know"),
        (["FROM x", "COPY x", "CMD run"], ":2", "COPY takes sources and a destination"),
        (["FROM x", "COPY --chmod=rwx x y", "CMD run"], ":2", "--chmod=rwx is no octal number"),
        (["FROM x y", "CMD run"], ":1", "FROM takes an image"),
        (["FROM x", "SHELL bash", "CMD run"], ":2", "SHELL takes a JSON list"),
        (["FROM x", "RUN make"], "", "neither ENTRYPOINT nor CMD"),
        (["# nothing"], "", "no stage begins"),
    ],
)
def test_mistake_is_reported_with_its_line(tmp_path: Path, lines: list[str], where: str, why: str) -> None:
    with pytest.raises(LabError) as caught:
        config(tmp_path, *lines)
    assert caught.value.where == f"{tmp_path / 'Dockerfile'}{where}"
    assert why in caught.value.why


def test_base_images_leave_out_stages_and_scratch(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        "ARG BASE=python:3\nFROM node AS page\nFROM ${BASE} AS one\nCOPY --from=busybox /x /x\nFROM one\nFROM scratch\n"
    )
    assert base_images(tmp_path, {}) == ("node", "python:3", "busybox")
    assert base_images(tmp_path, {"BASE": "python:3.12-slim"}) == ("node", "python:3.12-slim", "busybox")
