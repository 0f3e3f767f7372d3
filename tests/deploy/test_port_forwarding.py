"""Which port of a service is forwarded, and to which of its instances."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ecsconsul.config.container_spec import PortSpec
from ecsconsul.config.lab import ServiceSpec
from ecsconsul.deploy.endpoints import Endpoint
from ecsconsul.deploy.port_forwarding import PassingInstances, parse
from ecsconsul.errors import NameNotFound, Unreachable, WrongUsage
from ecsconsul.targets.base import ConsulAddress
from tests.consul_server import ConsulServer, consul_server

CHECKED = """
services {
  id = "%s"
  name = "weather"
  address = "%s"
  port = %d
  check {
    id = "%s-ttl"
    ttl = "1h"
    status = "%s"
  }
}
"""
SERVICES = "".join(
    CHECKED % (name, address, port, name, status)
    for name, address, port, status in (
        ("one", "10.0.0.1", 4001, "passing"),
        ("two", "10.0.0.2", 4002, "passing"),
        ("ill", "10.0.0.3", 4003, "critical"),
    )
)
TWO = ServiceSpec(
    name="web",
    path=".",
    port=80,
    ports=(PortSpec(port=80), PortSpec(port=9090, name="web-metrics"), PortSpec(port=53, protocol="udp")),
)
NONE = ServiceSpec(name="job", path=".", ports=())


@pytest.fixture(scope="module")
def consul() -> Iterator[ConsulServer]:
    with consul_server(SERVICES, services=("one", "two", "ill")) as found:
        yield found


class Target:
    """A way to Consul that can break: the next access leads to nobody."""

    def __init__(self, consul: ConsulServer) -> None:
        self._address = ConsulAddress(consul.host, consul.http, consul.host, consul.dns)
        self.opened = self.closed = 0
        self.broken = False

    @contextmanager
    def consul(self) -> Iterator[ConsulAddress]:
        self.opened += 1
        try:
            # the discard port of loopback has no listener
            yield self._address._replace(http_port=9) if self.broken else self._address
        finally:
            self.closed += 1


def instances(target: Target, name: str = "weather", task: Endpoint | None = None) -> PassingInstances:
    fake: Any = target
    return PassingInstances(name, fake, task)


@pytest.mark.parametrize(
    ("text", "local", "name"),
    [
        ("", 0, "web"),
        ("80", 0, "web"),
        ("web-metrics", 0, "web-metrics"),
        ("8080:9090", 8080, "web-metrics"),
        ("8080:", 8080, "web"),
        (":9090", 0, "web-metrics"),
    ],
)
def test_port_is_a_container_port_or_a_name(text: str, local: int, name: str) -> None:
    found = parse(TWO, text)
    assert (found.local, found.name) == (local, name)


@pytest.mark.parametrize("text", ["81", "53", "65536:80", "x:80", "-1:80", "1:2:80", "²:80"])
def test_other_ports_are_refused(text: str) -> None:
    with pytest.raises(WrongUsage):
        parse(TWO, text)


def test_unknown_port_lists_those_there_are() -> None:
    with pytest.raises(WrongUsage) as raised:
        parse(TWO, "web-metric")
    assert raised.value.hint == "it has: 80 (web), 9090 (web-metrics); did you mean web-metrics?"


def test_service_without_ports_has_nothing_to_forward_to() -> None:
    with pytest.raises(WrongUsage, match="no TCP port"):
        parse(NONE, "")


def test_only_passing_instances_are_chosen(consul: ConsulServer) -> None:
    with instances(Target(consul)) as passing:
        assert sorted(passing.endpoints()) == [("10.0.0.1", 4001), ("10.0.0.2", 4002)]


def test_order_changes_as_it_does_in_dns(consul: ConsulServer) -> None:
    with instances(Target(consul)) as passing:
        assert len({tuple(passing.endpoints()) for _ in range(60)}) == 2


def test_task_narrows_them_to_its_own(consul: ConsulServer) -> None:
    task = Endpoint("5bb5b94e", "weather", "i-0a1b", frozenset({4002}))
    with instances(Target(consul), task=task) as passing:
        assert passing.endpoints() == [("10.0.0.2", 4002)]
    stopped = Endpoint("5bb5b94e", "weather", "i-0a1b", frozenset({4003}))
    with instances(Target(consul), task=stopped) as passing, pytest.raises(NameNotFound, match="5bb5b94e"):
        passing.endpoints()


def test_name_without_passing_instances_is_an_error(consul: ConsulServer) -> None:
    with instances(Target(consul), "portal") as passing, pytest.raises(NameNotFound) as raised:
        passing.endpoints()
    assert "ecsconsul why portal" in raised.value.hint


def test_access_is_opened_once_and_again_after_it_broke(consul: ConsulServer) -> None:
    target = Target(consul)
    target.broken = True
    with instances(target) as passing:
        with pytest.raises(Unreachable):
            passing.endpoints()
        target.broken = False
        passing.endpoints()
        passing.endpoints()
        assert (target.opened, target.closed) == (2, 1)
    assert target.closed == 2
