"""Lookups against a real Consul, with BIND's dig as the judge, and against a DNS server that misbehaves."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecsconsul.consul import RECORD_TYPES
from ecsconsul.consul.dns import lookup, question
from ecsconsul.errors import LabError, Unreachable, WrongUsage
from tests.consul_server import AgentClient, ConsulServer, consul_server
from tests.listening import tcp_and_udp

NAME = "weather.service.consul."
COUNTS = {"weather": 1, "three": 3, "ten": 10, "fifty": 50}

Behaviour = Callable[[dns.message.Message, str], bytes | None]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server is silent only where a test says so, however busy the machine is."""
    monkeypatch.setattr(lookup, "__kwdefaults__", {"tcp": False, "timeout": 60.0})


# --- the question


@pytest.mark.parametrize(
    ("name", "rrtype", "tag", "asked"),
    [
        ("weather", "SRV", None, "weather.service.consul."),
        ("weather", "A", None, "weather.service.consul."),
        ("weather", "SRV", "http", "http.weather.service.consul."),
        ("weather", "SRV", "v1.2", "v1.2.weather.service.consul."),
        ("consul", "SRV", None, "consul.service.consul."),
        ("weather.service", "SRV", None, "weather.service.consul."),
        ("weather.service", "SRV", "http", "http.weather.service.consul."),
        ("i-0a1b.node", "A", None, "i-0a1b.node.consul."),
        ("web.query", "SRV", None, "web.query.consul."),
        ("weather.service.consul", "SRV", None, "weather.service.consul."),
        ("weather.service.consul", "SRV", "http", "http.weather.service.consul."),
        ("weather.service.dc1.consul.", "SRV", "http", "http.weather.service.dc1.consul."),
        ("weather.", "SRV", None, "weather."),
        ("www.example.com", "A", None, "www.example.com."),
        ("_weather._http.service.consul", "SRV", None, "_weather._http.service.consul."),
        ("127.0.9.2", "PTR", None, "2.9.0.127.in-addr.arpa."),
        ("::1", "PTR", None, "1." + "0." * 31 + "ip6.arpa."),
        ("weather", "PTR", None, "weather.service.consul."),
    ],
)
def test_question(name: str, rrtype: str, tag: str | None, asked: str) -> None:
    assert question(name, rrtype=rrtype, tag=tag) == asked


def test_question_in_another_domain() -> None:
    assert question("weather", tag="http", domain="lab.internal") == "http.weather.service.lab.internal."


@pytest.mark.parametrize(
    ("name", "rrtype", "tag"),
    [
        ("", "SRV", None),
        ("a..b", "SRV", None),
        (".service", "SRV", None),
        ("x" * 64, "SRV", None),
        (".".join(["x" * 60] * 5), "SRV", None),
        ("weather", "MX", None),
        ("127.0.9.2", "SRV", None),
        ("i-0a1b.node.consul", "SRV", "http"),
        ("www.example.com", "A", "http"),
        ("127.0.9.2", "PTR", "http"),
        ("weather", "SRV", "x" * 64),
    ],
)
def test_invalid_question_is_wrong_usage_with_a_hint(name: str, rrtype: str, tag: str | None) -> None:
    with pytest.raises(WrongUsage) as caught:
        question(name, rrtype=rrtype, tag=tag)
    assert caught.value.hint


@given(st.text(max_size=80), st.sampled_from(RECORD_TYPES))
def test_any_text_is_a_dns_name_or_wrong_usage(text: str, rrtype: str) -> None:
    try:
        asked = question(text, rrtype=rrtype)
    except WrongUsage:
        return
    assert dns.name.from_text(asked).is_absolute()


# --- real Consul


def register_all(server: ConsulServer) -> None:
    consul = AgentClient(server.host, server.http)
    for name, count in COUNTS.items():
        for i in range(count):
            address = f"127.0.9.{i + 1}"
            consul.register(
                {"ID": f"{name}-{i}", "Name": name, "Address": address, "Port": 32768 + i, "Tags": ["http"]}
            )


@pytest.fixture(scope="module")
def truncating() -> Iterator[ConsulServer]:
    """A Consul that says when it truncates, as the lab's agents do."""
    with consul_server("dns_config { enable_truncate = true }") as server:
        register_all(server)
        yield server


@pytest.fixture(scope="module")
def silent_about_it() -> Iterator[ConsulServer]:
    """A Consul as it comes, which cuts UDP answers and says nothing."""
    with consul_server() as server:
        register_all(server)
        yield server


def bind_dig(server: ConsulServer, *arguments: str) -> set[str]:
    if not shutil.which("dig"):
        pytest.skip("BIND's dig is not installed")
    command = ["dig", "+short", f"@{server.host}", "-p", str(server.dns), *arguments]
    return set(subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout.split("\n"))


