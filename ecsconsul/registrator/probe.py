"""Takes a first look at a service, as Consul's own check would; what to look at is decided by rules."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from socket import SHUT_RDWR, create_connection, socket
from typing import NamedTuple
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from .checks import HttpProbe, Probe, Status, TcpProbe

OUTPUT_BYTES = 4096  # what Consul keeps of a check's output
REDIRECTS = 10  # what Go's HTTP client, and so Consul's check, follows
HEADERS = {"User-Agent": "Consul Health Check", "Accept": "text/plain, text/*, */*"}


class Look(NamedTuple):
    """What was seen: Consul's status, and the words that Consul's own check would use."""

    status: Status
    output: str


class _Answer(NamedTuple):
    code: int
    reason: str
    location: str
    body: str


def look(probe: Probe) -> Look:
    """Look once, within the probe's timeout. What fails is critical; nothing is raised for it."""
    return _look_tcp(probe) if isinstance(probe, TcpProbe) else _look_http(probe)


def status_of(code: int) -> Status:
    """Consul's rule for HTTP checks: 2xx passing, 429 warning, else critical."""
    if 200 <= code < 300:
        return "passing"
    return "warning" if code == 429 else "critical"


def _look_tcp(probe: TcpProbe) -> Look:
    target = f"{probe.host}:{probe.port}"
    try:
        with create_connection((probe.host, probe.port), probe.timeout):
            return Look("passing", f"TCP connect {target}: Success")
    except (OSError, ValueError) as error:  # ValueError: a host that cannot be encoded as a name
        return Look("critical", f"TCP connect {target}: {error}")


def _look_http(probe: HttpProbe) -> Look:
    deadline = time.monotonic() + probe.timeout
    asked = f"HTTP {probe.method} {probe.url}"
    try:
        answer = _follow(probe, deadline)
    except (OSError, HTTPException, ValueError) as error:  # ValueError: a URL or method that cannot be sent
        late = time.monotonic() >= deadline
        return Look("critical", f"{asked}: {f'no answer within {probe.timeout:g} s' if late else error}")
    return Look(status_of(answer.code), f"{asked}: {answer.code} {answer.reason} Output: {answer.body}")


def _follow(probe: HttpProbe, deadline: float) -> _Answer:
    """The answer after redirects."""
    url, method = probe.url, probe.method
    for _ in range(REDIRECTS + 1):
        answer = _request(url, method, deadline, skip_verify=probe.tls_skip_verify)
        if answer.code not in (301, 302, 303, 307, 308) or not answer.location:
            return answer
        url = urljoin(url, answer.location)
        if answer.code < 304 and method != "HEAD":
            method = "GET"
    raise HTTPException(f"stopped after {REDIRECTS} redirects")


def _request(url: str, method: str, deadline: float, *, skip_verify: bool) -> _Answer:
    parts = urlsplit(url)
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError("timed out")
    with closing(_connection(parts, remaining, skip_verify=skip_verify)) as connection:
        connection.connect()
        with _cut_off(connection.sock, deadline) as is_cut:
            connection.request(method, _target(parts), headers=HEADERS)
            response = connection.getresponse()
            if is_cut.is_set():  # the headers end where the socket did: this is not all of the answer
                raise TimeoutError("timed out")
            body = response.read(OUTPUT_BYTES).decode(errors="replace")
        return _Answer(response.status, response.reason, response.getheader("Location", ""), body)


def _target(parts: SplitResult) -> str:
    """The path and query, with what a request line cannot hold percent-encoded."""
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return quote(target, safe="/?:@!$&'()*+,;=-._~%[]")


def _connection(parts: SplitResult, timeout: float, *, skip_verify: bool) -> HTTPConnection:
    host = parts.hostname or "localhost"
    if parts.scheme == "http":
        return HTTPConnection(host, parts.port, timeout=timeout)
    if parts.scheme != "https":
        raise HTTPException(f"unsupported protocol scheme {parts.scheme!r}")
    context = ssl.create_default_context()
    if skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return HTTPSConnection(host, parts.port, timeout=timeout, context=context)


@contextmanager
def _cut_off(connected: socket, deadline: float) -> Iterator[threading.Event]:
    """Ends the conversation at the deadline: a socket's own timeout starts anew with every byte.

    Gives an event that is set once that has happened.
    """
    is_cut = threading.Event()

    def end() -> None:
        is_cut.set()
        try:
            connected.shutdown(SHUT_RDWR)
        except OSError:
            return  # the other side was first

    timer = threading.Timer(max(0.0, deadline - time.monotonic()), end)
    timer.daemon = True
    timer.start()
    try:
        yield is_cut
    finally:
        timer.cancel()
