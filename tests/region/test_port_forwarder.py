"""Doors lead to whoever is behind them, one after the other, and hand on every way in which a connection ends."""

from __future__ import annotations

import logging
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from ecsconsul.region.port_forwarder import Endpoint, PortForwarder

Until = Callable[..., None]
RESET = struct.pack("ii", 1, 0)  # linger for no time: close sends RST


class Behind:
    """What is behind the forwarder, as a test says it."""

    def __init__(self) -> None:
        self.endpoints: list[Endpoint] = []
        self.asked: list[int] = []

    def __call__(self, port: int) -> list[Endpoint]:
        self.asked.append(port)
        return self.endpoints


@pytest.fixture
def behind() -> Behind:
    return Behind()


@pytest.fixture
def forwarder(behind: Behind) -> Iterator[PortForwarder]:
    made = PortForwarder(behind)
    yield made
    made.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@pytest.fixture
def port(forwarder: PortForwarder) -> int:
    """An open door."""
    number = free_port()
    forwarder.forward({number})
    return number


@pytest.fixture
def inner(behind: Behind) -> Iterator[socket.socket]:
    """A server behind the forwarder."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        behind.endpoints = [listener.getsockname()]
        yield listener


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def all_of(one: socket.socket) -> bytes:
    chunks = []
    while chunk := one.recv(65536):
        chunks.append(chunk)
    return b"".join(chunks)


def test_both_ways_whole_and_with_their_ends(port: int, inner: socket.socket, behind: Behind) -> None:
    asked = bytes(range(256)) * 8000

    def serve() -> None:
        server, _ = inner.accept()
        with server:
            server.settimeout(5)
            server.sendall(all_of(server)[::-1])

    serving = threading.Thread(target=serve)
    serving.start()
    with connect(port) as client:
        client.sendall(asked)
        client.shutdown(socket.SHUT_WR)  # half of it closes, the other half answers
        assert all_of(client) == asked[::-1]
    serving.join(5)
    assert behind.asked == [port]


def test_the_next_one_is_tried_when_one_refuses(port: int, inner: socket.socket, behind: Behind) -> None:
    behind.endpoints = [("127.0.0.1", free_port()), *behind.endpoints]
    with connect(port) as client:
        server, _ = inner.accept()
        with server:
            server.sendall(b"second")
        assert all_of(client) == b"second"


def test_nobody_behind_closes_the_connection(port: int, behind: Behind) -> None:
    with connect(port) as client:
        assert client.recv(1) == b""
    behind.endpoints = [("127.0.0.1", free_port())]
    with connect(port) as client:
        assert client.recv(1) == b""


def test_a_task_that_is_killed_does_not_leave_its_caller_waiting(port: int, inner: socket.socket) -> None:
    with connect(port) as client:
        client.sendall(b"GET")
        server, _ = inner.accept()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        server.close()
        assert client.recv(1) == b"", "not a time-out"


def test_a_caller_that_vanishes_lets_the_task_go(port: int, inner: socket.socket) -> None:
    client = connect(port)
    client.sendall(b"GET")
    server, _ = inner.accept()
    with server:
        server.settimeout(5)
        assert server.recv(3) == b"GET"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()
        assert server.recv(1) == b""


def test_doors_open_and_close_as_wanted(forwarder: PortForwarder) -> None:
    one, two = free_port(), free_port()
    forwarder.forward({one, two})
    assert forwarder.ports() == tuple(sorted((one, two)))
    forwarder.forward({two})
    assert forwarder.ports() == (two,)
    with pytest.raises(ConnectionRefusedError):
        connect(one)
    with connect(two) as client:
        assert client.recv(1) == b"", "it is open, with nobody behind it"


def test_a_taken_port_is_said_once_and_opened_when_it_is_free(
    forwarder: PortForwarder, caplog: pytest.LogCaptureFixture
) -> None:
    number = free_port()
    with socket.create_server(("127.0.0.1", number)), caplog.at_level(logging.ERROR):
        for _ in range(3):
            forwarder.forward({number})
        assert forwarder.ports() == ()
    assert [record.getMessage() for record in caplog.records] == [
        f"cannot forward 127.0.0.1:{number}: address already in use"
    ]
    forwarder.forward({number})
    assert forwarder.ports() == (number,)


def test_a_port_that_is_none_keeps_no_other_closed(forwarder: PortForwarder, caplog: pytest.LogCaptureFixture) -> None:
    number = free_port()
    with caplog.at_level(logging.ERROR):
        forwarder.forward({70000, number})
    assert forwarder.ports() == (number,)
    assert "cannot forward 127.0.0.1:70000: " in caplog.text


def test_a_door_whose_reader_fails_lets_the_caller_go(caplog: pytest.LogCaptureFixture) -> None:
    def unknown(port: int) -> list[Endpoint]:
        raise LookupError("nobody knows")

    forwarder, number = PortForwarder(unknown), free_port()
    forwarder.forward({number})
    with connect(number) as client:
        assert client.recv(1) == b""
    forwarder.close()
    assert "nobody knows" in caplog.text


def test_closing_ends_the_connections_too(behind: Behind, inner: socket.socket, until: Until) -> None:
    forwarder, number = PortForwarder(behind), free_port()
    forwarder.forward({number})
    with connect(number) as client:
        server, _ = inner.accept()
        with server:
            server.settimeout(5)
            forwarder.close()
            assert server.recv(1) == b""
            assert client.recv(1) == b""
    assert "port-forwarder" not in [thread.name for thread in threading.enumerate()]