def data_of(name: str, server: ConsulServer, rrtype: str = "SRV", *, tcp: bool = False) -> set[str]:
    answer = lookup(name, rrtype, server.host, server.dns, tcp=tcp)
    return {record.data for record in answer.answers} | {""}


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("tcp", [False, True])
def test_lookup_agrees_with_bind(truncating: ConsulServer, name: str, tcp: bool) -> None:
    asked = question(name)
    found = data_of(asked, truncating, tcp=tcp)
    assert found == bind_dig(truncating, "-t", "SRV", asked)
    assert len(found) == COUNTS[name] + 1


@pytest.mark.parametrize("name", COUNTS)
def test_silently_truncated_answers_are_completed(silent_about_it: ConsulServer, name: str) -> None:
    asked = question(name)
    assert data_of(asked, silent_about_it) == bind_dig(silent_about_it, "+tcp", "-t", "SRV", asked)


def test_every_srv_record_has_its_targets_address(truncating: ConsulServer) -> None:
    answer = lookup(question("fifty"), "SRV", truncating.host, truncating.dns)
    assert answer.transport == "tcp"
    assert {(r.port, r.address) for r in answer.answers} == {(32768 + i, f"127.0.9.{i + 1}") for i in range(50)}


def test_answer_as_json(truncating: ConsulServer) -> None:
    found = lookup(NAME, "SRV", truncating.host, truncating.dns).to_json()
    milliseconds = found.pop("milliseconds")
    assert isinstance(milliseconds, float) and milliseconds >= 0
    (record,) = found.pop("answers")
    found.pop("additional")
    assert found == {
        "name": NAME,
        "type": "SRV",
        "rcode": "NOERROR",
        "server": f"{truncating.host}:{truncating.dns}",
        "transport": "udp",
    }
    contract = {key: record[key] for key in ("priority", "weight", "port", "target", "address")}
    assert contract == {
        "priority": 1,
        "weight": 1,
        "port": 32768,
        "target": "7f000901.addr.dc1.consul.",
        "address": "127.0.9.1",
    }


@pytest.mark.parametrize(
    ("name", "rrtype"),
    [
        ("weather", "A"),
        ("weather", "AAAA"),
        ("weather", "ANY"),
        ("i-0a1b.node", "A"),
        ("i-0a1b.node", "TXT"),
        ("i-0a1b.node", "ANY"),
        ("consul", "SRV"),
        ("127.0.9.1", "PTR"),
    ],
)
def test_other_types_agree_with_bind(truncating: ConsulServer, name: str, rrtype: str) -> None:
    asked = question(name, rrtype=rrtype)
    assert data_of(asked, truncating, rrtype) == bind_dig(truncating, "-t", rrtype, asked)


def test_typed_fields(truncating: ConsulServer) -> None:
    def record(name: str, rrtype: str) -> dict[str, object]:
        asked = question(name, rrtype=rrtype)
        return lookup(asked, rrtype, truncating.host, truncating.dns).answers[0].to_json()

    assert record("weather", "A")["address"] == "127.0.9.1"
    assert record("i-0a1b.node", "TXT")["texts"] == ("consul-network-segment=",)
    assert str(record("127.0.9.1", "PTR")["target"]).endswith(".consul.")
    assert "port" not in record("weather", "A")


def test_tag_selects_instances(truncating: ConsulServer) -> None:
    assert len(data_of(question("three", tag="http"), truncating)) == 4
    assert lookup(question("three", tag="tcp"), "SRV", truncating.host, truncating.dns).rcode == "NXDOMAIN"


# --- a server that misbehaves


@contextmanager
def dns_server(behave: Behaviour) -> Iterator[int]:
    """A DNS server on 127.0.0.1 that sends what `behave(query, "udp" | "tcp")` returns; yields its port."""
    done = threading.Event()
    tcp, udp = tcp_and_udp("127.0.0.1")
    with tcp, udp:
        tcp.settimeout(0.05)
        udp.settimeout(0.05)
        threads = [
            threading.Thread(target=serve, args=(sock, done, behave)) for serve, sock in ((_udp, udp), (_tcp, tcp))
        ]
        for thread in threads:
            thread.start()
        try:
            yield tcp.getsockname()[1]
        finally:
            done.set()
            for thread in threads:
                thread.join(5)


def _udp(sock: socket.socket, done: threading.Event, behave: Behaviour) -> None:
    while not done.is_set():
        try:
            wire, client = sock.recvfrom(65535)
        except TimeoutError:
            continue
        reply = behave(dns.message.from_wire(wire), "udp")
        if reply is not None:
            sock.sendto(reply, client)


def _tcp(sock: socket.socket, done: threading.Event, behave: Behaviour) -> None:
    while not done.is_set():
        try:
            connection, _ = sock.accept()
        except TimeoutError:
            continue
        with connection:
            connection.settimeout(5)
            length = int.from_bytes(connection.recv(2, socket.MSG_WAITALL), "big")
            if not length:
                # it had connected when its time was over
                continue
            reply = behave(dns.message.from_wire(connection.recv(length, socket.MSG_WAITALL)), "tcp")
            if reply is None:
                done.wait(5)
            else:
                connection.sendall(len(reply).to_bytes(2, "big") + reply)


