"""An engine and an agent that are little servers, and a sync between them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ecsconsul.registrator.consul_client import Agent
from ecsconsul.registrator.docker_client import Engine
from ecsconsul.registrator.reconciler import Reconciler, ReconcilerOptions
from ecsconsul.registrator.rules import Options
from ecsconsul.registrator.settings import Server
from tests.registrator.servers import AgentServer, EngineServer, agent_server, engine_server

PATIENCE = 60.0


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineServer]:
    with engine_server(tmp_path / "docker.sock") as server:
        yield server


@pytest.fixture
def agent() -> Iterator[AgentServer]:
    with agent_server() as server:
        yield server


@dataclass
class Runtime:
    """Both servers, and the syncs that were started between them."""

    engine: EngineServer
    agent: AgentServer
    syncs: list[Reconciler] = field(default_factory=list)

    def sync(self, *, hostname: str = "host", silence: float = 60.0, **options: object) -> Reconciler:
        """One that runs and has looked at all containers."""
        one = self.unstarted(hostname=hostname, silence=silence, **options)
        one.start()
        eventually(lambda: one.state().is_well)
        return one

    def unstarted(self, *, hostname: str = "host", silence: float = 60.0, **options: object) -> Reconciler:
        told = {"rules": Options(hostname=hostname), **options}
        server = Server("127.0.0.1", self.agent.port)
        one = Reconciler(
            Engine(Server(socket=str(self.engine.path)), silence=silence), Agent(server), ReconcilerOptions(**told)
        )  # type: ignore[arg-type]
        self.syncs.append(one)
        return one

    def ids(self) -> set[str]:
        return set(self.agent.services)

    def deeds(self) -> list[str]:
        """What the agent was told, in order."""
        return [deed for deed, _ in self.agent.writes]

    def await_ids(self, *ids: str) -> None:
        eventually(lambda: self.ids() == set(ids), lambda: self.ids())


@pytest.fixture
def world(engine: EngineServer, agent: AgentServer) -> Iterator[Runtime]:
    made = Runtime(engine, agent)
    yield made
    for one in made.syncs:
        one.close(keep=True, seconds=1.0)


def eventually(look: Callable[[], bool], seen: Callable[[], object] = lambda: "") -> None:
    """Wait until it is so."""
    end = time.monotonic() + PATIENCE
    pause = threading.Event()
    while not look():
        assert time.monotonic() < end, f"not after {PATIENCE} s: {seen()}"
        # what happens, happens in other threads, and nothing tells
        pause.wait(0.005)
