"""The Consul server at the far end of a tunnel, and the two local ports that lead to it."""

from __future__ import annotations

import contextlib
import http.client
import socket
from dataclasses import dataclass

from ...errors import Unreachable
from ..base import ConsulAddress

LOOPBACK = "127.0.0.1"
# On the server's own loopback.
ON_SERVER = ConsulAddress(LOOPBACK, 8500, LOOPBACK, 8600)
# At its other addresses.
HTTPS_PORT = 8501
PROBE_SECONDS = 10.0


@dataclass(frozen=True)
class ConsulServer:
    """A Consul server of the lab, as EC2 describes it."""

    instance_id: str
    public_name: str
    host_keys: tuple[str, ...]


@dataclass(frozen=True)
class Ports:
    """Two local ports that a tunnel forwards to Consul's HTTP and DNS ports."""

    http: int
    dns: int

    def address(self) -> ConsulAddress:
        """Consul's address at this end of the tunnel. Tunnels carry TCP only."""
        return ConsulAddress(LOOPBACK, self.http, LOOPBACK, self.dns, dns_tcp_only=True)


def require_name(server: ConsulServer, hint: str) -> None:
    """Raises Unreachable if the server has neither a public DNS name nor a public address."""
    if not server.public_name:
        raise Unreachable(
            "The Consul server has no public address",
            where=f"instance {server.instance_id}",
            why="EC2 gave the instance neither a public DNS name nor a public IPv4 address",
            hint=hint,
        )


def free_ports() -> Ports:
    """Two ports that are free right now; another process can still take one before the tunnel does."""
    with socket.socket() as first, socket.socket() as second:
        first.bind((LOOPBACK, 0))
        second.bind((LOOPBACK, 0))
        return Ports(first.getsockname()[1], second.getsockname()[1])


def free_port() -> int:
    """A port that is free right now; another process can still take it before the tunnel does."""
    with socket.socket() as one:
        one.bind((LOOPBACK, 0))
        return int(one.getsockname()[1])


def leads_to_consul(ports: Ports) -> bool:
    """Whether Consul answers through the tunnel. The tunnel itself accepts connections even if Consul is down."""
    connection = http.client.HTTPConnection(LOOPBACK, ports.http, timeout=PROBE_SECONDS)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/v1/status/leader")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
    return True
