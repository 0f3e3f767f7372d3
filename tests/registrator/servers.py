"""Fake servers: a Docker engine that streams its events, and a Consul agent.

Both can stop and start again. The engine keeps its containers; the agent loses its state only if query to.
"""

from __future__ import annotations

import json
import queue
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.listening import reserved_port

Json = dict[str, Any]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, code: int, body: Any = None) -> None:
        text = b"" if body is None else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def address_string(self) -> str:
        return "somebody"

    def log_message(self, *_: object) -> None:
        """Tests don't read it."""


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64


@dataclass
class FakeDocker:
    """Containers by ID, in the form of Docker's inspect; events go to every open stream."""

    path: Path
    containers: dict[str, Json] = field(default_factory=dict)
    images: dict[str, Json] = field(default_factory=dict)  # by ID, in the form of Docker's inspect
    broken: set[str] = field(default_factory=set)  # IDs that can't be inspected
    history: list[Json] = field(default_factory=list)
    _listeners: list[queue.SimpleQueue[Json | None]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _sockets: list[socket.socket] = field(default_factory=list)
    _server: _UnixServer | None = None
    _last: int = 0
    opened: int = 0
    listed: int = 0

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    # --- events

    def run(self, container: str, **details: Any) -> None:
        """Start a container; `port` is the host port that its port 80 is published on."""
        with self._lock:
            self.containers[container] = inspected(container, self._moment(), **details)
            self._emit("start", container)

    def die(self, container: str, code: int = 0, *, remove: bool = True) -> None:
        with self._lock:
            state = self.containers[container]["State"]
            state.update(Running=False, Paused=False, ExitCode=code)
            self._emit("die", container, exitCode=str(code))
            if remove:
                del self.containers[container]
                self._emit("destroy", container)

    def change(self, container: str, action: str, **state: Any) -> None:
        """Change the container's state and send an event."""
        with self._lock:
            self.containers[container]["State"].update(state)
            self._emit(action, container)

    def kill(self, container: str, number: str) -> None:
        with self._lock:
            self._emit("kill", container, signal=number)

    def rename(self, container: str, name: str) -> None:
        with self._lock:
            self.containers[container]["Name"] = f"/{name}"
            self._emit("rename", container)

    def drop_streams(self) -> None:
        """End every event stream, as a stopping engine does."""
        with self._lock:
            for listener in self._listeners:
                listener.put(None)
            self._listeners.clear()

    def forget_history(self) -> None:
        self.history.clear()

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    def _moment(self) -> int:
        """Timestamps are unique."""
        self._last = max(self._last + 1, time.time_ns())
        return self._last

    def _emit(self, action: str, container: str, **attributes: str) -> None:
        event = {
            "Type": "container",
            "Action": action,
            "Actor": {"ID": container, "Attributes": attributes},
            "timeNano": self._moment(),
        }
        self.history.append(event)
        for listener in self._listeners:
            listener.put(event)

    # --- serving

    def start(self) -> None:
        fake = self

        class Handler(_Handler):
            def do_GET(self) -> None:
                fake._sockets.append(self.connection)
                parts = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(parts.query).items()}
                if parts.path == "/events":
                    self.close_connection = True
                    self.stream(query)
                else:
                    self.answer(*fake.answer(unquote(parts.path), query))

            def stream(self, query: dict[str, str]) -> None:
                # listen first: a client that has the response must miss nothing
                listener = fake.listen(query["since"])
                self.send_response(200)
                self.end_headers()
                self.wfile.flush()
                with suppress(OSError):
                    while (event := listener.get()) is not None:
                        self.wfile.write(json.dumps(event).encode() + b"\n")
                        self.wfile.flush()

        self.path.unlink(missing_ok=True)
        self._server = _UnixServer(str(self.path), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Stop answering; the containers run on, as with live-restore."""
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()
        self.path.unlink(missing_ok=True)
        self.drop_streams()
        while self._sockets:
            with suppress(OSError):
                self._sockets.pop().shutdown(socket.SHUT_RDWR)

    def listen(self, since: str) -> queue.SimpleQueue[Json | None]:
        seconds, _, nanoseconds = since.partition(".")
        moment = int(seconds) * 10**9 + int(nanoseconds)
        listener: queue.SimpleQueue[Json | None] = queue.SimpleQueue()
        with self._lock:
            for event in self.history:
                if event["timeNano"] >= moment:
                    listener.put(event)
            self._listeners.append(listener)
            self.opened += 1
        return listener

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        with self._lock:
            if path == "/info":
                return 200, {"ID": "ENGINE:1"}
            if path == "/containers/json":
                self.listed += 1
                ended = "exited" in json.loads(query["filters"])["status"]
                return 200, [{"Id": one["Id"]} for one in self.containers.values() if one["State"]["Running"] != ended]
            if path.startswith("/images/"):
                found = self.images.get(path.split("/")[2])
                return (200, found) if found else (404, {"message": "no such image"})
            if path.split("/")[2] in self.broken:
                return 500, {"message": "no such layer"}
            found = self.containers.get(path.split("/")[2])
            return (200, found) if found else (404, {"message": "no such container"})


def inspected(container: str, started_at: int, **details: Any) -> Json:
    """A container in the form of Docker's inspect."""
    seconds, nanoseconds = divmod(started_at, 10**9)
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds:09d}Z"
    address, port = details.get("ip", ""), details.get("port")
    published = [{"HostIp": "0.0.0.0", "HostPort": str(port)}] if port else None
    return {
        "Id": container,
        "Name": f"/{details.get('name', container)}",
        "Image": details.get("image_id", ""),
        "Config": {
            "Image": details.get("image", "web:1"),
            "Env": details.get("env", []),
            "Labels": {},
            "ExposedPorts": {"80/tcp": {}},
            "StopSignal": details.get("stop_signal"),
        },
        "HostConfig": {"NetworkMode": "default"},
        "NetworkSettings": {
            "Ports": {"80/tcp": published},
            "Networks": {"bridge": {"IPAddress": address}},
        },
        "State": {"Running": True, "Paused": False, "StartedAt": moment, "ExitCode": 0},
    }


