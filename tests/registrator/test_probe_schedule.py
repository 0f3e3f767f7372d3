"""How a new service is looked at until it is well."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from ecsconsul.registrator.checks import Check, Endpoint, HttpProbe, TcpProbe
from ecsconsul.registrator.probe_schedule import PAUSE_WHEN_SHOWN, SHOWN_AFTER, Looking, looking_at, see
from ecsconsul.registrator.rules import Registration

HTTP = Check(http="http://10.0.0.1:80/health", interval="5s", timeout="3s")
TCP = Check(tcp="10.0.0.1:80", interval="10s")


def service(check: Check | None, tags: tuple[str, ...] = ()) -> Registration:
    return Registration("a", "web", "10.0.0.1", 80, tags, check=check, behind=Endpoint("172.17.0.2", 8080))


def test_a_check_that_can_be_looked_at_is_until_consul_has_done_so() -> None:
    found = looking_at(service(HTTP), 100.0, until_it_listens=False)
    assert found is not None
    assert found.probe == HttpProbe("http://10.0.0.1:80/health", timeout=SHOWN_AFTER)
    assert found.behind is None
    assert found.until == 100.0 + SHOWN_AFTER + 5


def test_a_tcp_look_asks_the_container_itself_as_well() -> None:
    found = looking_at(service(TCP), 100.0, until_it_listens=False)
    assert found is not None and found.behind is not None
    assert (found.behind.host, found.behind.port) == ("172.17.0.2", 8080)


@pytest.mark.parametrize(
    "check", [Check(ttl="10s"), Check(args=("true",), interval="10s"), Check(http="x", status="passing")]
)
@pytest.mark.parametrize("waits", [True, False])
def test_what_only_consul_or_the_service_can_tell_is_not_looked_at(check: Check, waits: bool) -> None:
    assert looking_at(service(check), 100.0, until_it_listens=waits) is None


def test_one_without_a_check_is_looked_at_only_where_that_is_asked_for() -> None:
    assert looking_at(service(None), 100.0, until_it_listens=False) is None
    assert looking_at(service(None, ("udp",)), 100.0, until_it_listens=True) is None
    found = looking_at(service(None), 100.0, until_it_listens=True)
    assert found is not None
    assert found.probe == TcpProbe("10.0.0.1", 80, SHOWN_AFTER)


def test_the_pauses_grow_until_it_is_shown() -> None:
    looking = Looking(TcpProbe("h", 1), None, began=0.0, until=10.0)
    looking.status = "critical"
    pauses = [looking.next_pause(0.1) for _ in range(12)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0.01, 0.1)
    assert looking.next_pause(SHOWN_AFTER) == PAUSE_WHEN_SHOWN
    assert looking.next_pause(10.0) is None
    looking.status = "passing"
    assert looking.next_pause(0.1) is None


@pytest.mark.parametrize(
    ("status", "now", "decided"),
    [
        (None, 0.1, False),
        ("critical", 0.1, False),
        ("passing", 0.1, True),
        ("warning", 0.1, True),
        ("critical", SHOWN_AFTER, True),
        (None, SHOWN_AFTER, True),  # the look hangs
    ],
)
def test_when_it_is_registered(status: str | None, now: float, decided: bool) -> None:
    looking = Looking(TcpProbe("h", 1), None, 0.0, 10.0, status=status)  # type: ignore[arg-type]
    assert looking.is_decided(now) is decided


def test_shown_wrongly_is_critical_though_it_is_well() -> None:
    looking = Looking(TcpProbe("h", 1), None, 0.0, 10.0, status="passing", shown="critical")
    assert looking.is_shown_wrongly
    looking.shown = "passing"
    assert not looking.is_shown_wrongly


def test_what_is_seen() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server, closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        open_port, closed_port = server.getsockname()[1], silent.getsockname()[1]
        here, nowhere = TcpProbe("127.0.0.1", open_port, 1.0), TcpProbe("127.0.0.1", closed_port, 1.0)
        unreachable = TcpProbe("no such host", 1, 0.1)
        assert see(here, None) == "passing"
        assert see(nowhere, None) == "critical"
        assert see(here, nowhere) == "critical"
        assert see(here, here) == "passing"
        assert see(here, unreachable) == "passing"
