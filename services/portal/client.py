"""GETs a path from the first instance of a service that answers.

All requests are idempotent GETs, so an incomplete answer is retried on the next instance.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from discovery import Discovery, NotFound, Record, Trace

# Timeouts in seconds: of a whole request, of connecting to an instance, and of its answer.
DEADLINE, CONNECT, ANSWER = 5.0, 1.0, 3.0
# Seconds before each lookup: the second is immediate, since a rolling deploy may just have moved the instances;
# the later ones bridge the time between an instance's death and its removal from the catalog.
PAUSES = (0.0, 0.0, 0.1, 0.3)


@dataclass(frozen=True)
class Attempt:
    """A call to an instance, and its outcome: "HTTP 200" or why there was no answer."""

    endpoint: str
    outcome: str
    milliseconds: float


@dataclass
class Journey(Trace):
    """The trace of a request: its lookups, its calls, and the instance that answered."""

    attempts: list[Attempt] = field(default_factory=list)
    chosen: Record | None = None
    milliseconds: float = 0.0


@dataclass(frozen=True)
class Reply:
    """An instance's answer."""

    status: int
    body: bytes


class Unavailable(Exception):
    """No instance answered. `status` is 503, or 504 after the deadline; `journey` is the trace."""

    def __init__(self, reason: str, status: int, journey: Journey) -> None:
        super().__init__(reason)
        self.status = status
        self.journey = journey


class Client:
    """Finds a service's instances and calls them in turn; `clock` and `pause` use seconds."""

    def __init__(
        self,
        discovery: Discovery,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._discovery = discovery
        self._clock = clock
        self._pause = pause

    def get(self, service: str, path: str) -> tuple[Reply, Journey]:
        """The first answer of an instance of the service. Raises Unavailable."""
        began = self._clock()
        journey = Journey(service)
        try:
            reply = self._rounds(path, began + DEADLINE, journey)
        finally:
            journey.milliseconds = self._since(began)
        return reply, journey

    def _rounds(self, path: str, deadline: float, journey: Journey) -> Reply:
        failure = NotFound("no time was left for a lookup", slow=True)
        for pause in PAUSES:
            if self._clock() + pause >= deadline:
                break
            # DNS doesn't notify about changes, so there is no event to wait for.
            self._pause(pause)
            try:
                return self._round(path, deadline, journey)
            except NotFound as error:
                failure = error
        raise Unavailable(str(failure), 504 if failure.slow else 503, journey)

    def _round(self, path: str, deadline: float, journey: Journey) -> Reply:
        """Looks up the service, and calls its instances; those that failed before come last."""
        failed = {attempt.endpoint for attempt in journey.attempts}
        records = self._discovery.find(journey.service, deadline, journey)
        for record in sorted(records, key=lambda record: record.endpoint in failed):
            reply = self._call(record, path, deadline, journey)
            if reply is not None:
                return reply
        last = journey.attempts[-1].outcome if journey.attempts else "no time left"
        slow = "timed out" in last or self._clock() >= deadline
        raise NotFound(f"none of the {len(records)} instances of {journey.service} answered ({last})", slow=slow)

    def _call(self, record: Record, path: str, deadline: float, journey: Journey) -> Reply | None:
        began = self._clock()
        if began >= deadline:
            return None
        reply, outcome = self._exchange(record, path, deadline - began)
        journey.attempts.append(Attempt(record.endpoint, outcome, self._since(began)))
        if reply is not None:
            journey.chosen = record
        return reply

    def _exchange(self, record: Record, path: str, left: float) -> tuple[Reply | None, str]:
        """The answer of an instance while seconds are left, or None and the reason."""
        connection = http.client.HTTPConnection(record.address or "", record.port, timeout=min(CONNECT, left))
        try:
            connection.connect()
            connection.sock.settimeout(min(ANSWER, left))
            connection.request("GET", path, headers={"Accept": "application/json", "Connection": "close"})
            response = connection.getresponse()
            return Reply(response.status, response.read()), f"HTTP {response.status}"
        except OSError as error:
            return None, error.strerror or str(error) or type(error).__name__
        except http.client.HTTPException as error:
            return None, f"broken answer: {str(error) or type(error).__name__}"
        finally:
            connection.close()

    def _since(self, began: float) -> float:
        return round((self._clock() - began) * 1000, 2)
