"""Finding the Docker engine, checking it, and reading what it has of a lab."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from ecsconsul.config.lab import Lab
from ecsconsul.docker.engine import Engine, EngineUnusable, engine_url, labels
from ecsconsul.targets.local.runtime_selection import select_runtime
from tests.docker.engine_server import ENGINE, create_context, engine_server

# the machine that runs these tests may be slow
TIMEOUT = 60.0


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    return tmp_path / "docker.sock"


def engine_at(path: Path) -> Engine:
    return Engine(f"unix://{path}", look_timeout=TIMEOUT)


# --- finding it


def test_default_is_the_usual_socket(config_dir: Path) -> None:
    assert engine_url() == "unix:///var/run/docker.sock"


def test_current_context_names_the_engine(config_dir: Path, socket_path: Path) -> None:
    create_context(config_dir, "mine", f"unix://{socket_path}")
    (config_dir / "config.json").write_text(json.dumps({"currentContext": "mine"}))
    assert engine_url() == f"unix://{socket_path}"


def test_local_lab_uses_the_engine_of_the_current_context(
    config_dir: Path, socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecsconsul.docker.engine.LOOK_TIMEOUT", TIMEOUT)
    create_context(config_dir, "mine", f"unix://{socket_path}")
    (config_dir / "config.json").write_text(json.dumps({"currentContext": "mine"}))
    with engine_server(socket_path, ENGINE):
        assert select_runtime(Lab(runtime="docker")).engine == f"unix://{socket_path}"


def test_docker_context_overrides_the_current_one(config_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_context(config_dir, "mine", "unix:///run/mine.sock")
    create_context(config_dir, "other", "tcp://engine.example:2376")
    (config_dir / "config.json").write_text(json.dumps({"currentContext": "mine"}))
    monkeypatch.setenv("DOCKER_CONTEXT", "other")
    assert engine_url() == "tcp://engine.example:2376"
    monkeypatch.setenv("DOCKER_CONTEXT", "default")
    assert engine_url() == "unix:///var/run/docker.sock"


def test_docker_host_overrides_any_context(config_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_context(config_dir, "mine", "unix:///run/mine.sock")
    monkeypatch.setenv("DOCKER_CONTEXT", "mine")
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/host.sock")
    assert engine_url() == "unix:///run/host.sock"


def test_missing_context_is_reported(config_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONTEXT", "gone")
    engine = Engine(engine_url())
    with pytest.raises(EngineUnusable, match="the Docker context gone does not exist"):
        engine.check()
    assert not engine.is_there()


# --- checking it


def test_engine_that_answers_is_usable(socket_path: Path) -> None:
    with engine_server(socket_path, ENGINE):
        engine = engine_at(socket_path)
        engine.check()
        engine.ping()
        assert engine.is_there()


def test_missing_socket_is_named(socket_path: Path) -> None:
    engine = engine_at(socket_path)
    for look in (engine.check, engine.ping):
        with pytest.raises(EngineUnusable) as raised:
            look()
        assert raised.value.why == f"there is no {socket_path}"
        assert "--runtime processes" in raised.value.hint
    assert not engine.is_there()


def test_socket_without_a_listener_is_no_engine(socket_path: Path) -> None:
    with engine_server(socket_path, ENGINE):
        pass
    engine = engine_at(socket_path)
    with pytest.raises(EngineUnusable, match=f"nothing answers at {socket_path}"):
        engine.check()
    assert not engine.is_there()


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:2375", "ssh://me@there", "npipe:////./pipe/docker_engine"])
def test_remote_engine_is_refused(url: str) -> None:
    with pytest.raises(EngineUnusable, match="needs this machine's own"):
        Engine(url).check()
    assert not Engine(url).is_there()


@pytest.mark.parametrize(
    ("info", "why"),
    [
        ({"OSType": "linux", "SecurityOptions": ["name=rootless"]}, "rootless"),
        ({"OSType": "linux", "OperatingSystem": "Docker Desktop"}, "virtual machine"),
        ({"OSType": "windows"}, "windows containers"),
    ],
)
def test_engine_with_unreachable_containers_is_refused(socket_path: Path, info: dict[str, object], why: str) -> None:
    with engine_server(socket_path, {**ENGINE, "/info": info}), pytest.raises(EngineUnusable, match=why):
        engine_at(socket_path).check()


# --- what it has


def test_has_image_compares_the_whole_reference(socket_path: Path) -> None:
    with engine_server(socket_path, {**ENGINE, "/images/registry.example:5000/python:3.12/json": {"Id": "1"}}):
        engine = engine_at(socket_path)
        assert engine.has_image("registry.example:5000/python:3.12")
        assert not engine.has_image("python:3.12-slim")


def test_left_asks_for_both_labels(socket_path: Path) -> None:
    answers = {
        **ENGINE,
        "/containers/json": [{"Id": "c1", "Names": ["/web"]}],
        "/networks": [{"Id": "n1", "Name": "lab-1"}],
        "/images/json": [{"Id": "i1", "RepoTags": ["lab/web:1", "lab/web:2"]}, {"Id": "i2", "RepoTags": None}],
        "/volumes": {"Volumes": [{"Name": "v1"}]},
    }
    with engine_server(socket_path, answers) as requests:
        left = engine_at(socket_path).left("lab", Path("/home/me/lab"))
    assert left.lines() == ["container web", "network lab-1", "volume v1", "image lab/web:1 lab/web:2", "image i2"]
    assert len(requests) == 4
    for path in requests:
        filters = json.loads(parse_qs(urlsplit(path).query)["filters"][0])
        assert filters["label"] == ["ecsconsul.lab=lab", "ecsconsul.home=/home/me/lab"]
    assert "all=1" in requests[0]


def test_nothing_left_is_false(socket_path: Path) -> None:
    nothing = {**ENGINE, "/containers/json": [], "/networks": [], "/images/json": [], "/volumes": {"Volumes": None}}
    with engine_server(socket_path, nothing):
        assert not engine_at(socket_path).left("lab", Path("/lab"))


def test_tags_of_a_repository_are_sorted_by_age(socket_path: Path) -> None:
    images = [
        {"Created": 30, "RepoTags": ["lab/web:new", "elsewhere/web:other"]},
        {"Created": 10, "RepoTags": ["lab/web:old"]},
        {"Created": 20, "RepoTags": None},
    ]
    with engine_server(socket_path, {**ENGINE, "/images/json": images}):
        assert engine_at(socket_path).tags("lab", Path("/lab"), "lab/web") == ["old", "new"]


def test_labels_name_the_lab_and_its_directory() -> None:
    assert labels("lab", Path("/a")) == {"ecsconsul.lab": "lab", "ecsconsul.home": "/a"}
