"""The Consul client against a real agent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from ecsconsul.registrator.checks import Check
from ecsconsul.registrator.consul_client import ConsulClient, ConsulRefused, _next_index
from ecsconsul.registrator.ownership import OwnershipTag, read_ownership_tag, with_ownership_tag
from ecsconsul.registrator.rules import Registration
from ecsconsul.registrator.settings import Server
from tests.consul_server import ConsulServer
from tests.registrator.conftest import eventually
from tests.registrator.servers import FakeConsul

TAG = OwnershipTag("ENGINE:1", "c1", "digest")
# an ID may contain characters that a path may not
ID = "host:a/b?c#d é:80"


@pytest.fixture
def client(server: ConsulServer) -> Iterator[ConsulClient]:
    created = ConsulClient(Server(server.host, server.http))
    yield created
    created.close()


def test_service_has_its_ownership_tag_until_deregistered(client: ConsulClient) -> None:
    payload = Registration(ID, "web", "10.0.0.1", 80).payload()
    client.register(with_ownership_tag(payload, TAG))
    assert read_ownership_tag(client.services()[ID]) == TAG
    eventually(lambda: client.passing("web") == {ID})
    assert client.critical_check(ID) == ""
    client.deregister(ID)
    client.deregister(ID)
    assert ID not in client.services()


def test_critical_services(client: ConsulClient) -> None:
    client.register({"ID": "sick", "Name": "sick", "Check": {"TTL": "600s", "Status": "critical"}})
    assert client.critical_check("sick") == "service:sick"
    assert client.critical() == {"sick"}
    assert client.passing("sick") == set()
    assert client.critical_check("nobody") == ""
    client.deregister("sick")


def test_check_with_another_id_replaces_a_critical_one_while_the_service_stays(client: ConsulClient) -> None:
    """As the Registrator's for a service that has become healthy; Consul keeps the status of a check that it has."""
    service = Registration("slow", "slow", "127.0.0.1", 9, check=Check(ttl="600s"))
    client.register(service.payload("critical"))
    client.register(service.payload("passing"))
    assert client.critical_check("slow") == "service:slow"
    client.register(service.payload("passing", replaces="service:slow"))
    assert client.critical_check("slow") == ""
    eventually(lambda: client.passing("slow") == {"slow"})
    client.register(service.payload("critical", replaces="service:slow:2"))
    assert client.critical_check("slow") == "service:slow"
    client.deregister("slow")


def test_address_is_the_nodes(client: ConsulClient, server: ConsulServer) -> None:
    assert client.address() == server.host


def test_refusal_carries_consuls_message(client: ConsulClient) -> None:
    with pytest.raises(ConsulRefused) as refused:
        client.register({"ID": "x", "Name": ""})
    assert refused.value.code == 400
    assert "Missing service name" in refused.value.why


def test_wait_until_unlisted_returns_once_the_service_is_gone(client: ConsulClient) -> None:
    client.register({"ID": "leaving", "Name": "leaving"})
    client.register({"ID": "staying", "Name": "leaving"})
    eventually(lambda: client.passing("leaving") == {"leaving", "staying"})
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.wait_until_unlisted, "leaving", "leaving", 60.0)
        assert not wait([waiting], timeout=0.2).done
        client.deregister("leaving")
        waiting.result(30.0)
    assert client.passing("leaving") == {"staying"}
    client.wait_until_unlisted("leaving", "leaving", 60.0)
    client.wait_until_unlisted("unknown", "unknown", 60.0)
    client.deregister("staying")


def test_wait_until_unlisted_is_bounded(client: ConsulClient) -> None:
    client.register({"ID": "a", "Name": "bounded"})
    eventually(lambda: client.passing("bounded") == {"a"})
    began = time.monotonic()
    client.wait_until_unlisted("bounded", "a", 0.3)
    # Without a bound, one query would last for a minute.
    assert 0.3 <= time.monotonic() - began < 30
    client.wait_until_unlisted("bounded", "a", 0.0)
    client.deregister("a")


@pytest.mark.parametrize(
    ("index", "header", "following"),
    [(0, "7", 7), (7, "7", 7), (7, "9", 9), (7, "6", 0), (0, "0", 1), (0, "", 1), (7, "x", 0)],
)
def test_index_of_blocking_queries(index: int, header: str, following: int) -> None:
    assert _next_index(index, header) == following


def test_every_request_carries_the_token(consul: FakeConsul) -> None:
    known = ConsulClient(Server("127.0.0.1", consul.port), "secret")
    known.services()
    known.close()
    assert consul.tokens == {"secret"}
