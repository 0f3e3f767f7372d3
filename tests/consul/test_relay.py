"""Connections through a relay, over real sockets."""

from __future__ import annotations

import asyncio
import queue
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import pytest

from ecsconsul.consul.relay import Address, Relay, listen
from ecsconsul.errors import LabError, NameNotFound, Unreachable, WrongUsage
from tests.listening import reserved_port

SECONDS = 30.0


def until_end(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


@contextmanager
def server(greeting: bytes) -> Iterator[Address]:
    """Answers each connection with a greeting and all that the client sent, once the client has finished sending."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.sendall(greeting + until_end(connection))

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    threading.Thread(target=answer, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()
        listening.shutdown(socket.SHUT_RDWR)


class Endpoints:
    """What Consul would say; a test changes it."""

    def __init__(self, *addresses: Address) -> None:
        self.addresses: Sequence[Address] = addresses
        self.error: LabError | None = None
        self.notes: list[str] = []

    def __call__(self) -> Sequence[Address]:
        if self.error:
            raise self.error
        return self.addresses


def reach(host: str, port: int) -> Address:
    return host, port


@contextmanager
def relaying(endpoints: Endpoints, reach: Callable[[str, int], Address] = reach) -> Iterator[Address]:
    """A relay in a thread; cancelled, it must end."""
    started: queue.Queue[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = queue.Queue()

    async def serve(listener: socket.socket) -> None:
        task = asyncio.current_task()
        assert task
        started.put((asyncio.get_running_loop(), task))
        await Relay(endpoints, reach, endpoints.notes.append).serve(listener)

    def run(listener: socket.socket) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(serve(listener))

    with listen("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        thread = threading.Thread(target=run, args=(listener,))
        thread.start()
        loop, task = started.get(timeout=SECONDS)
        try:
            yield address
        finally:
            loop.call_soon_threadsafe(task.cancel)
            thread.join(SECONDS)
            assert not thread.is_alive()


def exchange(address: Address, sent: bytes) -> bytes:
    """Sends, closes one half of the connection, and reads until the end."""
    with socket.create_connection(address, SECONDS) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        return until_end(connection)


def test_half_closed_connection_still_carries_the_answer() -> None:
    big = b"x" * 3_000_000
    with server(b"one:") as one, relaying(Endpoints(one)) as relay:
        assert exchange(relay, big) == b"one:" + big


def test_each_connection_goes_where_instances_are_now() -> None:
    with server(b"old") as old, server(b"new") as new:
        endpoints = Endpoints(old)
        with relaying(endpoints) as relay:
            assert exchange(relay, b"") == b"old"
            endpoints.addresses = [new]
            assert exchange(relay, b"") == b"new"


def test_next_endpoint_is_tried_when_one_refuses() -> None:
    with server(b"two") as two, reserved_port() as closed, relaying(Endpoints(("127.0.0.1", closed), two)) as relay:
        assert exchange(relay, b"") == b"two"


def test_endpoint_that_cannot_be_reached_is_passed_over() -> None:
    def broken(host: str, port: int) -> Address:
        if host == "10.0.0.1":
            raise Unreachable("no tunnel")
        return host, port

    with server(b"two") as two, relaying(Endpoints(("10.0.0.1", 80), two), broken) as relay:
        assert exchange(relay, b"") == b"two"


def test_connection_without_an_endpoint_is_closed_and_noted_once() -> None:
    with reserved_port() as closed:
        endpoints = Endpoints(("127.0.0.1", closed))
        with relaying(endpoints) as relay:
            assert exchange(relay, b"") == exchange(relay, b"") == b""
    assert endpoints.notes == [f"no instance accepts a connection: 127.0.0.1:{closed}: connection refused"]


def test_connection_while_none_passes_is_closed_and_noted() -> None:
    with server(b"back") as back:
        endpoints = Endpoints(back)
        endpoints.error = NameNotFound("none passes")
        with relaying(endpoints) as relay:
            assert exchange(relay, b"") == b""
            endpoints.error = None
            assert exchange(relay, b"") == b"back"
    assert endpoints.notes == ["none passes"]


def test_open_connection_does_not_keep_the_relay(caplog: pytest.LogCaptureFixture) -> None:
    with server(b"") as one, relaying(Endpoints(one)) as relay:
        connection = socket.create_connection(relay, SECONDS)
        connection.sendall(b"half a request")
        assert exchange(relay, b"") == b"", "the first connection is served by now"
    # relaying() has asserted that the relay ended
    connection.settimeout(SECONDS)
    try:
        assert connection.recv(1) == b""
    except ConnectionResetError:
        pass
    finally:
        connection.close()
    assert caplog.records == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "localhost.example", ""])
def test_only_loopback_addresses_are_listened_at(host: str) -> None:
    with pytest.raises(WrongUsage, match="loopback"):
        listen(host, 0)


def test_taken_port_is_named() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(LabError, match=f"Port {port} is taken"):
            listen("127.0.0.1", port)
