"""Addresses and ports: free ones, each given once, also to those who ask at the same time."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ecsconsul.region.runtimes import addresses as network
from ecsconsul.region.runtimes.addresses import (
    CONSUL_SERF_PORT,
    FIRST_DYNAMIC_PORT,
    LAST_DYNAMIC_PORT,
    LOOPBACK,
    SHARED_ADDRESS_VARIABLE,
    Addresses,
    Ports,
    is_free,
    is_free_for_both,
    must_share_address,
)
from tests.listening import tcp_and_udp

several_addresses = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only 127.0.0.1 is up")


@pytest.fixture
def fast_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_a_port_is_free_until_someone_listens_and_again_after() -> None:
    listener, udp = tcp_and_udp(LOOPBACK)
    udp.close()
    with listener:
        port = listener.getsockname()[1]
        assert not is_free(LOOPBACK, port)
        assert is_free(LOOPBACK, port, socket.SOCK_DGRAM)
        assert not is_free_for_both(LOOPBACK, port)
        with socket.create_connection((LOOPBACK, port)) as client, listener.accept()[0]:
            assert client.getpeername()[1] == port
    assert is_free(LOOPBACK, port), "what is left in TIME_WAIT does not hinder a server"


def test_an_address_that_is_not_ours_is_not_free() -> None:
    assert not is_free("192.0.2.1", 8300)


def test_ports_are_given_in_turn_and_once() -> None:
    ports = Ports(LOOPBACK)
    given = [ports.take() for _ in range(50)]
    assert len(set(given)) == 50
    assert min(given) >= FIRST_DYNAMIC_PORT
    ports.give_back(given[0])
    assert ports.take() not in given, "the others have their turn first"


def test_a_taken_port_is_passed_over() -> None:
    ports = Ports(LOOPBACK, _next=40_000)
    first = ports.take()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind((LOOPBACK, Ports(LOOPBACK, _next=first + 1).take()))
        assert ports.take() != udp.getsockname()[1]


def test_the_range_begins_anew_at_its_end_and_can_be_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    # whoever else has these very ports now
    monkeypatch.setattr(network, "is_free_for_both", lambda address, port: True)
    ports = Ports(LOOPBACK, _next=LAST_DYNAMIC_PORT)
    ports._taken = set(range(FIRST_DYNAMIC_PORT, LAST_DYNAMIC_PORT))
    last = ports.take()
    assert last == LAST_DYNAMIC_PORT
    with pytest.raises(OSError, match=r"no free port left on 127\.0\.0\.1"):
        ports.take()
    ports.give_back(FIRST_DYNAMIC_PORT + 7)
    assert ports.take() == FIRST_DYNAMIC_PORT + 7


@pytest.mark.usefixtures("fast_switches")
def test_tasks_that_start_at_once_get_ports_of_their_own() -> None:
    ports, start = Ports(LOOPBACK), threading.Barrier(8)

    def take(_: int) -> list[int]:
        start.wait(5)
        return [ports.take() for _ in range(25)]

    with ThreadPoolExecutor(8) as pool:
        given = [port for taken in pool.map(take, range(8)) for port in taken]
    assert len(set(given)) == len(given) == 200


@several_addresses
def test_addresses_of_a_lab_are_its_own() -> None:
    one, two = Addresses("one", shared=False), Addresses("two", shared=False)
    first, second = one.take(), one.take()
    assert first.rpartition(".")[0] == second.rpartition(".")[0] != two.take().rpartition(".")[0]
    assert first != second
    one.give_back(first)
    assert one.take() == first
    assert one.ports(first) is not one.ports(first), "each address has all ports"


@several_addresses
def test_a_block_where_another_lab_runs_is_left_to_it() -> None:
    mine = Addresses("same", shared=False).take()
    with socket.create_server((mine, CONSUL_SERF_PORT)):
        other = Addresses("same", shared=False).take()
    assert other.rpartition(".")[0] != mine.rpartition(".")[0]
    assert Addresses("same", shared=False).take() == mine


def test_machines_that_share_the_address_share_its_ports() -> None:
    addresses = Addresses("lab", shared=True)
    assert addresses.take() == addresses.take() == LOOPBACK
    ports = {addresses.ports(LOOPBACK).take() for _ in range(10)}
    assert len(ports) == 10


def test_one_address_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SHARED_ADDRESS_VARIABLE, raising=False)
    assert must_share_address() == (not sys.platform.startswith("linux"))
    monkeypatch.setenv(SHARED_ADDRESS_VARIABLE, "1")
    assert must_share_address()


@several_addresses
def test_of_two_labs_that_start_at_once_one_has_consuls_own_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both find them free: neither listens yet."""
    monkeypatch.setattr(network, "LOOPBACK", "127.99.3.1")
    first, second = Addresses("one", shared=False), Addresses("two", shared=False)
    assert network.claim_consul_ports(first)
    assert not network.claim_consul_ports(second)
    assert network.claim_consul_ports(first), "it may come to have a new first server"
    del first
    assert network.claim_consul_ports(second)


@several_addresses
def test_ports_that_another_program_has_are_not_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "LOOPBACK", "127.99.3.2")
    lab = Addresses("one", shared=False)
    with socket.create_server(("127.99.3.2", 8600)):
        assert not network.claim_consul_ports(lab)
    assert network.claim_consul_ports(lab)
