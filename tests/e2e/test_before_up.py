"""What a user meets before anything runs: init, plan, and each mistake told before anything is started."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from tests.e2e.lab_at import OWN_SERVICE, LabAt, free_port, mistakes, write

SERVICES = ("stock-price", "weather", "portal")
ONE = "lab: {name}\nservices:\n  greeter:\n    path: greeter\n    host_port: {port}\n    check: /health\n"


def one_service(lab: LabAt, files: dict[str, str] = OWN_SERVICE, port: int | None = None) -> None:
    """A lab of one service of the user's own."""
    write(lab.folder / "greeter", files)
    lab.config.write_text(ONE.format(name=lab.name, port=port or free_port()))


def refused(lab: LabAt, code: int = 1) -> str:
    """What `up` says when it refuses; nothing was started, and no traceback is shown."""
    ran = lab.ran("up")
    assert ran.code == code, ran.err
    assert ran.out == ""
    assert "Traceback" not in ran.err
    # a lock that nobody holds may stay behind, and nothing else
    assert [path for path in lab.home.rglob("*") if path.is_file() and path.stat().st_size] == []
    assert lab.processes() == []
    return ran.err


def test_init_writes_a_config_once(fresh: LabAt) -> None:
    assert "config.yaml" in fresh.ok("init").out
    text = fresh.config.read_text()
    again = fresh.ran("init")
    assert again.code == 1
    assert "config.yaml" in again.err
    assert fresh.config.read_text() == text
    steps = fresh.ok("plan", "--output", "json").document["steps"]
    assert {f"services/{name}" for name in SERVICES} <= {step["name"] for step in steps}
    assert text.count("    count: 1") == 3


def test_the_config_that_init_wrote_is_the_built_in_lab(fresh: LabAt) -> None:
    before = fresh.ok("plan", "--output", "json").document
    fresh.ok("init")
    after = fresh.ok("plan", "--output", "json").document
    assert {**before, "seconds": 0} == {**after, "seconds": 0}


def test_plan_changes_nothing(fresh: LabAt) -> None:
    plan = fresh.ran("plan", "--exit-code", "--output", "json")
    assert plan.code == 5
    document = plan.document
    assert set(document) >= {"lab", "target", "seconds", "changes", "steps"}
    assert document["target"] == "local"
    assert document["changes"] == {"created": len(document["steps"]), "updated": 0, "kept": 0, "destroyed": 0}
    assert {step["op"] for step in document["steps"]} == {"create"}
    assert not fresh.home.exists()
    assert fresh.processes() == []


def test_where_no_lab_is(fresh: LabAt) -> None:
    status = fresh.ran("status", "--output", "json")
    assert status.code == 4
    assert status.document["healthy"] is False
    for words in (["dig", "weather"], ["env"], ["scale", "weather=2"]):
        ran = fresh.ran(*words)
        assert ran.code == 1, words
        assert "ecsconsul up" in ran.err, words
        assert ran.out == "", words
    down = fresh.down()
    assert down["left"] == []
    assert down["changes"]["destroyed"] == 0


@pytest.mark.parametrize(
    "words",
    [["upp"], ["up", "--nonsense"], ["dig"], ["dig", "a", "b"], ["scale", "weather"], ["scale", "nobody=1"],
     ["logs", "nobody"], ["--target", "moon", "up"], ["dig", "weather", "-t", "MX"]],
)  # fmt: skip
def test_wrong_usage(fresh: LabAt, words: list[str]) -> None:
    ran = fresh.ran(*words)
    assert ran.code == 2
    assert ran.out == ""
    assert "Traceback" not in ran.err


def test_five_mistakes_are_told_at_once_with_their_lines(fresh: LabAt) -> None:
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
    said = refused(fresh, code=3)
    assert mistakes(said) == [2, 3, 7, 8, 10]
    assert "count" in said, "the key that was meant"
    assert "nowhere" in said
    assert "5 mistakes" in said


def test_a_config_that_is_no_yaml(fresh: LabAt) -> None:
    fresh.config.write_text("lab: x-lab\nservices:\n  weather: [\n")
    said = refused(fresh, code=3)
    assert mistakes(said) != []


def test_a_config_that_is_not_there(fresh: LabAt) -> None:
    ran = fresh.ran("up", "-c", "nowhere.yaml")
    assert ran.code in (2, 3)
    assert "nowhere.yaml" in ran.err


def test_a_port_that_is_taken(fresh: LabAt) -> None:
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        one_service(fresh, port=port)
        said = refused(fresh)
    assert f"Port {port} is taken" in said
    assert "host_port" in said


def test_a_folder_that_is_missing(fresh: LabAt) -> None:
    fresh.config.write_text(ONE.format(name=fresh.name, port=free_port()))
    said = refused(fresh, code=3)
    assert mistakes(said) == [4]
    assert "greeter" in said


def test_a_dockerfile_in_shell_form(fresh: LabAt) -> None:
    one_service(fresh, {**OWN_SERVICE, "Dockerfile": "FROM python:3.12-slim\nCOPY . .\nCMD python3 main.py\n"})
    said = refused(fresh)
    assert "Dockerfile:3" in said
    assert 'CMD ["' in said


def test_down_asks_first(fresh: LabAt) -> None:
    ran = fresh.ran("down")
    assert ran.code == 2, "nobody answered, so it is --yes that was meant"
