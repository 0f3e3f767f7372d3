"""In a GitHub workflow, errors and warnings stand at their lines."""

from __future__ import annotations

from dataclasses import replace

from ecsconsul.cli.annotations import commands_for
from ecsconsul.errors import LabError
from tests.cli.conftest import Shell


def in_a_workflow(shell: Shell) -> Shell:
    return replace(shell, environment={"GITHUB_ACTIONS": "true"})


def test_each_mistake_of_the_config_stands_at_its_line(shell: Shell) -> None:
    (shell.folder / "config.yaml").write_text("lab: x y\nservices:\n  web:\n    path: app\n    count: many, or 1%\n")
    said = in_a_workflow(shell).run("plan").stderr.splitlines()
    found = [line for line in said if line.startswith("::error ")]
    assert [line.split("::")[1].split(",")[1:] for line in found] == [
        ["file=config.yaml", "line=1"],
        ["file=config.yaml", "line=5"],
    ]
    assert "1%25" in found[1]
    assert not [line for line in shell.run("plan").stderr.splitlines() if line.startswith("::")]


def test_any_error_is_one_annotation() -> None:
    error = LabError("It failed: a, b", where="step x", why="first\nsecond", hint="fix it")
    assert list(commands_for(error)) == ["::error title=It failed%3A a%2C b::step x%0Afirst%0Asecond%0Afix it"]
