"""Asks a DNS server and returns its answer as data; how an answer looks as text is digview.py's work."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
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

from ..errors import LabError, Unreachable, WrongUsage

TYPES = ("A", "AAAA", "SRV", "TXT", "PTR", "ANY")

# What the label before the domain may be (https://developer.hashicorp.com/consul/docs/services/discovery).
KINDS = ("service", "node", "query", "connect", "ingress", "addr")

# The size that BIND and dnspython offer too: it passes any path unfragmented (DNS flag day 2020).
UDP_PAYLOAD = 1232

# Consul cuts UDP answers without setting the TC bit unless dns_config.enable_truncate is on: to
# udp_answer_limit records (default 3) without EDNS, to the offered size with it. The size of what is left
# tells nothing, for Consul drops additional records too; so from 3 records on only TCP is believed.
TRUSTED_OVER_UDP = 2

UDP_TRIES = 3


@dataclass(frozen=True)
class Record:
    """One resource record; `data` as a zone file writes it, the typed fields where its type has them.

    `ttl` is in seconds. `address` of an SRV record is its target's, None when the server did not add it.
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
        """The fields that this type of record has; an SRV record always has `address`, if only as null."""
        always = {"address"} if self.type == "SRV" else set()
        return {key: value for key, value in asdict(self).items() if value is not None or key in always}


@dataclass(frozen=True)
class Answer:
    """What a server answered. `server` is host:port, `transport` udp or tcp, whichever gave the answer."""

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
        return {
            "name": self.name,
            "type": self.type,
            "rcode": self.rcode,
            "server": self.server,
            "transport": self.transport,
            "milliseconds": round(self.milliseconds, 1),
            "answers": [record.to_json() for record in self.answers],
            "additional": [record.to_json() for record in self.additional],
        }


def question(name: str, *, rrtype: str = "SRV", tag: str | None = None, domain: str = "consul") -> str:
    """The absolute name to ask for, with its final dot.

    A single label is a service, `<name>.<kind>` (weather.service, i-0a1b.node) lacks only the domain, any
    other name with a dot is taken as it is, and under PTR an IP address becomes its reverse name. Raises
    WrongUsage for a type, a name or a tag that cannot be asked for.
    """
    if rrtype not in TYPES:
        raise WrongUsage(f"no record type {rrtype!r} here", hint=f"one of {', '.join(TYPES)}")
    reverse = _reverse_name(name)
    if reverse and rrtype != "PTR":
        raise WrongUsage(f"{name} is an address, no name", hint=f"its names: ecsconsul dig {name} -t PTR")
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
            f"{name} takes no tag",
            why="only a service's own name does",
            hint=f"like weather, or weather.service.{domain}",
        )
    return f"{tag}.{name}"


def _absolute(name: str) -> str:
    try:
        return dns.name.from_text(name).to_text()
    except (dns.exception.DNSException, UnicodeError) as error:
        raise WrongUsage(
            f"{name!r} is no DNS name",
            why=str(error),
            hint="a name is labels of 1 to 63 characters with dots between them, 255 in all",
        ) from error


def lookup(name: str, rrtype: str, server: str, port: int, *, tcp: bool = False, timeout: float = 2.0) -> Answer:
    """Asks server:port for the records of an absolute name, for each record that there is.

    Over UDP first, three times `timeout` seconds at most; an answer that is truncated, or that Consul may
    have cut without saying so, is asked again over TCP (`timeout` seconds). A server that has several
    addresses is tried at each. Raises Unreachable when nothing answers, LabError when what answers is no DNS.
    Other codes than NOERROR are answers: see `rcode`.
    """
    query = dns.message.make_query(name, rrtype, use_edns=0, payload=UDP_PAYLOAD)
    where = f"[{server}]:{port}" if ":" in server else f"{server}:{port}"
    started = time.perf_counter()
    try:
        reply, transport = _ask(query, server, port, tcp, timeout)
    except (dns.exception.DNSException, EOFError) as error:
        raise LabError("what answers there does not speak DNS", where=where, why=_words(error)) from error
    except OSError as error:
        raise _unreachable(where, error.strerror or str(error)) from error
    return _answer(name, rrtype, reply, where, transport, (time.perf_counter() - started) * 1000)


def _unreachable(where: str, why: str) -> Unreachable:
    hint = "is the lab up (ecsconsul status), and are both UDP and TCP open? @server and -p ask elsewhere"
    return Unreachable("no DNS server answers", where=where, why=why, hint=hint)


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _ask(
    query: dns.message.Message, server: str, port: int, tcp: bool, timeout: float
) -> tuple[dns.message.Message, str]:
    """The first reply that one of the server's addresses gives, and the transport that it came over."""
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
    except UnicodeError as error:  # how Python says that a label is empty or too long
        raise OSError(f"{server} is no host name") from error
    for family, _, _, _, address in found:
        yield family, address


def _ask_address(
    query: dns.message.Message, family: socket.AddressFamily, address: Any, tcp: bool, timeout: float
) -> tuple[dns.message.Message, str]:
    reply = None if tcp else _ask_udp(query, family, address, timeout)
    if reply is not None and _is_whole(reply):
        return reply, "udp"
    return _ask_tcp(query, address, timeout), "tcp"


def _is_whole(reply: dns.message.Message) -> bool:
    return sum(len(rrset) for rrset in reply.answer) <= TRUSTED_OVER_UDP


def _ask_udp(
    query: dns.message.Message, family: socket.AddressFamily, address: Any, timeout: float
) -> dns.message.Message | None:
    """The reply, or None for one that says of itself that it is truncated."""
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(address)  # a connected socket learns at once that nothing listens there
        for _ in range(UDP_TRIES):
            sock.send(query.to_wire())
            with contextlib.suppress(dns.exception.Timeout):
                return _receive(sock, query, time.time() + timeout)
    raise TimeoutError(f"no answer over UDP within {timeout:g} s, asked {UDP_TRIES} times")


def _receive(sock: socket.socket, query: dns.message.Message, until: float) -> dns.message.Message | None:
    """Waits for the reply to this very query; others (late, or forged: RFC 5452) are dropped.

    Here and over TCP, each record is a set of its own: that keeps their order and, as dig does, repetitions.
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
    """Name -> its first address, IPv4 before IPv6."""
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
