"""The Reconciler works with any engine that implements the protocol."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ecsconsul.registrator.consul_client import ConsulClient
from ecsconsul.registrator.container_snapshot import ContainerSnapshot, Event
from ecsconsul.registrator.reconciler import Reconciler, ReconcilerOptions
from ecsconsul.registrator.rules import Container, Options, PortBinding
from ecsconsul.registrator.settings import Server
from tests.registrator.conftest import eventually
from tests.registrator.servers import FakeConsul

STARTED = time.time_ns()


class MemoryEvents:
    """Events from a queue; None ends them."""

    def __init__(self, events: queue.SimpleQueue[Event | None]) -> None:
        self._events = events
        self.fell_silent = False

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events.get, None)

    def close(self) -> None:
        self._events.put(None)


class MemoryEngine:
    """Containers in a dictionary."""

    label = ""

    def __init__(self) -> None:
        self.containers: dict[str, ContainerSnapshot] = {}
        self.queue: queue.SimpleQueue[Event | None] = queue.SimpleQueue()

    def run(self, name: str) -> None:
        container = Container(name, name, "web:1", ports=(PortBinding(80, host_port=8080),))
        self.containers[name] = ContainerSnapshot(container, True, False, "none", STARTED, 0, "TERM", "")
        self.queue.put(Event("start", name, STARTED))

    def identity(self) -> str:
        return "memory"

    def running(self) -> list[str]:
        return list(self.containers)

    def ended(self) -> list[str]:
        return []

    def inspect(self, container: str) -> ContainerSnapshot | None:
        return self.containers.get(container)

    @contextmanager
    def events(self, since: int) -> Iterator[MemoryEvents]:
        yield MemoryEvents(self.queue)

    def close(self) -> None:
        """Nothing to release."""


def test_reconciler_takes_any_engine(consul: FakeConsul) -> None:
    engine = MemoryEngine()
    engine.run("c1")
    client = ConsulClient(Server("127.0.0.1", consul.port))
    reconciler = Reconciler(engine, client, ReconcilerOptions(Options("host")))
    reconciler.start()
    eventually(lambda: set(consul.services) == {"host:c1:80"})
    engine.run("c2")
    eventually(lambda: set(consul.services) == {"host:c1:80", "host:c2:80"})
    engine.queue.put(Event("kill", "c1", time.time_ns(), signal="TERM"))
    eventually(lambda: set(consul.services) == {"host:c2:80"})
    reconciler.close(keep=False, seconds=60.0)
    assert consul.services == {}
