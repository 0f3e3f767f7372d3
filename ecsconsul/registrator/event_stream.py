"""Follows an engine's events across reconnects.

The stream is opened before the containers are listed, so no container is missed. After a break it resumes at the last
event, so nothing is lost that the engine still remembers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import LabError
from .container_engine import Engine, Events
from .container_snapshot import Event

log = logging.getLogger(__name__)

MIN_BACKOFF, MAX_BACKOFF = 0.1, 5.0


@dataclass(frozen=True)
class Connected:
    """The stream is open; `containers` are the IDs listed right after."""

    containers: frozenset[str]


@dataclass(frozen=True)
class Disconnected:
    """The engine doesn't answer or has ended the stream; the next attempt follows."""

    error: LabError


Message = Connected | Event | Disconnected


class EventStream:
    """`since` is where the stream begins, in nanoseconds since 1970.

    `publish` is called in the stream's own thread and must not block.
    """

    def __init__(self, engine: Engine, publish: Callable[[Message], None], *, since: int, include_ended: bool) -> None:
        self._engine = engine
        self._publish = publish
        self._since = since
        self._include_ended = include_ended
        self._stopped = threading.Event()
        self._events: Events | None = None
        self._thread = threading.Thread(target=self._run, name="engine-events", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Stop, and wait up to this long for the thread to end."""
        self._stopped.set()
        if self._events is not None:
            self._events.close()
        self._thread.join(seconds)

    def _run(self) -> None:
        backoff = MIN_BACKOFF
        while not self._stopped.is_set():
            opened = time.monotonic()
            try:
                if self._follow():
                    continue
                error = LabError("The event stream ended")
            except LabError as failure:
                error = failure
            if self._stopped.is_set():
                return
            self._publish(Disconnected(error))
            backoff = MIN_BACKOFF if time.monotonic() - opened > MAX_BACKOFF else min(backoff * 2, MAX_BACKOFF)
            self._stopped.wait(backoff)

    def _follow(self) -> bool:
        """Publish events until the stream ends; True if it only fell silent, as it does on a quiet host."""
        with self._engine.events(self._since) as events:
            self._events = events
            if self._stopped.is_set():
                return False
            self._publish(Connected(list_containers(self._engine, include_ended=self._include_ended)))
            for event in events:
                self._since = max(self._since, event.at)
                self._publish(event)
            return events.fell_silent


def list_containers(engine: Engine, *, include_ended: bool) -> frozenset[str]:
    """The IDs of the engine's containers. Raises LabError."""
    return frozenset((*engine.running(), *(engine.ended() if include_ended else ())))
