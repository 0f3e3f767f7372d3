"""A fake Docker engine, a fake Consul agent, and Reconcilers between them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ecsconsul.registrator.consul_client import ConsulClient
from ecsconsul.registrator.docker_client import DockerClient
from ecsconsul.registrator.reconciler import Reconciler, ReconcilerOptions
from ecsconsul.registrator.rules import Options
from ecsconsul.registrator.settings import Server
from tests.registrator.servers import FakeConsul, FakeDocker, fake_consul, fake_docker

TIMEOUT = 60.0


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[FakeDocker]:
    with fake_docker(tmp_path / "docker.sock") as server:
        yield server


@pytest.fixture
def consul() -> Iterator[FakeConsul]:
    with fake_consul() as server:
        yield server


@dataclass
class Harness:
    """Both servers, and the Reconcilers that run between them."""

    docker: FakeDocker
    consul: FakeConsul
    reconcilers: list[Reconciler] = field(default_factory=list)

    def start(self, *, hostname: str = "host", silence: float = 60.0, **options: object) -> Reconciler:
        """A running Reconciler that has inspected every container."""
        reconciler = self.create(hostname=hostname, silence=silence, **options)
        reconciler.start()
        eventually(lambda: reconciler.state().healthy)
        return reconciler

    def create(self, *, hostname: str = "host", silence: float = 60.0, **options: object) -> Reconciler:
        docker = DockerClient(Server(socket=str(self.docker.path)), silence=silence)
        consul = ConsulClient(Server("127.0.0.1", self.consul.port))
        settings = {"rules": Options(hostname=hostname), **options}
        reconciler = Reconciler(docker, consul, ReconcilerOptions(**settings))  # type: ignore[arg-type]
        self.reconcilers.append(reconciler)
        return reconciler

    def ids(self) -> set[str]:
        return set(self.consul.services)

    def actions(self) -> list[str]:
        """The writes that the agent received, in order."""
        return [action for action, _ in self.consul.writes]

    def await_ids(self, *ids: str) -> None:
        eventually(lambda: self.ids() == set(ids), lambda: self.ids())


@pytest.fixture
def harness(docker: FakeDocker, consul: FakeConsul) -> Iterator[Harness]:
    created = Harness(docker, consul)
    yield created
    for reconciler in created.reconcilers:
        reconciler.close(keep=True, seconds=1.0)


def eventually(condition: Callable[[], bool], seen: Callable[[], object] = lambda: "") -> None:
    """Wait until the condition holds."""
    end = time.monotonic() + TIMEOUT
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end, f"not within {TIMEOUT} s: {seen()}"
        # the condition depends on other threads, which notify nobody
        pause.wait(0.005)
