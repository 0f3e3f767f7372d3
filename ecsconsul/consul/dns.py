"""Queries a DNS server and returns its answer as data."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import time
from collections.abc import Iterable, Iterator
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.rrset
from dns.rdtypes.ANY.TXT import TXT
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA
from dns.rdtypes.IN.SRV import SRV
from dns.rdtypes.nsbase import NSBase
from msgspec import Struct
from msgspec.structs import asdict

from ..errors import LabError, Unreachable, WrongUsage
from . import RECORD_TYPES

# the labels before the domain: https://developer.hashicorp.com/consul/docs/services/discovery
KINDS = ("service", "node", "query", "connect", "ingress", "addr")

# the default of BIND and dnspython: passes any path without fragmentation (DNS flag day 2020)
UDP_PAYLOAD = 1232

# Consul truncates UDP answers without setting the TC bit unless dns_config.enable_truncate is on: to
# udp_answer_limit records (default 3) without EDNS, to the offered size with it. The size of an answer doesn't
# show it, because Consul drops additional records too; so answers with 3 or more records are only trusted over TCP.
TRUSTED_OVER_UDP = 2

UDP_TRIES = 3
REACH_HINT = "check that the lab is up (ecsconsul status), and that UDP and TCP are open; @server and -p ask elsewhere"


class Record(Struct, frozen=True):
    """A resource record: its data as in a zone file, and the fields of its type.

    `ttl` is in seconds. The `address` of an SRV record is its target's, or None if the server didn't add it.
    """

    name: str
    ttl: int
    type: str
    data: str
    priority: int | None = None
    weight: int | None = None
    port: int | None = None
    target: str | None = None
    address: str | None = None
    texts: tuple[str, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields of this record's type; an SRV record always has `address`, which may be null."""
        always = {"address"} if self.type == "SRV" else set()
        return {key: value for key, value in asdict(self).items() if value is not None or key in always}


class Answer(Struct, frozen=True):
    """A server's answer. `server` is host:port, and `transport` udp or tcp."""

    name: str
    type: str
    rcode: str
    server: str
    transport: str
    milliseconds: float
    answers: tuple[Record, ...]
    additional: tuple[Record, ...]

    def to_json(self) -> dict[str, Any]:
        """The JSON document of `ecsconsul dig --output json`."""
        return asdict(self) | {
            "milliseconds": round(self.milliseconds, 1),
            "answers": [record.to_json() for record in self.answers],
            "additional": [record.to_json() for record in self.additional],
        }


def question(name: str, *, rrtype: str = "SRV", tag: str | None = None, domain: str = "consul") -> str:
    """The absolute name to query, with its final dot.

    A single label is a service, `<name>.<kind>` (weather.service, i-0a1b.node) gets the domain, any other name with a
    dot is absolute, and with PTR an IP address becomes its reverse name. Raises WrongUsage for an invalid type, name or
    tag.

    >>> question("weather", tag="http")
    'http.weather.service.consul.'
    """
    if rrtype not in RECORD_TYPES:
        raise WrongUsage(f"Record type {rrtype!r} isn't supported", hint=f"use one of {', '.join(RECORD_TYPES)}")
    reverse = _reverse_name(name)
    if reverse and rrtype != "PTR":
        raise WrongUsage(f"{name} is an address, not a name", hint=f"look up its names: ecsconsul dig {name} -t PTR")
    full = reverse or _with_domain(name, domain)
    return _absolute(_with_tag(full, tag, domain) if tag else full)


def _reverse_name(name: str) -> str | None:
    try:
        return ipaddress.ip_address(name).reverse_pointer
    except ValueError:
        return None


def _with_domain(name: str, domain: str) -> str:
    labels = name.split(".")
    if len(labels) == 1:
        return f"{name}.service.{domain}"
    return f"{name}.{domain}" if labels[-1].lower() in KINDS else name


def _with_tag(name: str, tag: str, domain: str) -> str:
    bare = name.lower().rstrip(".")
    if bare.split(".")[1:2] != ["service"] or not bare.endswith(f".{domain.lower()}"):
        raise WrongUsage(
            f"{name} can't have a tag",
            why="only a service's name can",
            hint=f"use a name like weather or weather.service.{domain}",
        )
    return f"{tag}.{name}"


def _absolute(name: str) -> str:
    try:
        return dns.name.from_text(name).to_text()
    except (dns.exception.DNSException, UnicodeError) as error:
        raise WrongUsage(
            f"{name!r} isn't a DNS name",
            why=str(error),
            hint="use labels of up to 63 characters, separated by dots, up to 255 characters in total",
        ) from error


def lookup(name: str, rrtype: str, server: str, port: int, *, tcp: bool = False, timeout: float = 2.0) -> Answer:
    """Queries server:port for all records of an absolute name.

    Tries UDP first, three times `timeout` seconds. If the answer is truncated, or Consul may have truncated it, retries
    over TCP (`timeout` seconds). Tries each address of the server. Raises Unreachable if no server answers, LabError if
    the answer isn't DNS. A status other than NOERROR isn't an error: see `rcode`.
    """
    query = dns.message.make_query(name, rrtype, use_edns=0, payload=UDP_PAYLOAD)
    where = f"[{server}]:{port}" if ":" in server else f"{server}:{port}"
    started = time.perf_counter()
    try:
        reply, transport = _ask(query, server, port, tcp, timeout)
    except (dns.exception.DNSException, EOFError) as error:
        why = str(error) or type(error).__name__
        raise LabError("The server doesn't speak DNS", where=where, why=why) from error
    except OSError as error:
        why = error.strerror or str(error)
        raise Unreachable("No DNS server answers", where=where, why=why, hint=REACH_HINT) from error
    return _answer(name, rrtype, reply, where, transport, (time.perf_counter() - started) * 1000)


