"""`ecsconsul run`: what it asks of ECS, and how it ends."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Running


@pytest.fixture
def up(running: Running) -> Running:
    """The lab after `ecsconsul up`."""
    done = running.run("up")
    assert done.returncode == 0, done.stderr
    return running


def test_detached_task_gets_command_and_variables(up: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    done = up.run("run", "--detach", "--env", "A=1", "-e", "PATH", "weather", "migrate", "--all")
    assert done.returncode == 0, done.stderr
    task = up.world.ecs.task("cli-lab", done.stdout.strip())
    assert task is not None
    (override,) = task.overrides["containerOverrides"]
    variables = {one["name"]: one["value"] for one in override["environment"]}
    assert override["command"] == ["migrate", "--all"]
    assert variables.keys() == {"SERVICE_IGNORE", "SERVICE_4567_IGNORE", "A", "PATH"}
    document = json.loads(up.run("run", "-d", "--output", "json", "weather").stdout)
    assert document.keys() == {"lab", "target", "service", "container", "task", "definition", "detached"}
    assert "no terminal" in up.run("run", "-d", "weather", "--", "/bin/sh").stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("wether",), "The lab has no service wether"),
        (("--container", "x", "weather"), "has no container x"),
        (("--timeout", "soon", "weather"), "isn't a duration"),
        (("--env", "=1", "weather"), "A variable must be NAME=VALUE"),
        (("--env", "NO_SUCH_VARIABLE_HERE", "weather"), "This shell has no variable NO_SUCH_VARIABLE_HERE"),
    ],
)
def test_wrong_usage(up: Running, words: tuple[str, ...], text: str) -> None:
    done = up.run("run", *words)
    assert done.returncode == 2
    assert text in done.stderr
