"""Discovery through a real little DNS server: what is asked, the records' order, what fails how."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import Any

import dns.rcode
import pytest


def settings(portal: Any, name_server: Any, *suffixes: str) -> Any:
    server = ("127.0.0.1", name_server.port)
    return portal.discovery.Settings((server,), suffixes or ("service.consul",))


def find(portal: Any, chosen: Any, service: str = "weather", seconds: float = 60.0) -> tuple[list[Any], Any]:
    trace = portal.discovery.Trace(service)
    found = portal.discovery.Discovery(chosen).find(service, time.monotonic() + seconds, trace)
    return found, trace


def record(portal: Any, priority: int, weight: int, port: int) -> Any:
    return portal.discovery.Record(priority, weight, port, "t.", "127.0.0.1")


def test_lower_priorities_come_first(portal: Any) -> None:
    records = [record(portal, 2, 9, 1), record(portal, 1, 0, 2), record(portal, 3, 1, 3)]
    for seed in range(20):
        ordered = portal.discovery.order(records, random.Random(seed))
        assert [one.port for one in ordered] == [2, 1, 3]


def test_weights_decide_within_a_priority(portal: Any) -> None:
    records = [record(portal, 1, 1, 1), record(portal, 1, 3, 2)]
    rng = random.Random(7)
    first = Counter(portal.discovery.order(records, rng)[0].port for _ in range(4000))
    # RFC 2782 picks a number from 0 to 4: 0 and 1 fall on the one of weight 1, or on whichever stands first.
    assert 2.0 < first[2] / first[1] < 3.5


def test_weight_zero_is_rarely_chosen(portal: Any) -> None:
    rng = random.Random(7)
    mixed = [record(portal, 1, 99, 1), record(portal, 1, 0, 2)]
    seldom = sum(portal.discovery.order(mixed, rng)[0].port == 2 for _ in range(4000))
    assert 0 < seldom < 200
    equal = [record(portal, 1, 0, port) for port in (1, 2)]
    first = Counter(portal.discovery.order(equal, rng)[0].port for _ in range(1000))
    assert min(first.values()) > 400


def test_each_record_is_ordered_once(portal: Any) -> None:
    records = [record(portal, port % 3, port % 4, port) for port in range(12)]
    ordered = portal.discovery.order(records, random.Random(1))
    assert sorted(one.port for one in ordered) == list(range(12))


def test_additional_section_saves_a_query(portal: Any, name_server: Any) -> None:
    name_server.service("weather", 32768)
    found, trace = find(portal, settings(portal, name_server))
    assert [one.endpoint for one in found] == ["127.0.0.1:32768"]
    assert name_server.queries == [("weather.service.consul.", "SRV", "udp")]
    (lookup,) = trace.lookups
    assert (lookup.name, lookup.server) == ("weather.service.consul.", name_server.address)
    assert (lookup.transport, lookup.rcode) == ("udp", "NOERROR")
    assert lookup.milliseconds > 0


def test_target_without_address_is_resolved(portal: Any, name_server: Any) -> None:
    name_server.service("weather", 32768)
    name_server.additional = False
    found, trace = find(portal, settings(portal, name_server))
    assert [(one.target, one.address) for one in found] == [("7f000001.addr.dc1.consul.", "127.0.0.1")]
    assert [one.type for one in trace.lookups] == ["SRV", "A"]


def test_ipv6_target(portal: Any, name_server: Any) -> None:
    name_server.zone["weather.service.consul.", "SRV"] = ["1 1 80 six.consul."]
    name_server.zone["six.consul.", "AAAA"] = ["::1"]
    name_server.additional = False
    found, _ = find(portal, settings(portal, name_server))
    assert [one.endpoint for one in found] == ["[::1]:80"]


def test_truncated_answer_is_retried_over_tcp(portal: Any, name_server: Any) -> None:
    ports = range(20000, 20060)
    name_server.service("weather", *ports)
    name_server.truncate = True
    found, trace = find(portal, settings(portal, name_server))
    assert {one.port for one in found} == set(ports)
    assert trace.lookups[0].transport == "tcp"
    assert [query[2] for query in name_server.queries] == ["udp", "tcp"]


def test_search_domains_come_before_consuls_domain(portal: Any, name_server: Any) -> None:
    name_server.service("weather", 1)
    chosen = settings(portal, name_server, "corp.example", "service.consul")
    _, trace = find(portal, chosen)
    asked = [(one.name, one.rcode) for one in trace.lookups]
    assert asked == [("weather.corp.example.", "NXDOMAIN"), ("weather.service.consul.", "NOERROR")]
    assert portal.discovery.names_for("w", ("service.consul", "service.consul.")) == ["w.service.consul."]


def test_lost_datagram_costs_one_more_query(portal: Any, name_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portal.discovery, "QUERY_SECONDS", (0.5, 60.0))
    name_server.service("weather", 1)
    name_server.silent = True

    def speak_after_the_first() -> None:
        name_server.silent = len(name_server.queries) < 2

    name_server.before_answer = speak_after_the_first
    _, trace = find(portal, settings(portal, name_server))
    assert [one.rcode for one in trace.lookups] == ["timed out", "NOERROR"]


def test_failing_server_is_skipped(portal: Any, name_server: Any, world: Any) -> None:
    broken = world.Dns()
    try:
        broken.rcode = dns.rcode.SERVFAIL
        name_server.service("weather", 1)
        servers = (("127.0.0.1", broken.port), ("127.0.0.1", name_server.port))
        _, trace = find(portal, portal.discovery.Settings(servers, ("service.consul",)))
    finally:
        broken.close()
    assert [one.rcode for one in trace.lookups] == ["SERVFAIL", "NOERROR"]


def test_unknown_name(portal: Any, name_server: Any) -> None:
    with pytest.raises(portal.discovery.NotFound, match=r"weather\.service\.consul\. SRV: NXDOMAIN") as caught:
        find(portal, settings(portal, name_server))
    assert not caught.value.slow


def test_root_target_means_no_service(portal: Any, name_server: Any) -> None:
    name_server.zone["weather.service.consul.", "SRV"] = ["0 0 0 ."]
    with pytest.raises(portal.discovery.NotFound):
        find(portal, settings(portal, name_server))


def test_silence_ends_at_the_deadline(portal: Any, name_server: Any) -> None:
    name_server.silent = True
    with pytest.raises(portal.discovery.NotFound) as caught:
        find(portal, settings(portal, name_server), seconds=0.2)
    assert caught.value.slow


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("127.0.0.1:8600", ("127.0.0.1", 8600)),
        ("[::1]:8600", ("::1", 8600)),
        ("127.0.0.1", ("127.0.0.1", 53)),
        ("[::1]", ("::1", 53)),
    ],
)
def test_consul_dns(portal: Any, text: str, server: tuple[str, int]) -> None:
    assert portal.discovery.Settings.from_environ({"CONSUL_DNS": text}).servers == (server,)


@pytest.mark.parametrize("text", ["127.0.0.1:dns", "127.0.0.1:99999", ":"])
def test_invalid_consul_dns(portal: Any, text: str) -> None:
    with pytest.raises(portal.discovery.SettingInvalid, match="must be host:port"):
        portal.discovery.Settings.from_environ({"CONSUL_DNS": text})


def test_system_resolver_without_consul_dns(portal: Any) -> None:
    import dns.resolver

    system = dns.resolver.Resolver()
    found = portal.discovery.Settings.from_environ({"CONSUL_DOMAIN": "service.lab"})
    assert [server for server, _ in found.servers] == [str(server) for server in system.nameservers]
    assert found.suffixes[-1] == "service.lab"
