"""Calling a service that is found through DNS: the next instance, the next lookup, and when to give up."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from typing import Any

import pytest


def client(portal: Any, name_server: Any, **more: Any) -> Any:
    chosen = portal.discovery.Settings((("127.0.0.1", name_server.port),), ("service.consul",))
    return portal.client.Client(portal.discovery.Discovery(chosen), **more)


class Breaking:
    """Accepts a connection, sends what it was given, and hangs up."""

    def __init__(self, data: bytes = b"") -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._data = data
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(self._data)

    def close(self) -> None:
        # shutdown wakes the thread in accept; close alone would leave it there with the port open.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def test_journey_traces_the_request(portal: Any, name_server: Any, web: Any) -> None:
    name_server.service("weather", web.port)
    web.answers = {"/weather/London": (200, {"temp": 1})}
    reply, journey = client(portal, name_server).get("weather", "/weather/London")
    assert (reply.status, reply.body) == (200, b'{"temp": 1}')
    assert journey.chosen.port == web.port
    assert [(one.endpoint, one.outcome) for one in journey.attempts] == [(f"127.0.0.1:{web.port}", "HTTP 200")]
    assert journey.milliseconds >= journey.attempts[0].milliseconds > 0


def test_refusing_instance_is_skipped(portal: Any, name_server: Any, web: Any, gone: int) -> None:
    name_server.service("weather", web.port)
    name_server.zone["weather.service.consul.", "SRV"] += [f"0 1 {gone} 7f000001.addr.dc1.consul."]
    reply, journey = client(portal, name_server).get("weather", "/x")
    assert reply.status == 404
    assert [one.outcome for one in journey.attempts] == ["Connection refused", "HTTP 404"]


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", b"nonsense\r\n\r\n"])
def test_broken_connection_is_skipped(portal: Any, name_server: Any, web: Any, data: bytes) -> None:
    breaking = Breaking(data)
    try:
        name_server.service("weather", web.port)
        first = f"0 1 {breaking.port} 7f000001.addr.dc1.consul."
        name_server.zone["weather.service.consul.", "SRV"] += [first]
        reply, journey = client(portal, name_server).get("weather", "/x")
    finally:
        breaking.close()
    assert reply.status == 404
    assert len(journey.attempts) == 2


def test_lookup_is_repeated_if_all_instances_fail(portal: Any, name_server: Any, web: Any, gone: int) -> None:
    name_server.service("weather", gone)

    def deploy() -> None:
        if len(name_server.queries) == 2:
            name_server.service("weather", web.port)

    name_server.before_answer = deploy
    pauses: list[float] = []
    reply, journey = client(portal, name_server, pause=pauses.append).get("weather", "/x")
    assert reply.status == 404
    assert len(journey.lookups) == 2
    assert pauses == [0, 0], "the second look is at once"


def test_failure_lists_attempts(portal: Any, name_server: Any, gone: int) -> None:
    name_server.service("weather", gone)
    with pytest.raises(portal.client.Unavailable, match=r"none of the 1 .* \(Connection refused\)") as caught:
        client(portal, name_server, pause=lambda seconds: None).get("weather", "/x")
    assert caught.value.status == 503
    assert len(caught.value.journey.attempts) == len(portal.client.PAUSES)


def test_missing_service(portal: Any, name_server: Any) -> None:
    with pytest.raises(portal.client.Unavailable, match="no healthy instance of weather") as caught:
        client(portal, name_server, pause=lambda seconds: None).get("weather", "/x")
    assert caught.value.status == 503


def test_hanging_instance_is_504_at_the_deadline(
    portal: Any, name_server: Any, web: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portal.client, "DEADLINE", 0.3)
    release = threading.Event()
    web.answers = {"/x": lambda: (release.wait(60), (200, {}))[1]}
    name_server.service("weather", web.port)
    with pytest.raises(portal.client.Unavailable) as caught:
        client(portal, name_server).get("weather", "/x")
    release.set()
    assert caught.value.status == 504
    # the time that one instance has would be over after a minute
    assert caught.value.journey.milliseconds < 30_000


def test_silent_dns_server_is_504(portal: Any, name_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portal.client, "DEADLINE", 0.2)
    name_server.silent = True
    with pytest.raises(portal.client.Unavailable) as caught:
        client(portal, name_server).get("weather", "/x")
    assert caught.value.status == 504


def test_time_that_is_over_before_the_first_lookup_is_504(portal: Any, name_server: Any) -> None:
    times = iter([0.0, 1e9, 1e9])
    with pytest.raises(portal.client.Unavailable, match="no time was left") as caught:
        client(portal, name_server, clock=lambda: next(times)).get("weather", "/x")
    assert caught.value.status == 504


@pytest.mark.parametrize("step", [1.0, 5.0, 7.0, 9.0, 11.0, 13.0, 19.0, 29.0, 31.0])
def test_time_that_is_over_between_any_two_steps_is_504(portal: Any, name_server: Any, web: Any, step: float) -> None:
    """With a deadline of 60 s, and each look at the clock so much later than the one before."""
    web.answers = {"/x": (500, {})}
    name_server.service("weather", web.port)
    times = itertools.count(time.monotonic(), step)
    try:
        reply, _ = client(portal, name_server, clock=lambda: next(times), pause=lambda _: None).get("weather", "/x")
        assert reply.status == 500
    except portal.client.Unavailable as unavailable:
        assert unavailable.status == 504