def _ask(
    query: dns.message.Message, server: str, port: int, tcp: bool, timeout: float
) -> tuple[dns.message.Message, str]:
    """The first reply from one of the server's addresses, and its transport."""
    failure = OSError(f"no address for {server}")
    for family, address in _endpoints(server, port):
        try:
            return _ask_address(query, family, address, tcp, timeout)
        except OSError as error:
            failure = error
    raise failure


def _endpoints(server: str, port: int) -> Iterator[tuple[socket.AddressFamily, Any]]:
    try:
        found = socket.getaddrinfo(server, port, type=socket.SOCK_DGRAM)
    except UnicodeError as error:  # a label is empty or too long
        raise OSError(f"{server} isn't a host name") from error
    for family, _, _, _, address in found:
        yield family, address


def _ask_address(
    query: dns.message.Message, family: socket.AddressFamily, address: Any, tcp: bool, timeout: float
) -> tuple[dns.message.Message, str]:
    reply = None if tcp else _ask_udp(query, family, address, timeout)
    if reply is not None and sum(map(len, reply.answer)) <= TRUSTED_OVER_UDP:
        return reply, "udp"
    return _ask_tcp(query, address, timeout), "tcp"


def _ask_udp(
    query: dns.message.Message, family: socket.AddressFamily, address: Any, timeout: float
) -> dns.message.Message | None:
    """The reply, or None if its TC bit is set."""
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(address)  # a connected socket gets an error at once if nothing listens there
        for _ in range(UDP_TRIES):
            sock.send(query.to_wire())
            with contextlib.suppress(dns.exception.Timeout):
                return _receive(sock, query, time.time() + timeout)
    raise TimeoutError(f"no answer over UDP within {timeout:g} s after {UDP_TRIES} tries")


def _receive(sock: socket.socket, query: dns.message.Message, until: float) -> dns.message.Message | None:
    """Waits for the reply to this query, and drops others (late ones, or forged ones: RFC 5452).

    Here and over TCP, each record is a set of its own, which keeps their order and, like dig, duplicates.
    """
    while True:
        try:
            reply: dns.message.Message = dns.query.receive_udp(
                sock, None, until, raise_on_truncation=True, one_rr_per_rrset=True
            )[0]
        except dns.message.Truncated:
            return None
        if query.is_response(reply):
            return reply


def _ask_tcp(query: dns.message.Message, address: Any, timeout: float) -> dns.message.Message:
    try:
        return dns.query.tcp(query, address[0], timeout=timeout, port=address[1], one_rr_per_rrset=True)
    except dns.exception.Timeout as error:
        raise TimeoutError(f"no answer over TCP within {timeout:g} s") from error


def _answer(
    name: str, rrtype: str, reply: dns.message.Message, where: str, transport: str, milliseconds: float
) -> Answer:
    addresses = _addresses(reply.additional)
    return Answer(
        name=name,
        type=rrtype,
        rcode=dns.rcode.to_text(reply.rcode()),
        server=where,
        transport=transport,
        milliseconds=milliseconds,
        answers=tuple(_records(reply.answer, addresses)),
        additional=tuple(_records(reply.additional, addresses)),
    )


def _addresses(rrsets: Iterable[dns.rrset.RRset]) -> dict[dns.name.Name, str]:
    """The first address of each name, IPv4 before IPv6."""
    found: dict[dns.name.Name, str] = {}
    for wanted in (dns.rdatatype.A, dns.rdatatype.AAAA):
        for rrset in rrsets:
            if rrset.rdtype == wanted:
                found.setdefault(rrset.name, rrset[0].to_text())
    return found


def _records(rrsets: Iterable[dns.rrset.RRset], addresses: dict[dns.name.Name, str]) -> Iterator[Record]:
    for rrset in rrsets:
        kind = dns.rdatatype.to_text(rrset.rdtype)
        for rdata in rrset:
            fields = _typed_fields(rdata, addresses)
            yield Record(rrset.name.to_text(), rrset.ttl, kind, rdata.to_text(), **fields)


def _typed_fields(rdata: dns.rdata.Rdata, addresses: dict[dns.name.Name, str]) -> dict[str, Any]:
    if isinstance(rdata, SRV):
        return {
            "priority": rdata.priority,
            "weight": rdata.weight,
            "port": rdata.port,
            "target": rdata.target.to_text(),
            "address": addresses.get(rdata.target),
        }
    if isinstance(rdata, A | AAAA):
        return {"address": rdata.address}
    if isinstance(rdata, NSBase):  # PTR, CNAME, NS
        return {"target": rdata.target.to_text()}
    if isinstance(rdata, TXT):
        return {"texts": tuple(part.decode("utf-8", "backslashreplace") for part in rdata.strings)}
    return {}
