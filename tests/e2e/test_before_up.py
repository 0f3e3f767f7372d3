"""Before anything runs: init, plan, and mistakes that are reported before anything starts."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from tests.e2e.lab import OWN_SERVICE, Lab, free_port, mistakes, write

SERVICES = ("stock-price", "weather", "portal")
ONE = "lab: {name}\nservices:\n  greeter:\n    path: greeter\n    host_port: {port}\n    check: /health\n"


def one_service(lab: Lab, files: dict[str, str] = OWN_SERVICE, port: int | None = None) -> None:
    """A lab with one service of the user's own."""
    write(lab.folder / "greeter", files)
    lab.config.write_text(ONE.format(name=lab.name, port=port or free_port()))


def refused(lab: Lab, code: int = 1) -> str:
    """The error of an `up` that refuses to start; checks that nothing runs and that there is no traceback."""
    result = lab.run("up")
    assert result.code == code, result.err
    assert result.out == ""
    assert "Traceback" not in result.err
    # Only an empty lock file may be left.
    assert [path for path in lab.state_dir.rglob("*") if path.is_file() and path.stat().st_size] == []
    assert lab.processes() == []
    return result.err


def test_init_writes_a_config_once(fresh: Lab) -> None:
    assert "config.yaml" in fresh.ok("init").out
    text = fresh.config.read_text()
    again = fresh.run("init")
    assert again.code == 1
    assert "config.yaml" in again.err
    assert fresh.config.read_text() == text
    steps = fresh.ok("plan", "--output", "json").document["steps"]
    assert {f"services/{name}" for name in SERVICES} <= {step["name"] for step in steps}
    assert text.count("    count: 1") == 3


def test_init_writes_the_built_in_lab(fresh: Lab) -> None:
    before = fresh.ok("plan", "--output", "json").document
    fresh.ok("init")
    after = fresh.ok("plan", "--output", "json").document
    assert {**before, "seconds": 0} == {**after, "seconds": 0}


def test_plan_changes_nothing(fresh: Lab) -> None:
    plan = fresh.run("plan", "--exit-code", "--output", "json")
    assert plan.code == 5
    document = plan.document
    assert set(document) >= {"lab", "target", "seconds", "changes", "steps"}
    assert document["target"] == "local"
    assert document["changes"] == {"created": len(document["steps"]), "updated": 0, "kept": 0, "destroyed": 0}
    assert {step["op"] for step in document["steps"]} == {"create"}
    assert not fresh.state_dir.exists()
    assert fresh.processes() == []


def test_commands_without_a_lab(fresh: Lab) -> None:
    status = fresh.run("status", "--output", "json")
    assert status.code == 4
    assert status.document["healthy"] is False
    for words in (["dig", "weather"], ["env"], ["scale", "weather=2"]):
        result = fresh.run(*words)
        assert result.code == 1, words
        assert "ecsconsul up" in result.err, words
        assert result.out == "", words
    down = fresh.down()
    assert down["left"] == []
    assert down["changes"]["destroyed"] == 0


@pytest.mark.parametrize(
    "words",
    [["upp"], ["up", "--nonsense"], ["dig"], ["dig", "a", "b"], ["scale", "weather"], ["scale", "nobody=1"],
     ["logs", "nobody"], ["--target", "moon", "up"], ["dig", "weather", "-t", "MX"]],
)  # fmt: skip
def test_wrong_usage(fresh: Lab, words: list[str]) -> None:
    result = fresh.run(*words)
    assert result.code == 2
    assert result.out == ""
    assert "Traceback" not in result.err


def test_all_mistakes_are_reported_with_their_lines(fresh: Lab) -> None:
    fresh.config.write_text(
        f"lab: {fresh.name}\n"
        "instances: many\n"  # 2
        "consul: {servers: 2}\n"  # 3
        "services:\n"
        "  weather:\n"
        "    path: lab:weather\n"
        "    cuont: 2\n"  # 7
        "    host_port: 99999\n"  # 8
        "  ghost:\n"
        "    path: nowhere\n"  # 10
    )
    error = refused(fresh, code=3)
    assert mistakes(error) == [2, 3, 7, 8, 10]
    assert "count" in error, "suggests the right key"
    assert "nowhere" in error
    assert "5 mistakes" in error


def test_invalid_yaml(fresh: Lab) -> None:
    fresh.config.write_text("lab: x-lab\nservices:\n  weather: [\n")
    error = refused(fresh, code=3)
    assert mistakes(error) != []


def test_missing_config(fresh: Lab) -> None:
    result = fresh.run("up", "-c", "nowhere.yaml")
    assert result.code in (2, 3)
    assert "nowhere.yaml" in result.err


def test_taken_port(fresh: Lab) -> None:
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        one_service(fresh, port=port)
        error = refused(fresh)
    assert f"Port {port} is taken" in error
    assert "host_port" in error


def test_missing_folder(fresh: Lab) -> None:
    fresh.config.write_text(ONE.format(name=fresh.name, port=free_port()))
    error = refused(fresh, code=3)
    assert mistakes(error) == [4]
    assert "greeter" in error


def test_dockerfile_in_shell_form(fresh: Lab) -> None:
    dockerfile = "FROM python:3.12-slim\nENV GREETING=hi\nCOPY . .\nCMD python3 main.py\n"
    one_service(fresh, {**OWN_SERVICE, "Dockerfile": dockerfile})
    fresh.up()
    assert fresh.status()["healthy"]


def test_down_needs_a_confirmation(fresh: Lab) -> None:
    result = fresh.run("down")
    assert result.code == 2, "without a terminal, `down` needs --yes"
