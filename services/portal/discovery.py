"""Finds a service's endpoints through DNS SRV, in the order in which to try them.

Deciding (`order`, `records_of`, `names_for`) is pure; `Discovery` is the thin part that sends queries.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype

Server = tuple[str, int]

# Timeouts in seconds per round over all servers, as in a stub resolver: a lost datagram costs the first one.
QUERY_SECONDS = (0.5, 1.5)
# Crosses the internet without fragmentation (DNS flag day 2020).
EDNS_PAYLOAD = 1232
# Another server would give the same answer, so the next name is tried instead.
SETTLED = ("NOERROR", "NXDOMAIN")
TIMED_OUT = "timed out"


class SettingInvalid(ValueError):
    """An invalid setting in the environment."""


class NotFound(Exception):
    """DNS has no endpoint. The text has the question and answer; `slow` says whether time ran out."""

    def __init__(self, reason: str, *, slow: bool = False) -> None:
        super().__init__(reason)
        self.slow = slow


@dataclass(frozen=True)
class Record:
    """An SRV record and an address of its target, which is None until it's known."""

    priority: int
    weight: int
    port: int
    target: str
    address: str | None

    @property
    def endpoint(self) -> str:
        """address:port, as in a URL."""
        return hostport(self.address or self.target, self.port)


@dataclass(frozen=True)
class Lookup:
    """A DNS query and its result; `rcode` is the server's, or why there is no answer."""

    name: str
    type: str
    server: str
    transport: str
    rcode: str
    milliseconds: float
    records: tuple[Record, ...] = ()


@dataclass
class Trace:
    """The lookups of a request, recorded as they happen, so that a failure shows how far it got."""

    service: str
    lookups: list[Lookup] = field(default_factory=list)


@dataclass(frozen=True)
class Settings:
    """The DNS servers, and the search domains of service names."""

    servers: tuple[Server, ...]
    suffixes: tuple[str, ...]

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """CONSUL_DNS=host:port, or the system's resolver and search domains. Raises SettingInvalid.

        CONSUL_DOMAIN completes a name that the search domains do not find.
        """
        domain = environ.get("CONSUL_DOMAIN", "service.consul")
        given = environ.get("CONSUL_DNS")
        if given:
            return cls((parse_server(given),), (domain,))
        servers, search = system_resolver()
        return cls(servers, (*search, domain))


def parse_server(text: str) -> Server:
    """The address and port of "host:port", "[::1]:8600" or "host" (port 53); raises SettingInvalid."""
    host, _, port = text.rpartition(":") if not text.endswith("]") and ":" in text else (text, "", "53")
    try:
        if not 0 < int(port) < 65536:
            raise ValueError("no such port")
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)
    except (ValueError, OSError) as error:
        raise SettingInvalid(f"CONSUL_DNS is {text!r}; it must be host:port ({error})") from None
    return str(found[0][4][0]), int(port)


def system_resolver() -> tuple[tuple[Server, ...], tuple[str, ...]]:
    """The servers and search domains of the system (resolv.conf); raises SettingInvalid."""
    # Imported here to start faster: it isn't needed with CONSUL_DNS.
    import dns.resolver

    try:
        resolver = dns.resolver.Resolver()
    except dns.resolver.NoResolverConfiguration as error:
        raise SettingInvalid(f"no CONSUL_DNS, and the system has no resolver: {error}") from None
    search = resolver.search or [resolver.domain]
    servers = tuple((str(server), resolver.port) for server in resolver.nameservers)
    return servers, tuple(str(suffix).rstrip(".") for suffix in search if suffix != dns.name.root)


def names_for(service: str, suffixes: Iterable[str]) -> list[str]:
    """The full names to query, in order and without duplicates."""
    return list(dict.fromkeys(f"{service}.{suffix.strip('.')}." for suffix in suffixes))


def records_of(response: dns.message.Message) -> tuple[Record, ...]:
    """The SRV records of an answer, with their targets' addresses from its additional section."""
    addresses: dict[str, list[str]] = {}
    for rrset in response.additional:
        if rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
            addresses.setdefault(rrset.name.to_text().lower(), []).extend(item.address for item in rrset)
    records = []
    for rrset in response.answer:
        for item in rrset if rrset.rdtype == dns.rdatatype.SRV else ():
            target = item.target.to_text()
            # A target of "." means that the service isn't available (RFC 2782).
            for address in addresses.get(target.lower(), [None]) if target != "." else ():
                records.append(Record(item.priority, item.weight, item.port, target, address))
    return tuple(dict.fromkeys(records))


