"""HTTP to one server over TCP, TLS or a Unix socket, with kept connections; what is asked is left to others.

The standard library's client and no more: the Registrator's image holds nothing that must be installed or patched,
and a request costs a fifth of what it does with a bigger one, which counts when a thousand services are told.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import NamedTuple

from ..errors import LabError, Unreachable
from .settings import Server, Tls

CONNECT_SECONDS = 3.0
KEPT = 32


class Answer(NamedTuple):
    """What a server answered."""

    code: int
    body: bytes

    @property
    def words(self) -> str:
        return self.body.decode(errors="replace").strip()[:300]


class HttpClient:
    """Requests to one server; threads may share it. Every method raises Unreachable when there is no answer."""

    def __init__(self, who: str, server: Server, *, timeout: float, headers: Mapping[str, str] | None = None) -> None:
        """`who` is what people call the server."""
        self.server = server
        self._who = who
        self._timeout = timeout
        self._headers = dict(headers or {})
        self._tls = _context(server.tls) if server.tls else None
        self._idle: list[HTTPConnection] = []
        self._closed = False
        self._lock = threading.Lock()

    def request(self, method: str, path: str, body: bytes | None = None, *, timeout: float | None = None) -> Answer:
        """One request that may be made twice, for a kept connection may have been closed by the server meanwhile.

        `timeout` in seconds, for each wait in it.
        """
        if (connection := self._kept()) is not None:
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
        """The answer to a GET, line by line as it comes; a server that says nothing for so long is given up."""
        connection = self._new()
        try:
            connection.connect()
            connected = connection.sock  # which the connection forgets when the answer ends with it
            # some servers answer with the first line only, and some are slow to answer at all
            connected.settimeout(max(silence, self._timeout))
            connection.request("GET", path, headers=self._headers)
            with closing(connection.getresponse()) as response:
                connected.settimeout(silence)
                yield Stream(connected, response)
        except (OSError, HTTPException, ValueError) as error:  # ValueError: the file was closed while it was read
            raise self._unreachable(path, error) from error
        finally:
            connection.close()

    def close(self) -> None:
        """Close the connections that are kept, and keep none any more."""
        with self._lock:
            idle, self._idle, self._closed = self._idle, [], True
        for connection in idle:
            connection.close()

    def _exchange(
        self, connection: HTTPConnection, method: str, path: str, body: bytes | None, timeout: float | None
    ) -> Answer:
        if connection.sock is None:
            connection.connect()
        connection.sock.settimeout(timeout or self._timeout)
        connection.request(method, path, body, self._headers)
        response = connection.getresponse()
        answer = Answer(response.status, response.read())
        self._keep(connection)
        return answer

    def _kept(self) -> HTTPConnection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _keep(self, connection: HTTPConnection) -> None:
        with self._lock:
            if connection.sock is not None and len(self._idle) < KEPT and not self._closed:
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
        why = "no answer in time" if isinstance(error, TimeoutError) else getattr(error, "strerror", "") or str(error)
        return Unreachable(f"{self._who} does not answer", where=f"{self.server}{path.partition('?')[0]}", why=why)


class Stream:
    """An answer that goes on; `close` from another thread ends who reads it."""

    def __init__(self, connected: socket.socket, response: HTTPResponse) -> None:
        self.code = response.status
        self._socket = connected
        self._response = response

    def lines(self) -> Iterator[bytes]:
        """Each line when it is there, until the server ends it. Raises OSError, HTTPException or ValueError."""
        while line := self._response.readline():
            yield line

    def close(self) -> None:
        """End it now."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the other side was first


class _UnixConnection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=CONNECT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CONNECT_SECONDS)
        self.sock.connect(self._path)


def _context(tls: Tls) -> ssl.SSLContext:
    """Raises LabError when a file cannot be read."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file or None)
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file or None)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(name for name in (tls.ca_file, tls.cert_file, tls.key_file) if name)
        raise LabError("TLS cannot be set up", where=files, why=str(error)) from error
    return context