def srv_reply(query: dns.message.Message, count: int = 1, *, target: str = "host") -> dns.message.Message:
    reply = dns.message.make_response(query)
    lines = [f"1 1 {8000 + i} {target}{i}.example." for i in range(count)]
    reply.answer.append(dns.rrset.from_text_list(query.question[0].name, 0, "IN", "SRV", lines))
    return reply


def test_truncated_answer_is_retried_over_tcp() -> None:
    def behave(query: dns.message.Message, transport: str) -> bytes:
        if transport == "tcp":
            return srv_reply(query, 2).to_wire()
        cut = srv_reply(query, 1)
        cut.flags |= dns.flags.TC
        return cut.to_wire()

    with dns_server(behave) as port:
        answer = lookup(NAME, "SRV", "127.0.0.1", port)
    assert answer.transport == "tcp"
    assert {record.port for record in answer.answers} == {8000, 8001}


def test_answer_cut_within_a_record_is_retried_over_tcp() -> None:
    def behave(query: dns.message.Message, transport: str) -> bytes:
        reply = srv_reply(query)
        if transport == "udp":
            reply.flags |= dns.flags.TC
        wire = reply.to_wire()
        return wire if transport == "tcp" else wire[:-14]

    with dns_server(behave) as port:
        assert lookup(NAME, "SRV", "127.0.0.1", port).transport == "tcp"


def test_lost_datagram_is_resent(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def behave(query: dns.message.Message, transport: str) -> bytes | None:
        seen.append(query.id)
        return srv_reply(query).to_wire() if len(seen) >= 2 else None

    # a server that gets its turn late answers one of the later ones
    monkeypatch.setattr("ecsconsul.consul.dns.UDP_TRIES", 300)
    with dns_server(behave) as port:
        answer = lookup(NAME, "SRV", "127.0.0.1", port, timeout=0.2)
    assert (answer.transport, answer.answers[0].port) == ("udp", 8000)
    assert len(seen) >= 2
    assert len(set(seen)) == 1


def test_srv_record_without_additional_address() -> None:
    with dns_server(lambda query, _: srv_reply(query).to_wire()) as port:
        (record,) = lookup(NAME, "SRV", "127.0.0.1", port).answers
    assert record.address is None
    assert record.to_json()["address"] is None


@pytest.mark.parametrize("rcode", ["SERVFAIL", "NXDOMAIN", "REFUSED"])
def test_other_statuses_are_answers(rcode: str) -> None:
    def behave(query: dns.message.Message, _: str) -> bytes:
        reply = dns.message.make_response(query)
        reply.set_rcode(dns.rcode.from_text(rcode))
        return reply.to_wire()

    with dns_server(behave) as port:
        answer = lookup(NAME, "SRV", "127.0.0.1", port)
    assert (answer.rcode, answer.answers) == (rcode, ())


@pytest.mark.parametrize("tcp", [False, True])
def test_silence_is_unreachable_within_its_bound(tcp: bool) -> None:
    with dns_server(lambda *_: None) as port, pytest.raises(Unreachable) as caught:
        lookup(NAME, "SRV", "127.0.0.1", port, tcp=tcp, timeout=0.1)
    assert "within 0.1 s" in caught.value.why
    assert caught.value.where == f"127.0.0.1:{port}"
    assert ("TCP" if tcp else "UDP") in caught.value.why
    assert caught.value.hint


@pytest.mark.parametrize("tcp", [False, True])
def test_closed_port_fails_at_once(tcp: bool) -> None:
    with socket.socket(type=socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(Unreachable, match="refused"):
        lookup(NAME, "SRV", "127.0.0.1", port, tcp=tcp, timeout=60)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("garbage", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_foreign_protocol_is_reported(tcp: bool, garbage: bytes) -> None:
    with dns_server(lambda *_: garbage) as port, pytest.raises(LabError, match="doesn't speak DNS"):
        lookup(NAME, "SRV", "127.0.0.1", port, tcp=tcp)


def test_reply_to_another_query_is_dropped() -> None:
    def behave(query: dns.message.Message, _: str) -> bytes:
        reply = srv_reply(query)
        reply.id = query.id ^ 1
        return reply.to_wire()

    with dns_server(behave) as port, pytest.raises(Unreachable):
        lookup(NAME, "SRV", "127.0.0.1", port, timeout=0.1)


def test_every_address_of_the_server_is_tried() -> None:
    """localhost is ::1 as well where there is IPv6; nothing listens there."""
    with dns_server(lambda query, _: srv_reply(query).to_wire()) as port:
        assert lookup(NAME, "SRV", "localhost", port).server == f"localhost:{port}"


def test_unknown_server_is_unreachable() -> None:
    with pytest.raises(Unreachable):
        lookup(NAME, "SRV", "x" * 64 + ".invalid", 53)
