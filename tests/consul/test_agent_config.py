"""The configuration of Consul agents in the local region."""

from __future__ import annotations

import pytest

from ecsconsul.consul.agent_config import AgentSpec, ConsulPorts, client_config, server_config


def agent(host: int = 2, *more: str) -> AgentSpec:
    address = f"127.77.0.{host}"
    return AgentSpec(f"i-{host}", address, (address, *more), ConsulPorts(), "/lab/i/data")


def test_server_config() -> None:
    join = ["127.77.0.2:8301", "127.77.0.3:8301"]
    found = server_config(agent(2, "127.0.0.1"), join=join, expect=3, version="1.8.7")
    assert (found["server"], found["bootstrap_expect"]) == (True, 3)
    assert found["retry_join"] == ["127.77.0.3:8301"], "not itself"
    assert found["bind_addr"] == "127.77.0.2"
    assert found["client_addr"] == "127.77.0.2 127.0.0.1"
    assert found["ports"]["serf_wan"] == -1
    assert found["data_dir"] == "/lab/i/data"


def test_server_that_comes_later_joins_the_quorum_and_does_not_bootstrap_one() -> None:
    join = [f"127.77.0.{host}:8301" for host in (2, 3)]
    assert "bootstrap_expect" not in server_config(agent(), join=join, expect=1, version="1.8.7")


def test_client_config() -> None:
    found = client_config(agent(), join=["127.77.0.3:8301"], version="1.8.7")
    assert "server" not in found
    assert "bootstrap_expect" not in found
    assert found["client_addr"] == "127.77.0.2"
    assert found["leave_on_terminate"] is True


@pytest.mark.parametrize(
    ("version", "known"), [("1.8.7", False), ("1.13.9", False), ("1.14.0", True), ("1.22.1", True)]
)
def test_the_grpc_tls_port_is_closed_where_the_version_knows_it(version: str, known: bool) -> None:
    assert ("grpc_tls" in client_config(agent(), join=[], version=version)["ports"]) is known
