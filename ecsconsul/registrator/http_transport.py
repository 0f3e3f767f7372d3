"""HTTP to one server over TCP, TLS or a Unix socket, with connection reuse.

Built on the standard library, so the Registrator's image needs no packages. A request costs a fifth of what it costs
with a full-featured client, which matters when a thousand services are registered.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from email.message import Message
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import NamedTuple

from ..errors import LabError, Unreachable
from .settings import Server, Tls

CONNECT_SECONDS = 3.0
MAX_UNIX_PATH = 107
MAX_IDLE = 32


class Response(NamedTuple):
    """A complete HTTP response."""

    code: int
    body: bytes
    headers: Message

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace").strip()[:300]


class HttpClient:
    """Requests to one server; threads may share a client. Every method raises Unreachable without an answer."""

    def __init__(self, name: str, server: Server, *, timeout: float, headers: Mapping[str, str] | None = None) -> None:
        """`name` is what error messages call the server."""
        self.server = server
        self._name = name
        self._timeout = timeout
        self._headers = dict(headers or {})
        self._tls = _context(server.tls) if server.tls else None
        self._idle: list[HTTPConnection] = []
        self._closed = False
        self._lock = threading.Lock()

    def request(self, method: str, path: str, body: bytes | None = None, *, timeout: float | None = None) -> Response:
        """One idempotent request: it is sent again if the server has closed the reused connection.

        `timeout` in seconds, for each read and write.
        """
        if (connection := self._take_idle()) is not None:
            try:
                return self._exchange(connection, method, path, body, timeout)
            except TimeoutError as error:
                connection.close()
                raise self._unreachable(path, error) from error
            except (OSError, HTTPException):
                connection.close()
        connection = self._new()
        try:
            return self._exchange(connection, method, path, body, timeout)
        except (OSError, HTTPException) as error:
            connection.close()
            raise self._unreachable(path, error) from error

    @contextmanager
    def stream(self, path: str, silence: float) -> Iterator[Stream]:
        """The streamed response to a GET. Reading it raises TimeoutError when nothing arrives for `silence` seconds."""
        connection = self._new()
        try:
            connection.connect()
            connected = connection.sock  # the connection drops it once the response has ended
            # some servers send the headers together with the first line
            connected.settimeout(max(silence, self._timeout))
            connection.request("GET", path, headers=self._headers)
            with closing(connection.getresponse()) as response:
                connected.settimeout(silence)
                yield Stream(connected, response)
        except (OSError, HTTPException, ValueError) as error:  # ValueError: the file was closed during a read
            raise self._unreachable(path, error) from error
        finally:
            connection.close()

    def use_headers(self, headers: Mapping[str, str]) -> None:
        """Send these headers from the next request on."""
        self._headers = dict(headers)

    def close(self) -> None:
        """Close the idle connections, and from now on each connection after its request."""
        with self._lock:
            idle, self._idle, self._closed = self._idle, [], True
        for connection in idle:
            connection.close()

    def _exchange(
        self, connection: HTTPConnection, method: str, path: str, body: bytes | None, timeout: float | None
    ) -> Response:
        if connection.sock is None:
            connection.connect()
        connection.sock.settimeout(timeout or self._timeout)
        connection.request(method, path, body, self._headers)
        response = connection.getresponse()
        complete = Response(response.status, response.read(), response.headers)
        self._keep(connection)
        return complete

    def _take_idle(self) -> HTTPConnection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _keep(self, connection: HTTPConnection) -> None:
        with self._lock:
            if connection.sock is not None and len(self._idle) < MAX_IDLE and not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _new(self) -> HTTPConnection:
        if self.server.socket:
            return _UnixConnection(self.server.socket)
        if self._tls:
            return HTTPSConnection(self.server.host, self.server.port, timeout=CONNECT_SECONDS, context=self._tls)
        return HTTPConnection(self.server.host, self.server.port, timeout=CONNECT_SECONDS)

    def _unreachable(self, path: str, error: Exception) -> Unreachable:
        why = "timed out" if isinstance(error, TimeoutError) else getattr(error, "strerror", "") or str(error)
        return Unreachable(f"{self._name} doesn't answer", where=f"{self.server}{path.partition('?')[0]}", why=why)


class Stream:
    """A response that is read line by line; any thread may call `close`."""

    def __init__(self, connected: socket.socket, response: HTTPResponse) -> None:
        self.code = response.status
        self._socket = connected
        self._response = response

    def lines(self) -> Iterator[bytes]:
        """Each line as it arrives, until the stream ends. Raises OSError, HTTPException or ValueError."""
        while line := self._response.readline():
            yield line

    def close(self) -> None:
        """End the iteration."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the server has closed it already


class _UnixConnection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=CONNECT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CONNECT_SECONDS)
        with unix_address(self._path) as path:
            self.sock.connect(path)


@contextmanager
def unix_address(path: str) -> Iterator[str]:
    """A path to a Unix socket that fits into an address: one through an open folder where its own is too long.

    https://man7.org/linux/man-pages/man7/unix.7.html: 108 bytes with the final null. Raises OSError.
    """
    if len(os.fsencode(path)) <= MAX_UNIX_PATH:
        yield path
        return
    folder = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{Path(path).name}"
    finally:
        os.close(folder)


def _context(tls: Tls) -> ssl.SSLContext:
    """Raises LabError if a file can't be read."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file or None)
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file or None)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(name for name in (tls.ca_file, tls.cert_file, tls.key_file) if name)
        raise LabError("Can't load the TLS files", where=files, why=str(error)) from error
    return context
