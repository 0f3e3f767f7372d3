"""Asks one Docker engine: its events as they come, its containers, and who it is; decides nothing.

Paths carry no version, so an engine answers in its own: every one from Docker 20.10 on is understood.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

from ..errors import LabError
from .container_snapshot import ContainerSnapshot, Event, address_of, event_of, snapshot_of
from .http_transport import HttpClient, Stream
from .settings import Server

TIMEOUT = 30.0
# an event stream that is silent for so long is opened anew: nothing else tells that its other end is gone
SILENCE = 300.0
ACTIONS = ("start", "die", "kill", "pause", "unpause", "health_status", "rename", "destroy")
NETWORK_ACTIONS = ("connect", "disconnect")


class EngineRefuses(LabError):
    """The engine answered, and said no."""


class Engine:
    """One engine; threads may share it. Every method raises Unreachable when it does not answer."""

    def __init__(self, server: Server, label: str = "", *, silence: float = SILENCE) -> None:
        """Only containers with the label (KEY or KEY=VALUE) are told of, when one is given."""
        self._http = HttpClient("Docker", server, timeout=TIMEOUT)
        self.label = label
        self._silence = silence

    def identity(self) -> str:
        """What tells this engine from others, whatever its host's name."""
        return str(self._get("/info").get("ID") or "")

    def running(self) -> list[str]:
        """The ids of the containers that run; paused ones do."""
        return self._ids({"status": ["running", "paused"]})

    def ended(self) -> list[str]:
        """The ids of the containers that have ended and are still there."""
        return self._ids({"status": ["exited", "dead"]})

    def inspect(self, container: str) -> ContainerSnapshot | None:
        """None: there is no such container (any more)."""
        told = self._inspect(container)
        if told is None:
            return None
        facts = snapshot_of(told)
        if facts.shares_network_of and (other := self._inspect(facts.shares_network_of)):
            return replace(facts, container=replace(facts.container, ip=address_of(other)))
        return facts

    @contextmanager
    def events(self, since: int) -> Iterator[Events]:
        """What happens from `since` on (nanoseconds since 1970), as far back as the engine remembers."""
        asked = {"type": ["container"], "event": list(ACTIONS)}
        if self.label:
            asked["label"] = [self.label]
        else:
            asked["type"].append("network")
            asked["event"] += NETWORK_ACTIONS
        moment = f"{since // 10**9}.{since % 10**9:09d}"
        path = f"/events?{urlencode({'since': moment, 'filters': json.dumps(asked)})}"
        with self._http.stream(path, self._silence) as told:
            if told.code != 200:
                where = str(self._http.server)
                raise EngineRefuses("Docker gives no events", where=where, why=f"it answers {told.code}")
            yield Events(told)

    def close(self) -> None:
        self._http.close()

    def _ids(self, filters: dict[str, list[str]]) -> list[str]:
        if self.label:
            filters["label"] = [self.label]
        return [one["Id"] for one in self._get(f"/containers/json?{urlencode({'filters': json.dumps(filters)})}")]

    def _inspect(self, container: str) -> Any:
        path = f"/containers/{quote(container, safe='')}/json"
        answer = self._http.request("GET", path)
        return None if answer.code == 404 else self._decoded(path, answer.code, answer.body)

    def _get(self, path: str) -> Any:
        answer = self._http.request("GET", path)
        return self._decoded(path, answer.code, answer.body)

    def _decoded(self, path: str, code: int, body: bytes) -> Any:
        where = f"{self._http.server}{path.partition('?')[0]}"
        if code != 200:
            why = f"{code} {body[:200].decode(errors='replace').strip()}"
            raise EngineRefuses("Docker refuses", where=where, why=why)
        try:
            return json.loads(body)
        except ValueError as error:
            raise EngineRefuses("that is not what Docker's API answers", where=where, why=str(error)) from error


class Events:
    """The events of a stream; `close` from another thread ends them. `fell_silent`: nothing was heard for too long."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.fell_silent = False
        self.close: Callable[[], None] = stream.close

    def __iter__(self) -> Iterator[Event]:
        try:
            for line in self._stream.lines():
                if line.strip() and (event := event_of(json.loads(line))):
                    yield event
        except TimeoutError:
            self.fell_silent = True
