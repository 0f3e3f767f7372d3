"""The configuration of a Consul agent in the local region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Since 1.14 every server opens one more port unless told not to; earlier versions reject the key.
GRPC_TLS_SINCE = (1, 14)


@dataclass(frozen=True)
class ConsulPorts:
    """Where a Consul agent listens. https://developer.hashicorp.com/consul/docs/reference/architecture/ports"""

    http: int = 8500
    dns: int = 8600
    server: int = 8300
    serf_lan: int = 8301


@dataclass(frozen=True)
class AgentSpec:
    """One agent: its node name, its address and ports, and where it keeps its data.

    `client_addresses` are where its HTTP API and DNS listen.
    """

    node: str
    address: str
    client_addresses: tuple[str, ...]
    ports: ConsulPorts
    data_dir: str

    @property
    def serf(self) -> str:
        """host:port of its gossip, which others join."""
        return f"{self.address}:{self.ports.serf_lan}"


def client_config(agent: AgentSpec, *, join: Sequence[str], version: str) -> dict[str, Any]:
    """The configuration of an agent in client mode; `join` are the servers' gossip addresses.

    https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file
    """
    return {
        "node_name": agent.node,
        "data_dir": agent.data_dir,
        "bind_addr": agent.address,
        "client_addr": " ".join(agent.client_addresses),
        "ports": _ports(agent.ports, version),
        "retry_join": [address for address in join if address != agent.serf],
        "retry_interval": "200ms",
        # The fastest election that Consul allows: all servers are on this machine.
        "performance": {"raft_multiplier": 1, "leave_drain_time": "0s"},
        # Mark a truncated UDP answer as such, or clients take it for the whole.
        "dns_config": {"enable_truncate": True},
        # Publish a check's output when it changes, not only every five minutes.
        "check_update_interval": "0s",
        "disable_update_check": True,
        # A server that stops must also leave the quorum, or the remaining ones lose it.
        "leave_on_terminate": True,
        "log_level": "info",
    }


def server_config(agent: AgentSpec, *, join: Sequence[str], expect: int, version: str) -> dict[str, Any]:
    """The configuration of a server; the first `expect` servers bootstrap the quorum, later ones join it."""
    config = {**client_config(agent, join=join, version=version), "server": True}
    return {**config, "bootstrap_expect": expect} if len(join) <= expect else config


def _ports(ports: ConsulPorts, version: str) -> dict[str, int]:
    listening = {"http": ports.http, "dns": ports.dns, "server": ports.server, "serf_lan": ports.serf_lan}
    unused = ["serf_wan", "grpc", *(["grpc_tls"] if _numbers(version) >= GRPC_TLS_SINCE else [])]
    return {**listening, **dict.fromkeys(unused, -1)}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
