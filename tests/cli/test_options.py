"""The common options in any position, help, wrong usage, and closed or colorless output."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from ecsconsul import __version__
from ecsconsul.cli.app import VERBS, cli
from tests.cli.conftest import Shell

ESCAPE = "\x1b"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which is empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (["init"], "config.yaml"),
        (["-c", "a.yaml", "init"], "a.yaml"),
        (["init", "-c", "a.yaml"], "a.yaml"),
        (["init", "--config", "a.yaml"], "a.yaml"),
        (["--config=a.yaml", "init"], "a.yaml"),
        (["-c", "a.yaml", "init", "-c", "b.yaml"], "b.yaml"),
    ],
)
def test_options_before_or_after_the_verb(folder: Path, words: list[str], written: str) -> None:
    result = CliRunner().invoke(cli, words, standalone_mode=False)
    assert result.exception is None
    assert [path.name for path in folder.iterdir()] == [written]


def test_init_as_json(folder: Path) -> None:
    assert json.loads(CliRunner().invoke(cli, ["--output", "json", "init"]).stdout) == {"config": "config.yaml"}
    assert (folder / "config.yaml").exists()


def test_init_never_overwrites(shell: Shell) -> None:
    before = (shell.folder / "config.yaml").read_text()
    done = shell.run("init")
    assert done.returncode == 1
    assert "already exists" in done.stderr
    assert (shell.folder / "config.yaml").read_text() == before


def test_init_in_an_unwritable_place(shell: Shell) -> None:
    done = shell.run("init", "-c", "no-such-folder/config.yaml")
    assert done.returncode == 1
    assert "hint:  mkdir -p no-such-folder" in done.stderr
    assert shell.run("init", "-c", "/proc/config.yaml").returncode == 1
    done = shell.run("init", "-c", "app")
    assert done.returncode == 1
    assert "hint:  -c app/config.yaml" in done.stderr


def test_init_shows_the_next_command(shell: Shell) -> None:
    assert shell.run("init", "-c", "other.yaml").stdout.endswith("then run: ecsconsul up --config other.yaml\n")


# --- help and wrong usage


def test_help_lists_every_verb() -> None:
    text = CliRunner().invoke(cli, ["--help"]).stdout
    for verb, what in VERBS.items():
        assert verb in text
        assert what.split(",")[0][:30] in text


# the Registrator parses its options itself
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "registrator"])
def test_verbs_have_help_and_common_options(verb: str) -> None:
    result = CliRunner().invoke(cli, [verb, "-h"])
    assert result.exit_code == 0
    for option in ("--config", "--target", "--output", "--profile", "--region", "--debug", "--no-color"):
        assert option in result.stdout


def test_version() -> None:
    assert __version__ in CliRunner().invoke(cli, ["--version"]).stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stauts"], "Did you mean 'status'?"),
        (["dwon"], "Did you mean 'down'?"),
        (["xyz"], "No such command 'xyz'"),
        (["status", "--output", "yaml"], "yaml"),
        (["status", "--target", "mars"], "mars"),
        (["dig"], "NAME"),
        (["dig", "a", "b"], "one name"),
        (["logs"], "SERVICE"),
        (["logs", "wether"], "weather, portal"),
        (["scale", "wether=2"], "weather, portal"),
        (["scale", "weather"], "weather=3"),
        (["scale", "weather=-1"], "weather=3"),
        (["scale", "weather=many"], "weather=3"),
        (["scale", "weather=" + "9" * 5000], "weather=3"),
        (["scale", "weather=1", "weather=2"], "weather is given twice"),
        (["status", "--no-such-option"], "--no-such-option"),
    ],
)
def test_wrong_usage(shell: Shell, words: list[str], said: str) -> None:
    done = shell.run(*words)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_scale_respects_host_ports(shell: Shell) -> None:
    config = shell.folder / "config.yaml"
    config.write_text(config.read_text().replace("    check: /health\n", "    host_port: 8080\n"))
    done = shell.run("scale", "portal=2")
    assert done.returncode == 2
    assert "portal=2 is too many" in done.stderr
    assert "port 8080, and instances is 1" in done.stderr


def test_scale_refuses_daemons(shell: Shell) -> None:
    config = shell.folder / "config.yaml"
    config.write_text(config.read_text().replace("    check: /health\n", "    schedule: daemon\n"))
    done = shell.run("scale", "portal=2")
    assert done.returncode == 2
    assert "portal can't be scaled" in done.stderr
    assert "one task on each ECS instance" in done.stderr


def test_without_a_verb_shows_help(shell: Shell) -> None:
    done = shell.run()
    assert done.returncode == 2
    assert "Commands" in done.stdout + done.stderr


# --- the config


def test_missing_config(shell: Shell) -> None:
    done = shell.run("plan", "-c", "nope.yaml")
    assert done.returncode == 3
    assert "nope.yaml" in done.stderr
    assert "ecsconsul init" in done.stderr


def test_config_mistakes_are_listed_with_their_lines(shell: Shell) -> None:
    (shell.folder / "config.yaml").write_text(
        "lab: X\ninstances: many\nservices:\n  weather:\n    path: app\n    prot: 1\n"
    )
    done = shell.run("up")
    assert done.returncode == 3
    assert done.stdout == ""
    for line in ("config.yaml:1", "config.yaml:2", "config.yaml:6"):
        assert line in done.stderr
    assert "port" in done.stderr


def test_deprecated_keys_cause_one_warning_on_stderr(shell: Shell) -> None:
    config = shell.folder / "config.yaml"
    config.write_text("registry: repo\nregistrator: {image: r:1}\n" + config.read_text())
    done = shell.run("plan", "--output", "json")
    assert json.loads(done.stdout)["lab"] == "cli-lab"
    moves = "move registry to aws.registry, registrator to aws.registrator"
    assert done.stderr == f"Warning: config.yaml:1: deprecated: {moves}\n"


# --- output


@pytest.mark.parametrize("words", [("plan",), ("plan", "--no-color"), ("status",), ("up", "-c", "nope.yaml")])
def test_pipe_gets_no_escape_codes(shell: Shell, words: tuple[str, ...]) -> None:
    done = shell.run(*words)
    assert done.stdout + done.stderr != ""
    assert ESCAPE not in done.stdout + done.stderr


def test_error_is_one_block_on_stderr(shell: Shell) -> None:
    done = shell.run_apart("scale", "weather=2")
    assert done.returncode == 1
    assert done.stdout == ""
    first, *rest = done.stderr.splitlines()
    assert first.startswith("Error: The lab cli-lab is not running")
    assert all(line.startswith("  ") for line in rest)
    assert any(line.split() == ["hint:", "`ecsconsul", "up`", "starts", "it"] for line in rest)


@pytest.mark.parametrize("words", [("--debug", "scale", "weather=2"), ("scale", "weather=2", "--debug")])
def test_debug_shows_the_traceback(shell: Shell, words: tuple[str, ...]) -> None:
    done = shell.run_apart(*words)
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert "Error: The lab cli-lab is not running" in done.stderr


@pytest.mark.parametrize("words", [("plan",), ("plan", "--output", "json"), ("status",), ("env", "--help")])
def test_closed_pipe_exits_silently(shell: Shell, words: tuple[str, ...]) -> None:
    """Like `ecsconsul status | head -1`."""
    ours, theirs = os.pipe()
    os.close(ours)
    done = shell.run_apart(*words, stdout=theirs)
    os.close(theirs)
    assert done.stderr == ""
    assert done.returncode == 1


def test_closed_pipe_for_progress(shell: Shell) -> None:
    """Like `ecsconsul down --yes 2>&1 | head -1`."""
    ours, theirs = os.pipe()
    os.close(ours)
    done = shell.run_apart("down", "--yes", stdout=theirs, stderr=subprocess.STDOUT)
    os.close(theirs)
    assert done.returncode in (0, 1)