def order(records: Iterable[Record], rng: random.Random) -> list[Record]:
    """The records in the order of RFC 2782: by priority, and at random by weight within it."""
    ordered: list[Record] = []
    remaining = list(records)
    rng.shuffle(remaining)
    # Records of weight 0 come first in the running sum, which gives them a small chance.
    remaining.sort(key=lambda record: (record.priority, record.weight > 0))
    while remaining:
        group = [record for record in remaining if record.priority == remaining[0].priority]
        pick = rng.randint(0, sum(record.weight for record in group))
        chosen = next(record for record, reached in _running(group) if reached >= pick)
        ordered.append(chosen)
        remaining.remove(chosen)
    return ordered


def _running(group: Sequence[Record]) -> Iterable[tuple[Record, int]]:
    reached = 0
    for record in group:
        reached += record.weight
        yield record, reached


def hostport(host: str, port: int) -> str:
    """host:port, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Discovery:
    """Looks up services without a cache, so that every request sees the current catalog."""

    def __init__(
        self,
        settings: Settings,
        *,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._rng = rng or random.Random()
        self._clock = clock

    def find(self, service: str, deadline: float, trace: Trace) -> list[Record]:
        """The endpoints of a service in the order to try them; raises NotFound. `deadline` is the clock's."""
        for name in names_for(service, self._settings.suffixes):
            records = self._query(name, dns.rdatatype.SRV, deadline, trace).records
            known = [found for record in records for found in self._addressed(record, deadline, trace)]
            if known:
                return order(known, self._rng)
        asked = ", ".join(f"{one.name} {one.type}: {one.rcode}" for one in trace.lookups[-4:])
        raise NotFound(f"no healthy instance of {service} in DNS ({asked})")

    def _addressed(self, record: Record, deadline: float, trace: Trace) -> list[Record]:
        """The record with its target's addresses, asked for where the answer did not bring them."""
        if record.address is not None:
            return [record]
        for kind in (dns.rdatatype.A, dns.rdatatype.AAAA):
            found = self._query(record.target, kind, deadline, trace).records
            if found:
                return [replace(record, address=one.address) for one in found]
        return []

    def _query(self, name: str, kind: dns.rdatatype.RdataType, deadline: float, trace: Trace) -> Lookup:
        """The first answer that settles the question; raises NotFound when no server gives one."""
        for patience in QUERY_SECONDS:
            for server in self._settings.servers:
                seconds = min(patience, deadline - self._clock())
                if seconds <= 0:
                    raise NotFound(f"no answer to {name} in time", slow=True)
                lookup = self._ask(name, kind, server, seconds)
                trace.lookups.append(lookup)
                if lookup.rcode in SETTLED:
                    return lookup
        tried = "; ".join(f"{one.server}: {one.rcode}" for one in trace.lookups[-len(self._settings.servers) :])
        slow = all(one.rcode == TIMED_OUT for one in trace.lookups)
        raise NotFound(f"no DNS server answered {name} ({tried})", slow=slow)

    def _ask(self, name: str, kind: dns.rdatatype.RdataType, server: Server, seconds: float) -> Lookup:
        """One query over UDP, and over TCP when its answer was truncated."""
        query = dns.message.make_query(name, kind, use_edns=0, payload=EDNS_PAYLOAD)
        began, transport = self._clock(), "udp"
        records: tuple[Record, ...] = ()
        try:
            response, over_tcp = dns.query.udp_with_fallback(
                query, server[0], timeout=seconds, port=server[1], ignore_unexpected=True, ignore_errors=True
            )
            transport = "tcp" if over_tcp else "udp"
            rcode = dns.rcode.to_text(response.rcode())
            records = records_of(response) if kind == dns.rdatatype.SRV else addresses_of(response)
        except dns.exception.Timeout:
            rcode = TIMED_OUT
        except (OSError, EOFError, dns.exception.DNSException) as error:
            rcode = str(error) or type(error).__name__
        spent = round((self._clock() - began) * 1000, 2)
        return Lookup(name, dns.rdatatype.to_text(kind), hostport(*server), transport, rcode, spent, records)


def addresses_of(response: dns.message.Message) -> tuple[Record, ...]:
    """The addresses of an A or AAAA answer, as records without a port."""
    return tuple(
        Record(0, 0, 0, rrset.name.to_text(), item.address)
        for rrset in response.answer
        if rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)
        for item in rrset
    )
