"""Queries SRV records over UDP in a tight loop, to see when a service appears and disappears."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import dns.exception
import dns.message
import dns.query
import dns.rdatatype

PATIENCE = 30.0
# between two lookups, so that the loop leaves the CPU to what it measures
PAUSE = 0.002


@dataclass(frozen=True)
class Resolver:
    """One of Consul's DNS servers."""

    address: str
    port: int

    def ports(self, service: str) -> set[int]:
        """The ports in a service's SRV records; none if the server doesn't answer."""
        return {port for _, port in self.endpoints(service)}

    def endpoints(self, service: str) -> set[tuple[str, int]]:
        """The targets and ports in its SRV records; tasks on two addresses may have the same port."""
        query = dns.message.make_query(f"{service}.service.consul.", "SRV")
        try:
            answer = dns.query.udp(query, self.address, timeout=1.0, port=self.port)
        except (OSError, dns.exception.Timeout):
            return set()
        records = [one for rrset in answer.answer if rrset.rdtype == dns.rdatatype.SRV for one in rrset]
        return {(record.target.to_text(), record.port) for record in records}

    def await_ports(self, service: str, wanted: Callable[[set[int]], bool]) -> float:
        """Waits for these ports, and returns the time (time.monotonic). Raises TimeoutError."""
        return self._await(service, lambda: wanted(self.ports(service)))

    def await_another(self, service: str, before: set[tuple[str, int]]) -> float:
        """Waits for an endpoint that isn't one of these, and returns the time (time.monotonic). Raises TimeoutError."""
        return self._await(service, lambda: bool(self.endpoints(service) - before))

    def _await(self, service: str, is_so: Callable[[], bool]) -> float:
        end = time.monotonic() + PATIENCE
        while not is_so():
            if time.monotonic() > end:
                raise TimeoutError(f"the SRV records of {service} didn't change within {PATIENCE:.0f} s")
            time.sleep(PAUSE)
        return time.monotonic()


def resolver(dns_address: str) -> Resolver:
    """Parses host:port, as in the JSON of `status`."""
    host, _, port = dns_address.rpartition(":")
    return Resolver(host, int(port))
