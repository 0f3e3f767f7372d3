"""`ecsconsul import` as a user runs it: what it writes, what it says, and that it never writes by halves."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from ecsconsul.config.loader import load
from tests.cli.conftest import Shell

COMPOSE = """\
services:
  web:
    build: app
    ports: ["8089:80"]
    privileged: true
    environment: {DB_HOST: db, TOKEN: "${TOKEN}"}
  db:
    image: postgres:16
"""


@pytest.fixture
def empty(shell: Shell) -> Shell:
    """A folder with a compose file and no config."""
    (shell.folder / "config.yaml").unlink()
    (shell.folder / "compose.yml").write_text(COMPOSE)
    return shell


def test_the_compose_file_of_the_folder_becomes_a_config(empty: Shell) -> None:
    done = empty.run("import")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "2 services taken, into config.yaml: web, db",
        "1 field lost, with the reason in the config:",
        "  line 5: services.web.privileged",
        "Read its comments, then run: ecsconsul up",
    ]
    path = empty.folder / "config.yaml"
    lab = load(path)
    assert [one.name for one in lab.services] == ["web", "db"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(one.name for one in empty.folder.iterdir()) == ["app", "compose.yml", "config.yaml"]
    assert empty.run("plan").returncode == 0


def test_a_config_is_overwritten_only_by_force(empty: Shell) -> None:
    path = empty.folder / "config.yaml"
    path.write_text("mine")
    done = empty.run("import")
    assert done.returncode == 1 and "already exists" in done.stderr and "--force" in done.stderr
    assert path.read_text() == "mine"
    assert empty.run("import", "--force").returncode == 0
    assert path.read_text().startswith("# Imported from compose.yml")


def test_another_file_is_named_in_the_next_command(empty: Shell) -> None:
    (empty.folder / "sub").mkdir()
    done = empty.run("import", "compose.yml", "-o", "sub/lab.yaml")
    assert "ecsconsul up -c sub/lab.yaml" in done.stdout
    assert load(empty.folder / "sub" / "lab.yaml").services[0].path == str(empty.folder / "app")


def test_stdout_has_the_config_alone(empty: Shell) -> None:
    done = empty.run("import", "-o", "-")
    assert done.stdout.startswith("# Imported from") and done.stdout.endswith("\n")
    assert "2 services taken: web, db" in done.stderr
    assert not (empty.folder / "config.yaml").exists()


def test_json_names_what_was_lost(empty: Shell) -> None:
    document = empty.document("import")
    assert document["config"] == "config.yaml" and document["services"] == ["web", "db"]
    assert document["lost"] == [
        {
            "service": "web",
            "field": "services.web.privileged",
            "value": "true",
            "file": "compose.yml",
            "line": 5,
            "why": document["lost"][0]["why"],
        }
    ]


def test_variables_come_from_the_shell(empty: Shell) -> None:
    empty.environment = {"TOKEN": "hunter2"}
    done = empty.run("import")
    assert "hunter2" not in done.stdout + done.stderr
    assert load(empty.folder / "config.yaml").services[0].environment["TOKEN"] == "hunter2"


def test_task_definitions_of_several_files(empty: Shell) -> None:
    for name in ("one", "two"):
        definition = {"family": name, "containerDefinitions": [{"name": "c1", "image": "nginx"}]}
        (empty.folder / f"{name}.json").write_text(json.dumps({"taskDefinition": definition}, indent="\t"))
    done = empty.run("import", "one.json", "two.json")
    assert done.stdout.startswith("2 services taken, into config.yaml: one, two")
    mixed = empty.run("import", "one.json", "compose.yml", "--force")
    assert mixed.returncode == 2 and "into one config" in mixed.stderr


@pytest.mark.parametrize(
    ("words", "text", "code", "said"),
    [
        (("absent.yaml",), None, 1, "there is no such file"),
        ((".",), None, 1, "can't be read"),
        (("x.yaml",), "services:\n  - web\n", 1, "x.yaml:1"),
        (("x.yaml",), "services: {a: {image: a}\n", 1, "x.yaml:2"),
        (("x.json",), '{\n"family": }', 1, "x.json:2"),
        (("x.yaml",), "Resources: {}\n", 1, "neither a compose file nor a task definition"),
        (("x.yaml",), "just text\n", 1, "neither a compose file nor a task definition"),
        (("x.yaml",), "", 1, "the file is empty"),
        (("x.yaml", "--cluster", "c"), "services: {}", 2, "Either files or --cluster"),
        (("-o", "app"), None, 1, "to a folder"),
        (("-o", "no/config.yaml"), None, 1, "The folder doesn't exist"),
    ],
)
def test_bad_input_leaves_nothing(empty: Shell, words: tuple[str, ...], text: str | None, code: int, said: str) -> None:
    if text is not None:
        (empty.folder / words[0]).write_text(text)
    before = sorted(Path(empty.folder).rglob("*"))
    done = empty.run("import", *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert sorted(Path(empty.folder).rglob("*")) == before


def test_without_a_compose_file_it_says_what_it_looked_for(empty: Shell) -> None:
    (empty.folder / "compose.yml").unlink()
    done = empty.run("import")
    assert done.returncode == 2 and "docker-compose.yml" in done.stderr


def test_a_named_file_that_never_ends_is_not_read(empty: Shell) -> None:
    os.mkfifo(empty.folder / "pipe")
    (empty.folder / "compose.yml").write_text("services:\n  web:\n    image: nginx\n    env_file: pipe\n")
    found = empty.run("import")
    assert found.returncode == 1
    assert "isn't a regular file" in found.stderr


def test_a_name_with_a_null_byte_is_no_bug(empty: Shell) -> None:
    (empty.folder / "compose.yml").write_text('services:\n  web:\n    image: nginx\n    env_file: "a\\0b"\n')
    found = empty.run("import")
    assert found.returncode == 1
    assert "Unexpected" not in found.stderr
