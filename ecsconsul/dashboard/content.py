"""What the dashboard's page shows, as JSON: made once for each change, however many pages are open."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from ..config.lab import Lab
from ..observe.observation import Observation
from ..observe.overview import Overview, Row, ServiceRows, overview
from ..observe.states import Event, Snapshot
from .drawing import draw
from .health_history import History, sparkline
from .lookups import Lookup

# what the page lists when it's opened
FIRST_EVENTS = 100
# a page with nothing new gets its plots again
REFRESH_SECONDS = 15.0


class Content:
    """The newest state of a lab for all open pages; safe to share between threads."""

    def __init__(
        self,
        lab: Lab,
        target: str,
        seen: Observation,
        lookups: Sequence[Lookup],
        recorded: Iterable[Event] = (),
        is_news: Callable[[Event], bool] = lambda event: True,
    ) -> None:
        """`recorded` are events of before, and `is_news` says whether one that is seen isn't among them."""
        self._lab, self._target, self._seen, self._lookups = lab, target, seen, tuple(lookups)
        self._recorded, self._is_news = list(recorded)[-FIRST_EVENTS:], is_news
        self._order = [service.name for service in lab.services]
        # tasks of others, such as the Registrator in AWS, aren't expected in Consul
        self._registers = [service.name for service in lab.services if service.registered_names]
        self._lock = threading.Lock()
        self._history = History()
        self._made: tuple[Snapshot | None, float, bytes] = None, 0.0, b""

    @property
    def is_closed(self) -> bool:
        return self._seen.is_closed

    def snapshot(self) -> Snapshot:
        """What is seen now."""
        return self._seen.snapshot()

    def wait(self, known: Snapshot | None, timeout: float) -> Snapshot:
        """The newest snapshot, as soon as it is another than `known`, or after `timeout` seconds."""
        return self._seen.next_snapshot(known, timeout) if known else self._seen.snapshot()

    def note(self, snapshot: Snapshot) -> None:
        """Remember the health in a snapshot, whether or not a page is open."""
        with self._lock:
            self._history.add(self._overview(snapshot))

    def state(self, snapshot: Snapshot, now: float | None = None) -> bytes:
        """The state as JSON."""
        moment = time.time() if now is None else now
        with self._lock:
            known, made, text = self._made
            if known is not snapshot or moment - made > REFRESH_SECONDS:
                text = msgspec.json.encode(self._document(snapshot, moment))
                self._made = snapshot, moment, text
            return text

    def events(self, number: int | None) -> tuple[int, bytes]:
        """The last event's number, and those after the one of that number; for a page that opens, the last ones."""
        last, found = self._seen.events_after(number or 0, 0.0)
        found = list(filter(self._is_news, found))
        if number is None:
            found = [*self._recorded, *found][-FIRST_EVENTS:]
        shown = [{"time": one.time, "kind": one.kind, "text": one.text} for one in found]
        return last, msgspec.json.encode(shown)

    def _overview(self, snapshot: Snapshot) -> Overview:
        return overview(snapshot, self._order, self._registers)

    def _document(self, snapshot: Snapshot, now: float) -> dict[str, Any]:
        seen = self._overview(snapshot)
        self._history.add(seen)
        members = [*seen.servers, *(node.member for node in seen.nodes if node.member)]
        return {
            "lab": self._lab.name,
            "target": self._target,
            "time": now,
            "lost": [f"{name} does not answer: {why}" for name, why in seen.lost],
            "leader": seen.leading,
            "members": [{"name": one.name, "role": one.role, "status": one.status} for one in members],
            "services": [self._service(one, now) for one in seen.services],
            "lookups": [
                {"caller": one.caller, "service": one.service, "because": one.because} for one in self._lookups
            ],
            "picture": draw(seen, self._lookups, self._lab.name),
        }

    def _service(self, one: ServiceRows, now: float) -> dict[str, Any]:
        return {
            "name": one.name,
            "known": one.service is not None,
            "desired": one.desired,
            "running": one.running,
            "passing": one.passing,
            "well": one.is_well,
            "revision": self._short(one.revision),
            "rolling": one.rolling,
            "history": sparkline(self._history.points(one.name, now), now),
            "rows": [self._row(row) for row in one.rows],
        }

    def _row(self, row: Row) -> dict[str, Any]:
        return {
            "key": row.key,
            "task": row.task.short if row.task else "",
            "at": row.at,
            "health": row.health,
            "output": row.endpoint.output if row.endpoint else "",
            "since": row.since,
            "revision": self._short(row.revision),
            "node": row.node,
        }

    def _short(self, revision: str) -> str:
        return revision.removeprefix(f"{self._lab.name}-")
