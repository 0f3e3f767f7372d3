"""Follows one engine's events for as long as it is wanted, over every break; what they mean is left to sync.

It opens the stream before it lists the containers, so none is missed, and asks for what happened since the last event,
so that a break loses nothing that the engine still remembers.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import Protocol

from ..errors import LabError
from .container_snapshot import Event
from .engine import Engine, Events

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0


@dataclass(frozen=True)
class Listing:
    """The containers at one moment, by id; those that have ended only where they were asked for."""

    running: tuple[str, ...]
    ended: tuple[str, ...] = ()


class Listener(Protocol):
    """Who is told; each method is called by the feed's own thread and must not block."""

    def connected(self, listing: Listing) -> None:
        """The stream is open, and these are the containers."""

    def happened(self, event: Event) -> None:
        """Something happened."""

    def lost(self, error: LabError) -> None:
        """The engine does not answer, or its stream has ended; it is tried again."""


class Feed:
    """`since` is the moment (nanoseconds since 1970) from which on events are asked for at first."""

    def __init__(self, engine: Engine, listener: Listener, *, since: int, with_ended: bool) -> None:
        self._engine = engine
        self._listener = listener
        self._since = since
        self._with_ended = with_ended
        self._stopped = threading.Event()
        self._events: Events | None = None
        self._thread = threading.Thread(target=self._run, name="docker-events", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """End, and wait for it for so long."""
        self._stopped.set()
        if self._events is not None:
            self._events.close()
        self._thread.join(seconds)

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stopped.is_set():
            opened = time.monotonic()
            try:
                if self._follow():
                    continue
                error = LabError("the stream has ended")
            except LabError as refusal:
                error = refusal
            if self._stopped.is_set():
                return
            self._listener.lost(error)
            pause = FIRST_PAUSE if time.monotonic() - opened > LONGEST_PAUSE else min(pause * 2, LONGEST_PAUSE)
            self._stopped.wait(pause)

    def _follow(self) -> bool:
        """Until the stream ends; True when it only fell silent, which on a quiet host it does."""
        with self._engine.events(self._since) as events:
            self._events = events
            if self._stopped.is_set():
                return False
            self._listener.connected(list_containers(self._engine, with_ended=self._with_ended))
            for event in events:
                self._since = max(self._since, event.at)
                self._listener.happened(event)
            return events.fell_silent


def list_containers(engine: Engine, *, with_ended: bool) -> Listing:
    """The engine's containers now. Raises LabError."""
    return Listing(tuple(engine.running()), tuple(engine.ended()) if with_ended else ())
