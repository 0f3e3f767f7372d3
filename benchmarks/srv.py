"""SRV lookups over UDP in a tight loop: when does a name answer, and when does it no longer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import dns.exception
import dns.message
import dns.query
import dns.rdatatype

PATIENCE = 30.0
# between two lookups: the loop must not take the processor from what it watches
PAUSE = 0.002


@dataclass(frozen=True)
class Resolver:
    """A DNS server of Consul's."""

    address: str
    port: int

    def ports(self, service: str) -> set[int]:
        """The ports of a service's SRV records; none while the server does not answer."""
        query = dns.message.make_query(f"{service}.service.consul.", "SRV")
        try:
            answer = dns.query.udp(query, self.address, timeout=1.0, port=self.port)
        except (OSError, dns.exception.Timeout):
            return set()
        return {record.port for rrset in answer.answer if rrset.rdtype == dns.rdatatype.SRV for record in rrset}

    def await_ports(self, service: str, wanted: Callable[[set[int]], bool]) -> float:
        """The moment (time.monotonic) at which the ports are as wanted. Raises TimeoutError."""
        end = time.monotonic() + PATIENCE
        while not wanted(self.ports(service)):
            if time.monotonic() > end:
                raise TimeoutError(f"SRV of {service} is not as wanted after {PATIENCE:.0f} s")
            time.sleep(PAUSE)
        return time.monotonic()


def resolver(dns_address: str) -> Resolver:
    """Of the form host:port, as `status` gives it."""
    host, _, port = dns_address.rpartition(":")
    return Resolver(host, int(port))
