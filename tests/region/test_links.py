"""The variables of links between a task's containers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ecsconsul.region.links import link_variables
from ecsconsul.registrator.rules import Container, PortBinding
from tests.region.ecs.factories import container, task


def variables(ip: str) -> dict[str, str]:
    ports = (PortBinding(9000, "udp", 40002, "127.0.0.5"), PortBinding(5432, "tcp", 40001, "127.0.0.5"))
    running: Any = {"db": SimpleNamespace(snapshot=Container("1", "n", "i", ports=ports, ip=ip))}
    return link_variables(task(), container("app", links=["db:the-db"]), running)


def test_process_is_reached_at_its_host_port() -> None:
    found = variables(ip="")
    assert found["THE_DB_HOST"] == "127.0.0.5"
    assert found["THE_DB_PORT"] == found["THE_DB_PORT_5432_TCP"] == "tcp://127.0.0.5:40001"
    assert (found["THE_DB_PORT_5432_TCP_ADDR"], found["THE_DB_PORT_5432_TCP_PORT"]) == ("127.0.0.5", "40001")
    assert found["THE_DB_PORT_9000_UDP"] == "udp://127.0.0.5:40002"
    assert found["THE_DB_NAME"] == "/app/the-db"


def test_container_is_reached_at_its_own_port() -> None:
    assert variables(ip="172.20.0.9")["THE_DB_PORT"] == "tcp://172.20.0.9:5432"


def test_no_links_no_variables() -> None:
    assert link_variables(task(), container(), {}) == {}