@dataclass
class FakeConsul:
    """The part of a Consul agent's API that a Registrator uses; `writes` lists all writes in order.

    Writes block while `accepts_writes` is not set.
    """

    port: int
    services: dict[str, Json] = field(default_factory=dict)
    writes: list[tuple[str, str]] = field(default_factory=list)
    statuses: dict[str, str] = field(default_factory=dict)
    checks: dict[str, str] = field(default_factory=dict)  # the ID of each service's check
    refused: set[str] = field(default_factory=set)
    tokens: set[str] = field(default_factory=set)
    delay: float = 0.0
    accepts_writes: threading.Event = field(default_factory=threading.Event)
    _server: ThreadingHTTPServer | None = None
    _sockets: list[socket.socket] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.accepts_writes.set()

    def start(self) -> None:
        fake = self

        class Handler(_Handler):
            def do_GET(self) -> None:
                fake._sockets.append(self.connection)
                fake.tokens.add(self.headers.get("X-Consul-Token", ""))
                self.answer(*fake.read(unquote(urlsplit(self.path).path)))

            def do_PUT(self) -> None:
                fake._sockets.append(self.connection)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                time.sleep(fake.delay)
                fake.accepts_writes.wait(60)
                self.answer(*fake.write(unquote(urlsplit(self.path).path), json.loads(body or "null")))

        class Server(ThreadingHTTPServer):
            allow_reuse_address = True
            request_queue_size = 64
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Clients may disconnect at any time."""

        self._server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self, *, lose_state: bool = False) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()
        while self._sockets:
            with suppress(OSError):
                self._sockets.pop().shutdown(socket.SHUT_RDWR)
        # a restarted agent has its services, but hasn't run their checks yet
        self.statuses = dict.fromkeys(self.statuses, "critical")
        if lose_state:
            self.services.clear()
            self.statuses.clear()

    def read(self, path: str) -> tuple[int, Any]:
        with self._lock:
            if path == "/v1/agent/services":
                return 200, self.services
            if path == "/v1/agent/self":
                return 200, {"Member": {"Addr": "10.0.0.5"}}
            if path == "/v1/agent/checks":
                found = self.statuses.items()
                return 200, {self.checks[one]: {"ServiceID": one, "Status": status} for one, status in found}
            name = path.removeprefix("/v1/health/service/")
            passing = [one for one in self.services.values() if one["Service"] == name]
            return 200, [{"Service": one} for one in passing if self.statuses.get(one["ID"]) != "critical"]

    def write(self, path: str, body: Any) -> tuple[int, Any]:
        with self._lock:
            if path == "/v1/agent/service/register":
                service_id = body["ID"]
                if service_id in self.refused:
                    return 403, "Permission denied"
                self.writes.append(("register", service_id))
                check = body.pop("Check", {})
                # Consul keeps the status of a check that it already has
                known = self.checks.get(service_id)
                self.checks[service_id] = check.get("CheckID", f"service:{service_id}")
                if service_id not in self.statuses or known != self.checks[service_id]:
                    self.statuses[service_id] = check.get("Status", "critical" if check else "passing")
                name = body.pop("Name")
                self.services[service_id] = {**body, "Service": name}
                return 200, None
            service_id = path.removeprefix("/v1/agent/service/deregister/")
            self.writes.append(("deregister", service_id))
            self.statuses.pop(service_id, None)
            return (200, None) if self.services.pop(service_id, None) else (404, f"Unknown service ID {service_id}")


@contextmanager
def fake_docker(path: Path) -> Iterator[FakeDocker]:
    server = FakeDocker(path)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def fake_consul() -> Iterator[FakeConsul]:
    with reserved_port() as port:
        server = FakeConsul(port)
        server.start()
        try:
            yield server
        finally:
            server.stop()
