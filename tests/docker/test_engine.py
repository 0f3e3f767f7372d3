"""What is asked of a Docker engine before it is used, and what is read from its answers."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from ecsconsul.docker.engine import Engine, EngineUnusable, engine_url, labels
from tests.docker.engine_server import ENGINE, engine_server


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine of these tests may be as slow as the machine that they run on."""
    monkeypatch.setattr("ecsconsul.docker.engine.LOOK_TIMEOUT", 60.0)


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    return tmp_path / "docker.sock"


def test_an_engine_that_answers_will_do(socket_path: Path) -> None:
    with engine_server(socket_path, ENGINE):
        engine = Engine(f"unix://{socket_path}")
        engine.check()
        assert engine.is_there()


def test_where_no_engine_is_the_socket_is_named(socket_path: Path) -> None:
    engine = Engine(f"unix://{socket_path}")
    with pytest.raises(EngineUnusable) as raised:
        engine.check()
    assert raised.value.why == f"there is no {socket_path}"
    assert "--runtime processes" in raised.value.hint
    assert not engine.is_there()


def test_a_socket_that_nobody_answers_is_no_engine(socket_path: Path) -> None:
    with engine_server(socket_path, ENGINE):
        pass
    engine = Engine(f"unix://{socket_path}")
    with pytest.raises(EngineUnusable, match=f"nothing answers at {socket_path}"):
        engine.check()
    assert not engine.is_there()


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:2375", "ssh://me@there", "npipe:////./pipe/docker_engine"])
def test_an_engine_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(EngineUnusable, match="must be that of this machine"):
        Engine(url).check()
    assert not Engine(url).is_there()


@pytest.mark.parametrize(
    ("info", "why"),
    [
        ({"OSType": "linux", "SecurityOptions": ["name=rootless"]}, "rootless"),
        ({"OSType": "windows"}, "containers of windows"),
    ],
)
def test_an_engine_whose_containers_cannot_be_reached_is_refused(
    socket_path: Path, info: dict[str, object], why: str
) -> None:
    with engine_server(socket_path, {**ENGINE, "/info": info}), pytest.raises(EngineUnusable, match=why):
        Engine(f"unix://{socket_path}").check()


def test_an_image_is_there_or_not(socket_path: Path) -> None:
    with engine_server(socket_path, {**ENGINE, "/images/registry.example:5000/python:3.12/json": {"Id": "1"}}):
        engine = Engine(f"unix://{socket_path}")
        assert engine.has_image("registry.example:5000/python:3.12")
        assert not engine.has_image("python:3.12-slim")


def test_only_what_bears_both_labels_is_the_labs(socket_path: Path) -> None:
    answers = {
        **ENGINE,
        "/containers/json": [{"Id": "c1", "Names": ["/web"]}],
        "/networks": [{"Id": "n1", "Name": "lab-1"}],
        "/images/json": [{"Id": "i1", "RepoTags": ["lab/web:1", "lab/web:2"]}, {"Id": "i2", "RepoTags": None}],
    }
    with engine_server(socket_path, answers) as asked:
        left = Engine(f"unix://{socket_path}").left("lab", Path("/home/me/lab"))
    assert left.lines() == ["container web", "network lab-1", "image lab/web:1 lab/web:2", "image i2"]
    assert len(asked) == 3
    for path in asked:
        filters = json.loads(parse_qs(urlsplit(path).query)["filters"][0])
        assert filters["label"] == ["ecsconsul.lab=lab", "ecsconsul.home=/home/me/lab"]
    assert "all=1" in asked[0]


def test_nothing_left_is_false(socket_path: Path) -> None:
    nothing = {**ENGINE, "/containers/json": [], "/networks": [], "/images/json": []}
    with engine_server(socket_path, nothing):
        assert not Engine(f"unix://{socket_path}").left("lab", Path("/lab"))


def test_tags_are_those_of_the_repository_the_oldest_first(socket_path: Path) -> None:
    images = [
        {"Created": 30, "RepoTags": ["lab/web:new", "elsewhere/web:other"]},
        {"Created": 10, "RepoTags": ["lab/web:old"]},
        {"Created": 20, "RepoTags": None},
    ]
    with engine_server(socket_path, {**ENGINE, "/images/json": images}):
        assert Engine(f"unix://{socket_path}").tags("lab", Path("/lab"), "lab/web") == ["old", "new"]


def test_docker_host_names_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    assert engine_url() == "unix:///var/run/docker.sock"
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/mine.sock")
    assert engine_url() == "unix:///run/mine.sock"


def test_labels_name_the_lab_and_its_home() -> None:
    assert labels("lab", Path("/a")) == {"ecsconsul.lab": "lab", "ecsconsul.home": "/a"}
