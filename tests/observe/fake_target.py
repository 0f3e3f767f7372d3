"""A target whose ECS is set by a test, and whose Consul is a real agent, or none."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from ecsconsul.consul.catalog import Consul
from ecsconsul.errors import Unreachable
from ecsconsul.observe.states import EcsState
from tests.consul_server import ConsulServer
from tests.observe.samples import ecs


class FakeTarget:
    """Answers as a region on this machine does: once the state is another."""

    def __init__(self, server: ConsulServer | None = None) -> None:
        self.server = server
        self.asked = 0
        self._state = ecs(services=())
        self._changed = threading.Condition()
        self._silent = ""

    def show(self, state: EcsState, *, silent: str = "") -> None:
        """Let ECS be in this state from now on, or not answer."""
        with self._changed:
            version = self._state.version + 1
            self._state = EcsState(version, state.tasks, state.services, state.own_clock)
            self._silent = silent
            self._changed.notify_all()

    def ecs_state(self, since: int, wait: float) -> tuple[EcsState, float]:
        with self._changed:
            self.asked += 1
            self._changed.wait_for(lambda: self._silent or self._state.version != since, wait)
            if self._silent:
                raise Unreachable("ECS does not answer", why=self._silent)
            return self._state, 0.0

    @contextlib.contextmanager
    def consul(self) -> Iterator[FakeAddress]:
        if self.server is None:
            raise Unreachable("Consul does not answer", why="there is none")
        yield FakeAddress(self.server)


class FakeAddress:
    def __init__(self, server: ConsulServer) -> None:
        self._server = server

    def client(self) -> Consul:
        return Consul(self._server.host, self._server.http)
