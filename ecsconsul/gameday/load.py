"""The load: clients that look a service up in Consul's DNS for each request, as its callers do.

A client tries the SRV records one after the other until an instance answers: the least that a caller of a service with
several instances does. While DNS doesn't answer, or lists no instance, it uses the last records it got, as HAProxy does
for this long too (`hold`, https://docs.haproxy.org/3.0/configuration.html#5.3.2): a Consul server that has just started
may know of no service yet.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..consul.dns import lookup
from ..errors import LabError
from .figures import Answer, Request

DNS_TIMEOUT, REQUEST_TIMEOUT, HOLD = 1.0, 5.0, 30.0
# a client that got no records at all asks again this often, for this long, before its request has failed
ASK_AGAIN, PATIENCE = 0.05, 0.5
# between two looks at what DNS lists
LOOK_EVERY = 0.02
# more requests than any game needs
MOST_REQUESTS = 2_000_000


@dataclass
class Directory:
    """What Consul's DNS says, and what it said last."""

    host: str
    port: int
    tcp: bool
    names: Mapping[str, str]  # the DNS name of each service
    answers: list[Answer] = field(default_factory=list)
    _seen: dict[str, frozenset[str]] = field(default_factory=dict)
    _last: dict[str, tuple[float, list[str]]] = field(default_factory=dict)

    def ask(self, service: str) -> tuple[list[str], bool]:
        """The endpoints of a service in the order of DNS's answer, and whether it's the last answer for want of one."""
        found = self.now(service)
        if found:
            self._last[service] = time.monotonic(), found
            return found, False
        at, last = self._last.get(service, (0.0, []))
        return (last, True) if time.monotonic() - at < HOLD else ([], found is None)

    def now(self, service: str) -> list[str] | None:
        """The endpoints in DNS's answer; None when it doesn't answer."""
        try:
            found = lookup(self.names[service], "SRV", self.host, self.port, tcp=self.tcp, timeout=DNS_TIMEOUT)
        except LabError:
            return None
        if found.rcode not in ("NOERROR", "NXDOMAIN"):
            return None
        return [f"{record.address}:{record.port}" for record in found.answers if record.address]

    def look(self, service: str) -> frozenset[str] | None:
        """The endpoints that DNS lists now, which are recorded; None when it doesn't answer."""
        endpoints = self.now(service)
        if endpoints is None:
            return None
        found = frozenset(endpoints)
        # only what differs: a game asks thousands of times
        if self._seen.get(service) != found:
            self._seen[service] = found
            self.answers.append(Answer(time.monotonic(), service, found))
        return found


@dataclass
class Load:
    """Requests to services, `threads` at a time, and `rate` a second and service at most."""

    directory: Directory
    paths: Mapping[str, str]  # what is requested of each service; without one, a connection has to do
    threads: int
    rate: float
    requests: list[Request] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Sends requests, and looks at what DNS lists, until the end of the context."""
        services = list(self.paths)
        workers = [threading.Thread(target=self._work, args=(one,), daemon=True) for one in services * self.threads]
        workers += [threading.Thread(target=self._look, args=(one,), daemon=True) for one in services]
        for worker in workers:
            worker.start()
        try:
            yield
        finally:
            self._over.set()
            for worker in workers:
                worker.join(DNS_TIMEOUT * 4 + REQUEST_TIMEOUT * 4)

    def _work(self, service: str) -> None:
        pause = self.threads / self.rate
        while not self._over.is_set() and len(self.requests) < MOST_REQUESTS:
            done = self.request(service)
            self.requests.append(done)
            self._over.wait(max(0.0, pause - done.seconds))

    def _look(self, service: str) -> None:
        while not self._over.wait(LOOK_EVERY):
            self.directory.look(service)

    def request(self, service: str) -> Request:
        """One request, with a lookup of its own."""
        began = time.monotonic()
        endpoints, stale = self._endpoints(service, began)
        error = "DNS lists no instance"
        for tries, endpoint in enumerate(endpoints, start=1):
            error = _call(endpoint, self.paths[service])
            if not error:
                return Request(began, time.monotonic() - began, service, tries, ok=True, stale=stale)
        took = time.monotonic() - began
        return Request(began, took, service, len(endpoints), ok=False, stale=stale, error=f"{service}: {error}")

    def _endpoints(self, service: str, began: float) -> tuple[Sequence[str], bool]:
        endpoints, stale = self.directory.ask(service)
        while not endpoints and time.monotonic() - began < PATIENCE and not self._over.wait(ASK_AGAIN):
            endpoints, stale = self.directory.ask(service)
        return endpoints, stale


def _call(endpoint: str, path: str) -> str:
    """Send one request; returns what went wrong, or nothing."""
    host, _, port = endpoint.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=REQUEST_TIMEOUT)
    try:
        connection.connect()
        if not path:
            return ""
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        answer.read(1 << 20)
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    finally:
        connection.close()
    return "" if answer.status < 500 else f"HTTP {answer.status}"
