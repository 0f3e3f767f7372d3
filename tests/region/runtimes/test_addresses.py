"""Addresses and ports are free, and each is handed out once, even to concurrent callers."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ecsconsul.region.runtimes.addresses import (
    CONSUL_SERF_PORT,
    FIRST_DYNAMIC_PORT,
    LAST_DYNAMIC_PORT,
    LOOPBACK,
    SHARED_ADDRESS_VARIABLE,
    Addresses,
    Ports,
    claim_consul_ports,
    is_free,
    is_free_for_both,
    must_share_address,
)
from tests.listening import tcp_and_udp

TIMEOUT = 60.0

several_addresses = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only 127.0.0.1 is up")


@pytest.fixture
def fast_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_port_is_free_unless_a_server_listens() -> None:
    listener, udp = tcp_and_udp(LOOPBACK)
    udp.close()
    with listener:
        port = listener.getsockname()[1]
        assert not is_free(LOOPBACK, port)
        assert is_free(LOOPBACK, port, socket.SOCK_DGRAM)
        assert not is_free_for_both(LOOPBACK, port)
        with socket.create_connection((LOOPBACK, port)) as client, listener.accept()[0]:
            assert client.getpeername()[1] == port
    assert is_free(LOOPBACK, port), "TIME_WAIT does not block a server"


def test_foreign_address_is_not_free() -> None:
    assert not is_free("192.0.2.1", 8300)


def test_the_first_ports_are_left_to_docker() -> None:
    """It publishes at all addresses, in order from the range's first port."""
    for shared in (False, True):
        addresses = Addresses("a-lab", shared)
        first = addresses.ports(addresses.take()).take()
        assert FIRST_DYNAMIC_PORT + 8000 <= first <= LAST_DYNAMIC_PORT


def test_ports_are_handed_out_in_turn() -> None:
    ports = Ports(LOOPBACK)
    given = [ports.take() for _ in range(50)]
    assert len(set(given)) == 50
    assert min(given) >= FIRST_DYNAMIC_PORT
    ports.give_back(given[0])
    assert ports.take() not in given, "the rest of the range comes first"


def test_taken_port_is_skipped() -> None:
    ports = Ports(LOOPBACK, _next=40_000)
    first = ports.take()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind((LOOPBACK, Ports(LOOPBACK, _next=first + 1).take()))
        assert ports.take() != udp.getsockname()[1]


def test_range_wraps_around_and_can_be_exhausted() -> None:
    ports = Ports(LOOPBACK, _next=LAST_DYNAMIC_PORT, _is_free=lambda address, port: True)
    ports._taken = set(range(FIRST_DYNAMIC_PORT, LAST_DYNAMIC_PORT))
    assert ports.take() == LAST_DYNAMIC_PORT
    with pytest.raises(OSError, match=r"no free port left on 127\.0\.0\.1"):
        ports.take()
    ports.give_back(FIRST_DYNAMIC_PORT + 7)
    assert ports.take() == FIRST_DYNAMIC_PORT + 7


@pytest.mark.parametrize("first", [40_000, 40_001])
def test_every_odd_port_of_the_range_is_handed_out_and_no_other(first: int) -> None:
    ports = Ports(LOOPBACK, _next=first, _is_free=lambda address, port: True)
    odd = list(range(FIRST_DYNAMIC_PORT + 1, LAST_DYNAMIC_PORT + 1, 2))
    given = [ports.take() for _ in odd]
    assert given[0] == 40_001
    assert sorted(given) == odd


@pytest.mark.usefixtures("fast_switches")
def test_concurrent_callers_get_different_ports() -> None:
    ports, start = Ports(LOOPBACK), threading.Barrier(8)

    def take(_: int) -> list[int]:
        start.wait(TIMEOUT)
        return [ports.take() for _ in range(25)]

    with ThreadPoolExecutor(8) as pool:
        given = [port for taken in pool.map(take, range(8)) for port in taken]
    assert len(set(given)) == len(given) == 200


@several_addresses
def test_labs_get_different_addresses() -> None:
    one, two = Addresses("one", shared=False), Addresses("two", shared=False)
    first, second = one.take(), one.take()
    assert first.rpartition(".")[0] == second.rpartition(".")[0] != two.take().rpartition(".")[0]
    assert first != second
    one.give_back(first)
    assert one.take() == first
    assert one.ports(first) is not one.ports(first), "each address has all ports"


@several_addresses
def test_block_of_another_lab_is_skipped() -> None:
    mine = Addresses("same", shared=False).take()
    with socket.create_server((mine, CONSUL_SERF_PORT)):
        other = Addresses("same", shared=False).take()
    assert other.rpartition(".")[0] != mine.rpartition(".")[0]
    assert Addresses("same", shared=False).take() == mine


@several_addresses
def test_two_starting_labs_of_one_name_get_different_addresses() -> None:
    """As two users' labs may; neither listens yet."""
    first = Addresses("same", shared=False)
    second = Addresses("same", shared=False)
    assert first.take().rpartition(".")[0] != second.take().rpartition(".")[0]
    mine = first.take()
    del first
    assert Addresses("same", shared=False).take().rpartition(".")[0] == mine.rpartition(".")[0]


def test_instances_that_share_an_address_share_its_ports() -> None:
    addresses = Addresses("lab", shared=True)
    assert addresses.take() == addresses.take() == LOOPBACK
    ports = {addresses.ports(LOOPBACK).take() for _ in range(10)}
    assert len(ports) == 10


def test_sharing_one_address_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SHARED_ADDRESS_VARIABLE, raising=False)
    assert must_share_address() == (not sys.platform.startswith("linux"))
    monkeypatch.setenv(SHARED_ADDRESS_VARIABLE, "1")
    assert must_share_address()


@several_addresses
def test_only_one_of_two_starting_labs_gets_consuls_default_ports() -> None:
    """Neither listens yet, so both find the ports free."""
    address = "127.99.3.1"
    first, second = Addresses("one", shared=False), Addresses("two", shared=False)
    assert claim_consul_ports(first, address)
    assert not claim_consul_ports(second, address)
    assert claim_consul_ports(first, address), "it may have a new first server"
    del first
    assert claim_consul_ports(second, address)


@several_addresses
def test_taken_ports_are_not_claimed() -> None:
    address = "127.99.3.2"
    lab = Addresses("one", shared=False)
    with socket.create_server((address, 8600)):
        assert not claim_consul_ports(lab, address)
    assert claim_consul_ports(lab, address)
