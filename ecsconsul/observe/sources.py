"""The threads that follow ECS and Consul, and tell an observation what they see.

Consul is asked by blocking queries, one for the whole catalog however many services it has. It has none for its
members and its leader: those are read again after each change of the catalog, and every two seconds. ECS is waited for
where the target can do that (a region on this machine); AWS's has no such call, and is polled at the pace that the
target sets, and at once when an instance enters Consul whose task is not known yet.
https://developer.hashicorp.com/consul/api-docs/features/blocking
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from ..consul.catalog import Consul, Member
from ..errors import LabError
from .states import ConsulState, EcsState, Members, Source, endpoints_in

# how long Consul and a region may hold a question; a closed observation's threads end within that time
WAIT_SECONDS = 10.0
MEMBERS_SECONDS = 2.0
# between two answers, so that a storm of changes can't take a whole core
REST_SECONDS = 0.02
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.25, 4.0


class ConsulAt(Protocol):
    """A way to Consul."""

    def client(self) -> Consul:
        """A client of its HTTP API."""


class Observed(Protocol):
    """What is observed: a target, or a region that looks at itself."""

    def consul(self) -> AbstractContextManager[ConsulAt]:
        """A way to Consul for as long as the context lasts. Raises LabError."""

    def ecs_state(self, since: int, wait: float) -> tuple[EcsState, float]:
        """ECS's state, and the seconds until it makes sense to ask again.

        Where that is 0, the answer comes once the state is another than that of version `since`, or after `wait`
        seconds. Raises LabError.
        """


class Sink(Protocol):
    """Takes what the sources see."""

    def update(self, source: Source | None, **seen: Any) -> None: ...
    def lose(self, source: Source, why: str) -> None: ...
    def beat(self) -> None: ...


class Retries:
    """Delays that double from one failure to the next, up to a few seconds."""

    def __init__(self) -> None:
        self._next = FIRST_RETRY_SECONDS

    def reset(self) -> None:
        """What was tried has worked."""
        self._next = FIRST_RETRY_SECONDS

    def delay(self) -> float:
        """The seconds until the next attempt."""
        delay, self._next = self._next, min(self._next * 2, LAST_RETRY_SECONDS)
        return delay


class EcsSource:
    """Follows ECS's tasks and services in a thread."""

    def __init__(self, target: Observed, sink: Sink) -> None:
        self._target = target
        self._sink = sink
        self._woken = threading.Event()
        self._closing = False

    def start(self) -> None:
        """Start the thread."""
        _thread("observe-ecs", self._loop)

    def wake(self) -> None:
        """Ask now, where the pace would have it wait."""
        self._woken.set()

    def close(self) -> None:
        """End after the question that is in flight."""
        self._closing = True
        self._woken.set()

    def _loop(self) -> None:
        retries, version = Retries(), -1
        while not self._closing:
            self._woken.clear()
            try:
                state, pace = self._target.ecs_state(version, WAIT_SECONDS)
            except LabError as error:
                self._sink.lose("ECS", error.why or error.what)
                version, pace = -1, retries.delay()
            else:
                if state.version != version:
                    self._sink.update("ECS", ecs=state)
                version = state.version
                retries.reset()
            self._sink.beat()
            # cleared before the question, so that a wake during it counts
            if not self._closing:
                self._woken.wait(max(pace, REST_SECONDS))


class ConsulSource:
    """Follows Consul's catalog in one thread, and its members in another that lives as long as the way to Consul."""

    def __init__(self, target: Observed, sink: Sink) -> None:
        self._target = target
        self._sink = sink
        self._closing = threading.Event()

    def start(self) -> None:
        """Start the thread."""
        _thread("observe-consul", self._loop)

    def close(self) -> None:
        """End after the question that is in flight."""
        self._closing.set()

    def _loop(self) -> None:
        retries = Retries()
        while not self._closing.is_set():
            try:
                with self._target.consul() as address:
                    self._follow(address.client(), retries)
            except LabError as error:
                self._sink.lose("Consul", error.why or error.what)
                self._sink.beat()
                self._closing.wait(retries.delay())

    def _follow(self, consul: Consul, retries: Retries) -> None:
        """Raises LabError as soon as Consul does not answer."""
        with _Members(consul, self._sink) as members:
            index = 0
            while not self._closing.is_set():
                now, catalog = consul.next_catalog(index, WAIT_SECONDS)
                if now != index or not index:
                    self._sink.update("Consul", consul=ConsulState(endpoints_in(catalog)))
                    members.wake()
                index = now
                retries.reset()
                self._sink.beat()
                self._closing.wait(REST_SECONDS)


class _Members:
    """Reads Consul's members and leader while the context lasts. Whether Consul answers is for the catalog to say."""

    def __init__(self, consul: Consul, sink: Sink) -> None:
        self._consul = consul
        self._sink = sink
        self._woken = threading.Event()
        self._closing = False
        self._thread = _thread_of("observe-members", self._loop)

    def __enter__(self) -> _Members:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._closing = True
        self._woken.set()

    def wake(self) -> None:
        """Read now."""
        self._woken.set()

    def _loop(self) -> None:
        before: tuple[str, list[Member]] | None = None
        while not self._closing:
            self._woken.clear()
            with contextlib.suppress(LabError):
                now = self._consul.leader(), sorted(self._consul.members(), key=lambda member: member.name)
                if now != before and not self._closing:
                    # an agent lists members even while its servers have no leader, and so no catalog
                    self._sink.update(None, members=Members(tuple(now[1]), now[0]))
                before = now
            self._woken.wait(MEMBERS_SECONDS)


def _thread(name: str, loop: Callable[[], None]) -> None:
    _thread_of(name, loop).start()


def _thread_of(name: str, loop: Callable[[], None]) -> threading.Thread:
    return threading.Thread(target=loop, name=name, daemon=True)
