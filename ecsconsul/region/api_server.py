"""The HTTP server of the region's AWS API: bounded in connections, and in the time that a client may take."""

from __future__ import annotations

import io
import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import ThreadedWSGIServer

from .request_guard import CHUNK, HEADERS
from .runtimes.addresses import LOOPBACK

log = logging.getLogger(__name__)

API_PORT = 5566
BACKLOG = 128
# A client of this machine sends a request at once. Whoever doesn't may be after the server's threads.
REQUEST_TIMEOUT = 20.0
# How long a client may take to read a response.
RESPONSE_TIMEOUT = 60.0
# A connection carries one request. Far fewer than the files that a process may have open, which the region needs
# for its instances and tasks.
MOST_CONNECTIONS = 200


class ApiServer(ThreadedWSGIServer):
    """Serves a WSGI application on a listening socket, with a thread for each connection."""

    def __init__(self, application: Callable[..., Any], listening: socket.socket) -> None:
        self._slots = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__(LOOPBACK, 0, application, Handler, fd=listening.fileno())

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, or hang up when there are too many."""
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer; runs in the connection's thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()


class Handler(MotoRequestHandler):
    """Reads requests within a time limit, says nothing of the server's software, and logs no request by default."""

    protocol_version = "HTTP/1.1"
    timeout = RESPONSE_TIMEOUT

    def setup(self) -> None:
        """Limit the time for reading the request."""
        super().setup()
        self.rfile = _Chunks(_TimedReader(self.connection, time.monotonic() + REQUEST_TIMEOUT))

    def make_environ(self) -> dict[str, Any]:
        """The request for WSGI, with its headers as they were received."""
        return {**super().make_environ(), HEADERS: self.headers.items()}

    def version_string(self) -> str:
        """The Server header."""
        return "ecsconsul"

    def log(self, type: str, message: str, *args: object) -> None:
        """Log at debug level: whoever is refused must not be able to fill the disk."""
        log.debug(message, *args)


class _TimedReader(io.RawIOBase):
    """Reads from a socket until `end`, by the monotonic clock; then raises TimeoutError."""

    def __init__(self, connection: socket.socket, end: float) -> None:
        self._connection = connection
        self._end = end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request took too long")
        self._connection.settimeout(left)
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(RESPONSE_TIMEOUT)


class _Chunks(io.BufferedReader):
    """Reads little at a time: werkzeug reads what is left of a refused request, up to 10 MB at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(CHUNK if size is None or size < 0 else min(size, CHUNK))


def listen() -> socket.socket:
    """Listen on the API's default port, or on a free one if that is taken."""
    try:
        return socket.create_server((LOOPBACK, API_PORT), backlog=BACKLOG)
    except OSError:
        return socket.create_server((LOOPBACK, 0), backlog=BACKLOG)
