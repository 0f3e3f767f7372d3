"""Probes a service the way Consul's own HTTP and TCP checks do."""

from __future__ import annotations

import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from socket import AF_INET, SHUT_RDWR, create_connection, inet_pton, socket
from typing import NamedTuple
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from .checks import HttpProbe, Probe, Status, TcpProbe, UdpProbe

OUTPUT_BYTES = 4096  # what Consul keeps of a check's output
REDIRECTS = 10  # what Go's HTTP client, and so Consul's check, follows
HEADERS = {"User-ConsulClient": "Consul Health Check", "Accept": "text/plain, text/*, */*"}


class ProbeResult(NamedTuple):
    """The status Consul would give, and the output its check would show."""

    status: Status
    output: str


class _Response(NamedTuple):
    code: int
    reason: str
    location: str
    body: str


def run_probe(probe: Probe | UdpProbe) -> ProbeResult:
    """Probe once, within the probe\'s timeout. A failure is a critical result, never an exception."""
    if isinstance(probe, UdpProbe):
        return _probe_udp(probe)
    return _probe_tcp(probe) if isinstance(probe, TcpProbe) else _probe_http(probe)


def status_of(code: int) -> Status:
    """Consul's rule for HTTP checks: 2xx is passing, 429 warning, anything else critical."""
    if 200 <= code < 300:
        return "passing"
    return "warning" if code == 429 else "critical"


def _probe_tcp(probe: TcpProbe) -> ProbeResult:
    target = f"{probe.host}:{probe.port}"
    try:
        with create_connection((probe.host, probe.port), probe.timeout):
            return ProbeResult("passing", f"TCP connect {target}: Success")
    except (OSError, ValueError) as error:  # ValueError: the host can't be encoded
        return ProbeResult("critical", f"TCP connect {target}: {error}")


def _probe_udp(probe: UdpProbe) -> ProbeResult:
    """Passing as well where nothing tells: the process is another user's, or it isn't Linux."""
    target = f"UDP port {probe.port}"
    lines: list[str] = []
    for name in ("udp", "udp6"):
        try:
            lines += Path(f"/proc/{probe.process}/net/{name}").read_text().splitlines()[1:]
        except OSError as error:
            # a kernel without IPv6 has no udp6
            if name == "udp":
                return ProbeResult("passing", f"{target}: {error}")
    own = _in_proc(probe.address)
    for local in (line.split()[1] for line in lines):
        address, _, port = local.partition(":")
        if int(port, 16) == probe.port and (not own or address == own or not address.strip("0")):
            return ProbeResult("passing", f"{target}: bound")
    return ProbeResult("critical", f"{target}: nothing is bound to it")


def _in_proc(address: str) -> str:
    """An IPv4 address as the kernel's tables have it: in hexadecimal, in the host's byte order. "" for anything else.

    https://www.kernel.org/doc/html/latest/networking/proc_net_tcp.html
    """
    try:
        return f"{int.from_bytes(inet_pton(AF_INET, address), sys.byteorder):08X}"
    except OSError:
        return ""


def _probe_http(probe: HttpProbe) -> ProbeResult:
    deadline = time.monotonic() + probe.timeout
    request = f"HTTP {probe.method} {probe.url}"
    try:
        response = _follow(probe, deadline)
    except (OSError, HTTPException, ValueError) as error:  # ValueError: the URL or method can't be sent
        timed_out = time.monotonic() >= deadline
        return ProbeResult("critical", f"{request}: {f'no answer within {probe.timeout:g} s' if timed_out else error}")
    return ProbeResult(
        status_of(response.code), f"{request}: {response.code} {response.reason} Output: {response.body}"
    )


def _follow(probe: HttpProbe, deadline: float) -> _Response:
    """The response after redirects."""
    url, method = probe.url, probe.method
    for _ in range(REDIRECTS + 1):
        response = _request(url, method, deadline, skip_verify=probe.tls_skip_verify)
        if response.code not in (301, 302, 303, 307, 308) or not response.location:
            return response
        url = urljoin(url, response.location)
        if response.code < 304 and method != "HEAD":
            method = "GET"
    raise HTTPException(f"stopped after {REDIRECTS} redirects")


def _request(url: str, method: str, deadline: float, *, skip_verify: bool) -> _Response:
    parts = urlsplit(url)
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError("timed out")
    with closing(_connection(parts, remaining, skip_verify=skip_verify)) as connection:
        connection.connect()
        with _abort_at(connection.sock, deadline) as aborted:
            connection.request(method, _target(parts), headers=HEADERS)
            raw = connection.getresponse()
            if aborted.is_set():  # the headers were cut short
                raise TimeoutError("timed out")
            body = raw.read(OUTPUT_BYTES).decode(errors="replace")
        return _Response(raw.status, raw.reason, raw.getheader("Location", ""), body)


def _target(parts: SplitResult) -> str:
    """The path and query, percent-encoded where a request line requires it."""
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
def _abort_at(connected: socket, deadline: float) -> Iterator[threading.Event]:
    """Shut the socket down at the deadline; its own timeout restarts with every byte.

    Yields an event that is set once that has happened.
    """
    aborted = threading.Event()

    def abort() -> None:
        aborted.set()
        try:
            connected.shutdown(SHUT_RDWR)
        except OSError:
            return  # the server has closed it already

    timer = threading.Timer(max(0.0, deadline - time.monotonic()), abort)
    timer.daemon = True
    timer.start()
    try:
        yield aborted
    finally:
        timer.cancel()
