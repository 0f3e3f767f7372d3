"""Forwarded ports connect to the first endpoint that accepts, and pass on how a connection ends."""

from __future__ import annotations

import logging
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from ecsconsul.region.port_forwarder import Endpoint, PortForwarder

Until = Callable[..., None]
TIMEOUT = 60.0
RESET = struct.pack("ii", 1, 0)  # With SO_LINGER 0, close sends RST.


class Endpoints:
    """The endpoints of every port, as set by a test."""

    def __init__(self) -> None:
        self.all: list[Endpoint] = []
        self.requested: list[int] = []

    def __call__(self, port: int) -> list[Endpoint]:
        self.requested.append(port)
        return self.all


@pytest.fixture
def endpoints() -> Endpoints:
    return Endpoints()


@pytest.fixture
def forwarder(endpoints: Endpoints) -> Iterator[PortForwarder]:
    forwarder = PortForwarder(endpoints)
    yield forwarder
    forwarder.close()


def free_ports(count: int) -> list[int]:
    """Different ones, since all are held until the last one is chosen."""
    with ExitStack() as held:
        servers = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(one.getsockname()[1]) for one in servers]


def free_port() -> int:
    [port] = free_ports(1)
    return port


@pytest.fixture
def port(forwarder: PortForwarder) -> int:
    """A forwarded port."""
    number = free_port()
    forwarder.forward({number})
    return number


@pytest.fixture
def backend(endpoints: Endpoints) -> Iterator[socket.socket]:
    """A server that the forwarder connects to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TIMEOUT)
        endpoints.all = [listener.getsockname()]
        yield listener


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)


def all_of(one: socket.socket) -> bytes:
    chunks = []
    while chunk := one.recv(65536):
        chunks.append(chunk)
    return b"".join(chunks)


def test_data_and_end_of_file_pass_both_ways(port: int, backend: socket.socket, endpoints: Endpoints) -> None:
    request = bytes(range(256)) * 8000

    def serve() -> None:
        server, _ = backend.accept()
        with server:
            server.settimeout(TIMEOUT)
            server.sendall(all_of(server)[::-1])

    serving = threading.Thread(target=serve)
    serving.start()
    with connect(port) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)  # half-closed: the response still arrives
        assert all_of(client) == request[::-1]
    serving.join(TIMEOUT)
    assert endpoints.requested == [port]


def test_next_endpoint_is_tried_when_one_refuses(port: int, backend: socket.socket, endpoints: Endpoints) -> None:
    endpoints.all = [("127.0.0.1", free_port()), *endpoints.all]
    with connect(port) as client:
        server, _ = backend.accept()
        with server:
            server.sendall(b"second")
        assert all_of(client) == b"second"


def test_connection_without_an_endpoint_is_closed(port: int, endpoints: Endpoints) -> None:
    with connect(port) as client:
        assert client.recv(1) == b""
    endpoints.all = [("127.0.0.1", free_port())]
    with connect(port) as client:
        assert client.recv(1) == b""


def test_connection_closes_when_the_task_is_killed(port: int, backend: socket.socket) -> None:
    with connect(port) as client:
        client.sendall(b"GET")
        server, _ = backend.accept()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        server.close()
        assert client.recv(1) == b"", "closed, not timed out"


def test_connection_to_the_task_closes_when_the_caller_vanishes(port: int, backend: socket.socket) -> None:
    client = connect(port)
    client.sendall(b"GET")
    server, _ = backend.accept()
    with server:
        server.settimeout(TIMEOUT)
        assert server.recv(3) == b"GET"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()
        assert server.recv(1) == b""


def test_ports_are_opened_and_closed(forwarder: PortForwarder) -> None:
    one, two = free_ports(2)
    forwarder.forward({one, two})
    assert forwarder.ports() == tuple(sorted((one, two)))
    forwarder.forward({two})
    assert forwarder.ports() == (two,)
    with pytest.raises(ConnectionRefusedError):
        connect(one)
    with connect(two) as client:
        assert client.recv(1) == b"", "it is open, and has no endpoint"


def test_taken_port_is_logged_once_and_opened_when_free(
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


def test_invalid_port_does_not_block_others(forwarder: PortForwarder, caplog: pytest.LogCaptureFixture) -> None:
    number = free_port()
    with caplog.at_level(logging.ERROR):
        forwarder.forward({70000, number})
    assert forwarder.ports() == (number,)
    assert "cannot forward 127.0.0.1:70000: " in caplog.text


def test_connection_closes_when_the_lookup_fails(caplog: pytest.LogCaptureFixture) -> None:
    def unknown(port: int) -> list[Endpoint]:
        raise LookupError("unknown port")

    forwarder, number = PortForwarder(unknown), free_port()
    forwarder.forward({number})
    with connect(number) as client:
        assert client.recv(1) == b""
    forwarder.close()
    assert "unknown port" in caplog.text


def test_close_closes_open_connections(endpoints: Endpoints, backend: socket.socket, until: Until) -> None:
    forwarder, number = PortForwarder(endpoints), free_port()
    forwarder.forward({number})
    with connect(number) as client:
        server, _ = backend.accept()
        with server:
            server.settimeout(TIMEOUT)
            forwarder.close()
            assert server.recv(1) == b""
            assert client.recv(1) == b""
    assert "port-forwarder" not in [thread.name for thread in threading.enumerate()]


# UDP


@pytest.fixture
def echo() -> Iterator[socket.socket]:
    """A socket that a test reads datagrams from."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        found.settimeout(TIMEOUT)
        yield found


def test_datagrams_reach_the_endpoint_and_answers_their_sender(echo: socket.socket) -> None:
    forwarder, number = PortForwarder(lambda port: [], lambda port: [echo.getsockname()]), free_port()
    forwarder.forward(set(), {number})
    try:
        assert (forwarder.ports(), forwarder.udp_ports()) == ((), (number,))
        senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for name, sender in enumerate(senders):
            sender.settimeout(TIMEOUT)
            sender.sendto(f"question {name}".encode(), ("127.0.0.1", number))
        for _ in senders:
            data, address = echo.recvfrom(100)
            echo.sendto(data.replace(b"question", b"answer"), address)
        assert [sender.recv(100) for sender in senders] == [b"answer 0", b"answer 1"]
        for sender in senders:
            sender.close()
        forwarder.forward(set(), set())
        assert forwarder.udp_ports() == ()
    finally:
        forwarder.close()


def test_udp_port_that_is_taken_is_skipped(echo: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    forwarder, taken = PortForwarder(lambda port: []), echo.getsockname()[1]
    try:
        with caplog.at_level(logging.ERROR):
            forwarder.forward(set(), {taken})
        assert forwarder.udp_ports() == ()
        assert f"cannot forward 127.0.0.1:{taken}/udp: address already in use" in caplog.text
    finally:
        forwarder.close()
