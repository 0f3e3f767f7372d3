"""The engine that images for AWS are built on: found through a Docker context, and explained when it's missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ecsconsul.docker.builder import DockerEngine
from ecsconsul.docker.engine import EngineUnusable
from tests.docker.engine_server import create_context, engine_server

INFO = {
    "OSType": "linux",
    "Architecture": "x86_64",
    "RegistryConfig": {"IndexConfigs": {"old.example": {"Secure": False}}},
}
ANSWERS = {"/version": {"ApiVersion": "1.41"}, "/v1.41/info": INFO}


@pytest.fixture
def socket_path(config_dir: Path, tmp_path: Path) -> Path:
    """The socket that the current context names."""
    path = tmp_path / "context.sock"
    create_context(config_dir, "mine", f"unix://{path}")
    (config_dir / "config.json").write_text(json.dumps({"currentContext": "mine"}))
    return path


def test_engine_of_the_current_context_is_used(socket_path: Path) -> None:
    with engine_server(socket_path, ANSWERS) as requests:
        assert DockerEngine().blocker("linux/amd64") is None
        assert DockerEngine().is_insecure("old.example")
        assert not DockerEngine().is_insecure("new.example")
    assert "/v1.41/info" in requests


def test_missing_socket_of_the_context_is_named(socket_path: Path) -> None:
    with pytest.raises(EngineUnusable, match="doesn't answer") as raised:
        DockerEngine().blocker("linux/amd64")
    assert raised.value.why == f"there is no {socket_path}"
    assert raised.value.where == f"unix://{socket_path}"
    assert "DOCKER_HOST" in raised.value.hint


def test_missing_context_is_reported(config_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONTEXT", "gone")
    with pytest.raises(EngineUnusable) as raised:
        DockerEngine().blocker("linux/amd64")
    assert "docker context ls" in raised.value.why
