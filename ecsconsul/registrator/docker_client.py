"""A client for one Docker engine's HTTP API: its identity, containers and events.

Paths carry no version, so each engine answers in its own: Docker 20.10 and later are supported.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

from ..errors import LabError
from .container_snapshot import (
    ContainerSnapshot,
    Event,
    address_of,
    image_id,
    parse_container,
    parse_event,
    repository_of,
)
from .http_transport import HttpClient, Stream
from .settings import Server

TIMEOUT = 30.0
# A stream that is silent for this long is reopened: nothing else reveals that the other end is gone.
SILENCE = 300.0
ID_DIGITS = 16
# `died` and `remove` are Podman's: it filters by its own words, whatever it calls the events that it sends
ACTIONS = ("start", "die", "died", "kill", "pause", "unpause", "health_status", "rename", "destroy", "remove")
NETWORK_ACTIONS = ("connect", "disconnect")


class DockerRefused(LabError):
    """The engine answered with an error."""


class DockerClient:
    """One engine; threads may share a client. Every method raises Unreachable when the engine doesn't answer."""

    def __init__(self, server: Server, label: str = "", *, silence: float = SILENCE) -> None:
        """With a label (KEY or KEY=VALUE), only containers with that label are listed and reported."""
        self._http = HttpClient("Docker", server, timeout=TIMEOUT)
        self.label = label
        self._silence = silence

    def identity(self) -> str:
        """A stable ID of this engine. Docker's doesn't depend on the host name; Podman has a new one in each answer."""
        info = self._get("/info")
        if "BuildahVersion" not in info:
            return str(info.get("ID") or "")
        where = f"{info.get('Name')}:{info.get('DockerRootDir')}"
        return f"podman-{hashlib.sha256(where.encode()).hexdigest()[:ID_DIGITS]}"

    def running(self) -> list[str]:
        """The IDs of running containers, paused ones included."""
        return self._ids({"status": ["running", "paused"]})

    def ended(self) -> list[str]:
        """The IDs of containers that have exited and haven't been removed."""
        return self._ids({"status": ["exited", "dead"]})

    def inspect(self, container: str) -> ContainerSnapshot | None:
        """The container's current state, or None if it doesn't exist."""
        data = self._inspect(container)
        if data is None:
            return None
        bare = image_id(data)
        snapshot = parse_container(data, self._repository(bare) if bare else None)
        if snapshot.shares_network_of and (other := self._inspect(snapshot.shares_network_of)):
            return replace(snapshot, container=replace(snapshot.container, ip=address_of(other)))
        return snapshot

    @contextmanager
    def events(self, since: int) -> Iterator[DockerEvents]:
        """The events from `since` on (nanoseconds since 1970), as far back as the engine remembers."""
        filters = {"type": ["container"], "event": list(ACTIONS)}
        if self.label:
            filters["label"] = [self.label]
        else:
            filters["type"].append("network")
            filters["event"] += NETWORK_ACTIONS
        moment = f"{since // 10**9}.{since % 10**9:09d}"
        path = f"/events?{urlencode({'since': moment, 'filters': json.dumps(filters)})}"
        with self._http.stream(path, self._silence) as stream:
            if stream.code != 200:
                raise DockerRefused("Docker refused to stream events", where=self._where(path), why=f"{stream.code}")
            yield DockerEvents(stream)

    def close(self) -> None:
        self._http.close()

    def _ids(self, filters: dict[str, list[str]]) -> list[str]:
        if self.label:
            filters["label"] = [self.label]
        return [one["Id"] for one in self._get(f"/containers/json?{urlencode({'filters': json.dumps(filters)})}")]

    def _inspect(self, container: str) -> Any:
        path = f"/containers/{quote(container, safe='')}/json"
        response = self._http.request("GET", path)
        return None if response.code == 404 else self._decoded(path, response.code, response.body)

    def _repository(self, image: str) -> str:
        """The name of an image; "" if it has none, or has been removed."""
        path = f"/images/{quote(image, safe=':')}/json"
        response = self._http.request("GET", path)
        return "" if response.code == 404 else repository_of(self._decoded(path, response.code, response.body))

    def _get(self, path: str) -> Any:
        response = self._http.request("GET", path)
        return self._decoded(path, response.code, response.body)

    def _decoded(self, path: str, code: int, body: bytes) -> Any:
        if code != 200:
            why = f"{code} {body[:200].decode(errors='replace').strip()}"
            raise DockerRefused("Docker refused the request", where=self._where(path), why=why)
        try:
            return json.loads(body)
        except ValueError as error:
            raise DockerRefused("Docker's response isn't JSON", where=self._where(path), why=str(error)) from error

    def _where(self, path: str) -> str:
        return f"{self._http.server}{path.partition('?')[0]}"


class DockerEvents:
    """The events of an open stream; any thread may call `close`. See `Events`."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.fell_silent = False
        self.close: Callable[[], None] = stream.close

    def __iter__(self) -> Iterator[Event]:
        try:
            for line in self._stream.lines():
                if line.strip() and (event := parse_event(json.loads(line))):
                    yield event
        except TimeoutError:
            self.fell_silent = True
