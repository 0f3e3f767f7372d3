"""Which runtime is selected, and the reason it gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecsconsul.config.container_spec import ContainerSpec
from ecsconsul.config.lab import Lab, ServiceSpec
from ecsconsul.docker import engine
from ecsconsul.docker.engine import EngineUnusable
from ecsconsul.errors import LabError
from ecsconsul.targets.local.runtime_selection import RuntimeSelection, bases_of, process_errors, select_runtime
from tests.docker.engine_server import ENGINE, engine_server

HAS_BOTH = {**ENGINE, "/images/debian:12/json": {}, "/images/golang:1/json": {}}


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake engine may be slow on a busy machine."""
    monkeypatch.setattr(engine, "LOOK_TIMEOUT", 60.0)


@pytest.fixture
def socket_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    return path


def lab(folder: Path, runtime: str, base_image: str | None = None) -> Lab:
    """One service with two build stages, and one with a base image."""
    texts = {"web": "FROM golang:1 AS build\nFROM debian:12\n", "api": "ARG BASE=debian:12\nFROM ${BASE}\n"}
    for name, text in texts.items():
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "Dockerfile").write_text(text)
    services = tuple(ServiceSpec(name=name, path=str(folder / name)) for name in texts)
    return Lab(services=services, runtime=runtime, base_image=base_image)  # type: ignore[arg-type]


def test_auto_selects_docker_with_base_images(socket_path: Path, tmp_path: Path) -> None:
    with engine_server(socket_path, HAS_BOTH):
        chosen = select_runtime(lab(tmp_path, "auto"))
    why = "the Docker engine answers, and has the base images"
    assert chosen == RuntimeSelection("docker", why, f"unix://{socket_path}", ("debian:12", "golang:1"))


def test_auto_selects_processes_when_an_image_is_missing(socket_path: Path, tmp_path: Path) -> None:
    with engine_server(socket_path, {**ENGINE, "/images/debian:12/json": {}}):
        chosen = select_runtime(lab(tmp_path, "auto"))
    assert chosen == RuntimeSelection("processes", "the Docker engine has no golang:1, and would have to pull it")


def test_auto_selects_processes_without_an_engine(socket_path: Path, tmp_path: Path) -> None:
    assert select_runtime(lab(tmp_path, "auto")) == RuntimeSelection("processes", f"there is no {socket_path}")


def test_requested_docker_may_pull(socket_path: Path, tmp_path: Path) -> None:
    with engine_server(socket_path, ENGINE):
        assert select_runtime(lab(tmp_path, "docker")).runtime == "docker"


def test_requested_docker_without_an_engine_is_an_error(socket_path: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineUnusable):
        select_runtime(lab(tmp_path, "docker"))


def test_requested_processes_need_no_engine(socket_path: Path, tmp_path: Path) -> None:
    with engine_server(socket_path, HAS_BOTH) as asked:
        assert select_runtime(lab(tmp_path, "processes")).runtime == "processes"
    assert asked == []


def test_base_image_of_the_config_is_included(tmp_path: Path) -> None:
    assert bases_of(lab(tmp_path, "auto", "mine:1")) == ("debian:12", "golang:1", "mine:1")


def test_base_of_the_first_service_comes_first(tmp_path: Path) -> None:
    """Consul's agents run on it, and not on the image of a build stage."""
    assert bases_of(lab(tmp_path, "auto"))[0] == "debian:12"


def image_lab(runtime: str = "auto") -> Lab:
    """Two services with images that exist, one of them beside a container."""
    beside = ContainerSpec(name="proxy", image="proxy:1")
    web = ServiceSpec(name="web", image="nginx:1.25", containers=(beside,))
    return Lab(services=(web,), runtime=runtime)  # type: ignore[arg-type]


def test_auto_selects_docker_for_an_image_that_exists(socket_path: Path) -> None:
    with engine_server(socket_path, ENGINE):
        chosen = select_runtime(image_lab())
    assert (chosen.runtime, chosen.bases) == ("docker", ("nginx:1.25", "proxy:1")), "Consul's agents run on one of them"
    assert chosen.why == "nginx:1.25 is an image that only containers can run"


def test_auto_without_an_engine_is_an_error_for_an_image_that_exists(socket_path: Path) -> None:
    with pytest.raises(LabError, match=r"nginx:1\.25 can't run as a process") as raised:
        select_runtime(image_lab())
    assert str(socket_path) in raised.value.why
    assert "--runtime docker" in raised.value.hint


def test_each_image_that_exists_is_an_error_as_a_process() -> None:
    found = process_errors(image_lab("processes"))
    assert [one.where for one in found] == ["config, services.web", "config, services.web.containers.proxy"]
