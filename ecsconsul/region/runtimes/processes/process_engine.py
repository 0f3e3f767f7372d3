"""The container engine of one instance whose containers are processes: what runs, and an event for each change.

It answers the Registrator as Docker does, so that both runtimes register tasks the same way.
"""

from __future__ import annotations

import queue
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from ....registrator.container_snapshot import ContainerSnapshot, Event
from ....registrator.rules import Container

STOP_SIGNAL = "TERM"


class ProcessEvents:
    """The events of an engine from now on, for one reader; `close` from any thread ends them."""

    fell_silent = False

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()

    def put(self, event: Event) -> None:
        self._events.put(event)

    def close(self) -> None:
        self._events.put(None)

    def __iter__(self) -> Iterator[Event]:
        while event := self._events.get():
            yield event


@dataclass
class ProcessEngine:
    """The engine of one instance; safe to share between threads."""

    instance_id: str
    label: str = ""
    _containers: dict[str, ContainerSnapshot] = field(default_factory=dict)
    _streams: list[ProcessEvents] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def identity(self) -> str:
        """What tells this engine from others."""
        return self.instance_id

    def running(self) -> list[str]:
        """The ids of the running containers."""
        return self._ids(running=True)

    def ended(self) -> list[str]:
        """The ids of the containers that have exited and were not removed yet."""
        return self._ids(running=False)

    def inspect(self, container: str) -> ContainerSnapshot | None:
        """The container as it is now; None when there is none (any more)."""
        with self._lock:
            return self._containers.get(container)

    @contextmanager
    def events(self, since: int) -> Iterator[ProcessEvents]:
        """Every event from now on. None is lost: a reader lists the containers after it has opened the stream."""
        stream = ProcessEvents()
        with self._lock:
            self._streams.append(stream)
        try:
            yield stream
        finally:
            with self._lock:
                self._streams.remove(stream)

    def close(self) -> None:
        """Does nothing: the engine outlives its readers."""

    def started(self, container: Container) -> None:
        """A container runs."""
        now = time.time_ns()
        snapshot = ContainerSnapshot(
            container, running=True, paused=False, health="none", started_at=now, exit_code=0,
            stop_signal=STOP_SIGNAL, shares_network_of="",
        )  # fmt: skip
        with self._lock:
            self._containers[container.id] = snapshot
            self._publish(Event("start", container.id, now))

    def moved(self, container: Container) -> None:
        """A container listens at other ports than it was started with."""
        with self._lock:
            if found := self._containers.get(container.id):
                now = time.time_ns()
                self._containers[container.id] = replace(found, container=container, started_at=now)
                # as after a restart: Consul would keep the status of the checks of its former port
                self._publish(Event("die", container.id, now))
                self._publish(Event("start", container.id, now))

    def stopping(self, container: str) -> None:
        """A container got a stop signal."""
        with self._lock:
            self._publish(Event("kill", container, time.time_ns(), signal=STOP_SIGNAL))

    def exited(self, container: str, code: int) -> None:
        """A container exited."""
        with self._lock:
            if found := self._containers.get(container):
                self._containers[container] = replace(found, running=False, exit_code=code)
                self._publish(Event("die", container, time.time_ns(), exit_code=code))

    def removed(self, container: str) -> None:
        """A container is gone for good."""
        with self._lock:
            if self._containers.pop(container, None):
                self._publish(Event("destroy", container, time.time_ns()))

    def _ids(self, *, running: bool) -> list[str]:
        with self._lock:
            return [one.id for one in self._containers.values() if one.running == running]

    def _publish(self, event: Event) -> None:
        for stream in self._streams:
            stream.put(event)


def new_container_id() -> str:
    """A container id in Docker's form."""
    return secrets.token_hex(32)
