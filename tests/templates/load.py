"""What a lab's tasks do all the time: look names up and write keys, while its instances are replaced."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import dns.exception
import dns.message
import dns.query
import dns.rcode

from tests.templates.booted import BRIDGE
from tests.templates.machine import Machine
from tests.templates.vpc import inside

# a datagram is sent once, and a busy machine may stall for seconds
LOOKUP_SECONDS, EVERY_SECONDS = 20.0, 0.05
# Consul itself tries for seven seconds to find a leader
HTTP_SECONDS, WRITE_SECONDS, AGAIN_SECONDS = 15.0, 60.0, 0.1
SERVFAIL = f"no answer, {dns.rcode.to_text(dns.rcode.SERVFAIL)}"


@dataclass
class Lookups:
    """Asks agents for weather all the time, at Docker's bridge as their tasks do, and notes what fails.

    A SERVFAIL is asked again for `servfail_seconds`, as clients and resolvers do; `repeated` counts by machine the
    lookups that this has happened to.
    """

    servfail_seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    repeated: Counter[str] = field(default_factory=Counter)
    number: int = 0

    @contextmanager
    def at(self, *machines: Machine) -> Iterator[None]:
        with _repeated([(one, lambda name=one.namespace: self._note(name, self._failure(name))) for one in machines]):
            yield

    def _note(self, name: str, failure: str) -> None:
        self.number += 1
        if failure:
            self.failures.append(f"{time.strftime('%H:%M:%S')} {name}: {failure}")

    def _failure(self, name: str) -> str:
        failure, end = self._asked(), time.monotonic() + self.servfail_seconds
        self.repeated[name] += failure == SERVFAIL
        while failure == SERVFAIL and time.monotonic() < end:
            time.sleep(EVERY_SECONDS)
            failure = self._asked()
        return failure

    @staticmethod
    def _asked() -> str:
        """What is wrong with an agent's answer, if anything."""
        query = dns.message.make_query("weather.service.consul", "A")
        try:
            answer = dns.query.udp(query, BRIDGE, timeout=LOOKUP_SECONDS)
        except (dns.exception.DNSException, OSError) as error:
            return repr(error)
        return "" if answer.answer else f"no answer, {dns.rcode.to_text(answer.rcode())}"


@dataclass
class Writes:
    """Writes keys through an agent, and notes which it has acknowledged, and which never.

    A write that is under way when its leader goes can get an error, as Consul can't know whether it was committed.
    Clients repeat it.
    """

    token: str
    keys: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @contextmanager
    def at(self, machine: Machine) -> Iterator[None]:
        with _repeated([(machine, self._write)]):
            yield

    def _write(self) -> None:
        key = f"load/{len(self.keys) + len(self.failures):06}"
        end = time.monotonic() + WRITE_SECONDS
        while (error := self._error(key)) and time.monotonic() < end:
            self.errors.append(f"{key}: {error}")
            time.sleep(AGAIN_SECONDS)
        (self.failures if error else self.keys).append(key)

    def _error(self, key: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", 8500, timeout=HTTP_SECONDS)
        try:
            connection.request("PUT", f"/v1/kv/{key}", body=key, headers={"X-Consul-Token": self.token})
            answer = connection.getresponse().read().decode().strip()
        except (OSError, http.client.HTTPException) as error:
            return repr(error)
        finally:
            connection.close()
        return "" if answer == "true" else answer


@contextmanager
def _repeated(loads: list[tuple[Machine, Callable[[], None]]]) -> Iterator[None]:
    ended = threading.Event()

    def repeat(do: Callable[[], None]) -> None:
        while not ended.wait(EVERY_SECONDS):
            do()

    with ThreadPoolExecutor() as pool:
        running = [pool.submit(inside, one.namespace, lambda do=do: repeat(do)) for one, do in loads]
        try:
            yield
        finally:
            ended.set()
        for one in running:
            one.result()
