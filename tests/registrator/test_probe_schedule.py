"""When a new service is probed, and with which status it is registered."""

from __future__ import annotations

import socket
from contextlib import closing
from dataclasses import replace

import pytest

from ecsconsul.registrator.checks import Check, Endpoint, HttpProbe, TcpProbe, UdpProbe
from ecsconsul.registrator.probe_schedule import (
    CRITICAL_AFTER,
    MAX_PAUSE,
    MIN_PAUSE,
    UDP_PATIENCE,
    ProbeSchedule,
    probe_status,
    schedule_probes,
)
from ecsconsul.registrator.rules import Registration

HTTP = Check(http="http://10.0.0.1:80/health", interval="5s", timeout="3s")
TCP = Check(tcp="10.0.0.1:80", interval="10s")


def service(check: Check | None, tags: tuple[str, ...] = ()) -> Registration:
    return Registration("a", "web", "10.0.0.1", 80, tags, check=check, behind=Endpoint("172.17.0.2", 8080))


def test_service_with_a_check_is_probed_until_consul_must_have_checked_it() -> None:
    schedule = schedule_probes(service(HTTP), 100.0, wait_for_port=False)
    assert schedule is not None
    assert schedule.probe == HttpProbe("http://10.0.0.1:80/health", timeout=CRITICAL_AFTER)
    assert schedule.behind is None
    assert schedule.until == 100.0 + CRITICAL_AFTER + 5


def test_tcp_probe_includes_the_container_itself() -> None:
    schedule = schedule_probes(service(TCP), 100.0, wait_for_port=False)
    assert schedule is not None and schedule.behind is not None
    assert (schedule.behind.host, schedule.behind.port) == ("172.17.0.2", 8080)


@pytest.mark.parametrize(
    "check", [Check(ttl="10s"), Check(args=("true",), interval="10s"), Check(http="x", status="passing")]
)
@pytest.mark.parametrize("wait_for_port", [True, False])
def test_checks_that_only_consul_can_run_are_not_probed(check: Check, wait_for_port: bool) -> None:
    assert schedule_probes(service(check), 100.0, wait_for_port=wait_for_port) is None


def test_service_without_a_check_is_probed_only_with_wait_for_port() -> None:
    assert schedule_probes(service(None), 100.0, wait_for_port=False) is None
    assert schedule_probes(service(None, ("udp",)), 100.0, wait_for_port=True) is None
    schedule = schedule_probes(service(None), 100.0, wait_for_port=True)
    assert schedule is not None
    assert schedule.probe == TcpProbe("10.0.0.1", 80, CRITICAL_AFTER)


def test_udp_service_waits_until_its_port_is_bound() -> None:
    found = UdpProbe(7, 53)
    udp = replace(service(None, ("udp",)), socket=found)
    assert schedule_probes(udp, 100.0, wait_for_port=False) is None
    schedule = schedule_probes(udp, 100.0, wait_for_port=True)
    assert schedule is not None and schedule.probe == found
    assert not schedule.is_decided(100.0 + UDP_PATIENCE / 2)
    assert schedule.is_decided(100.0 + UDP_PATIENCE)


@pytest.mark.parametrize(
    ("age", "pause"),
    [
        (0.0, MIN_PAUSE),
        (0.05, MIN_PAUSE),
        (0.5, 0.05),
        (CRITICAL_AFTER, 0.1),
        (4.0, 0.4),
        (9.0, MAX_PAUSE),
        (10.0, None),
    ],
)
def test_pause_is_a_tenth_of_the_age_within_limits(age: float, pause: float | None) -> None:
    schedule = ProbeSchedule(TcpProbe("h", 1), None, 100.0, 110.0, CRITICAL_AFTER, status="critical")
    assert schedule.pause(100.0 + age) == (pause if pause is None else pytest.approx(pause))


def test_healthy_service_is_not_probed_again() -> None:
    assert ProbeSchedule(TcpProbe("h", 1), None, 0.0, 10.0, CRITICAL_AFTER, status="passing").pause(0.1) is None


@pytest.mark.parametrize(
    ("status", "now", "decided"),
    [
        (None, 0.1, False),
        ("critical", 0.1, False),
        ("passing", 0.1, True),
        ("warning", 0.1, True),
        ("critical", CRITICAL_AFTER, True),
        (None, CRITICAL_AFTER, True),  # the probe hangs
    ],
)
def test_when_a_service_is_registered(status: str | None, now: float, decided: bool) -> None:
    schedule = ProbeSchedule(TcpProbe("h", 1), None, 0.0, 10.0, CRITICAL_AFTER, status=status)  # type: ignore[arg-type]
    assert schedule.is_decided(now) is decided


def test_recovered_means_registered_as_critical_but_healthy() -> None:
    schedule = ProbeSchedule(TcpProbe("h", 1), None, 0.0, 10.0, CRITICAL_AFTER, status="passing", registered="critical")
    assert schedule.recovered
    schedule.registered = "passing"
    assert not schedule.recovered


def test_probe_status() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server, closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        open_port, closed_port = server.getsockname()[1], silent.getsockname()[1]
        listening, refusing = TcpProbe("127.0.0.1", open_port, 1.0), TcpProbe("127.0.0.1", closed_port, 1.0)
        unreachable = TcpProbe("no such host", 1, 0.1)
        assert probe_status(listening, None) == "passing"
        assert probe_status(refusing, None) == "critical"
        assert probe_status(listening, refusing) == "critical"
        assert probe_status(listening, listening) == "passing"
        assert probe_status(listening, unreachable) == "passing"
