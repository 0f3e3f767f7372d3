"""Follows a lab: its newest snapshot, and its events in the order in which they were seen.

>>> with Observation(target) as seen:  # doctest: +SKIP
...     seen.wait_until_complete(10.0)
...     for event in seen.events(timeout=1.0):
...         print(event.text)

`events_after` is for several readers of one observation, such as the pages of a dashboard.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from .differences import diff
from .sources import ConsulSource, EcsSource, Observed
from .states import Event, Snapshot, Source

if TYPE_CHECKING:
    from .journal import Journal

# Whoever reads more slowly than events come misses the oldest ones.
MOST_EVENTS = 10_000


class Observation:
    """What is seen of one lab while the context lasts; safe to share between threads. Needs no lab that runs.

    With a `journal`, everything is recorded, unless somebody else records there.
    """

    def __init__(
        self, target: Observed, *, journal: Journal | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._is_recording = False
        self._changed = threading.Condition()
        self._snapshot = Snapshot(clock())
        self._events: deque[Event] = deque(maxlen=MOST_EVENTS)
        self._number = 0
        self._read = 0
        self._closed = False
        self._ecs = EcsSource(target, self)
        self._consul = ConsulSource(target, self)

    def __enter__(self) -> Observation:
        self._ecs.start()
        self._consul.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """See nothing more. A question that is in flight may take its thread some seconds; nobody waits for it."""
        self._ecs.close()
        self._consul.close()
        with self._changed:
            self._closed = True
            if self._journal:
                self._journal.close()
            self._changed.notify_all()

    # for those who look

    def snapshot(self) -> Snapshot:
        """What is seen now."""
        with self._changed:
            return self._snapshot

    def wait_until_complete(self, timeout: float) -> bool:
        """Wait until each source has answered, or is known not to; False if that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: self._snapshot.is_complete or self._closed, timeout)

    def events(self, timeout: float) -> list[Event]:
        """The events since the last call; waits up to `timeout` seconds for the first one. For a single reader."""
        self._read, found = self.events_after(self._read, timeout)
        return found

    def events_after(self, number: int, timeout: float) -> tuple[int, list[Event]]:
        """The events after the one with that number (0: all that are kept), and the number of the last one.

        Waits up to `timeout` seconds for the first.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._number > number or self._closed, timeout)
            kept = min(self._number - number, len(self._events))
            return self._number, list(itertools.islice(self._events, len(self._events) - kept, None))

    def next_snapshot(self, known: Snapshot, timeout: float) -> Snapshot:
        """The newest snapshot, as soon as it is another than `known`; waits up to `timeout` seconds for that.

        The events that led to it can be read once it is there.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._snapshot is not known or self._closed, timeout)
            return self._snapshot

    @property
    def is_closed(self) -> bool:
        return self._closed

    # for the sources

    def update(self, source: Source | None, **seen: Any) -> None:
        """Replace these fields of the snapshot; a `source` that was lost is back."""
        with self._changed:
            lost = {name: why for name, why in self._snapshot.lost.items() if name != source}
            self._replace(lost, seen)

    def lose(self, source: Source, why: str) -> None:
        """A source does not answer."""
        with self._changed:
            if self._snapshot.lost.get(source) != why:
                self._replace({**self._snapshot.lost, source: why}, {})

    def beat(self) -> None:
        """Tell the journal that the observation goes on."""
        with self._changed:
            if self._journal and self._is_recording and not self._closed:
                self._journal.beat(self._snapshot)

    def _replace(self, lost: Mapping[str, str], seen: Mapping[str, Any]) -> None:
        if self._closed:
            return
        before, self._snapshot = self._snapshot, replace(self._snapshot, time=self._clock(), lost=lost, **seen)
        found = diff(before, self._snapshot)
        self._events.extend(found)
        self._number += len(found)
        self._record(found)
        self._changed.notify_all()
        if any(event.kind == "instance-entered" and not event.task for event in found):
            # its task is not known yet
            self._ecs.wake()

    def _record(self, events: list[Event]) -> None:
        if self._journal is None:
            return
        if self._is_recording:
            self._journal.record(events, self._snapshot)
        elif self._snapshot.is_complete:
            self._is_recording = True
            self._journal.start(self._snapshot)
