"""The way to Consul inside the VPC: through SSH, through Session Manager, or directly where the user opened it.

Of a tunnel nothing is left when its context ends, nor when this process is killed.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from ...config.lab import Lab
from ...errors import Unreachable
from ..base import ConsulAddress, Say

LOOPBACK = "127.0.0.1"
# on a server's own loopback; the same ports are on its address, for whom its security group lets in
ON_SERVER = ConsulAddress(LOOPBACK, 8500, LOOPBACK, 8600)
PROBE_SECONDS = 10.0


@dataclass(frozen=True)
class ConsulServer:
    """A Consul server of the lab, as EC2 tells of it."""

    instance_id: str
    public_name: str
    host_keys: tuple[str, ...]


@dataclass(frozen=True)
class Ports:
    """Two free ports of this machine, which lead to Consul's."""

    http: int
    dns: int

    def address(self) -> ConsulAddress:
        """Where Consul is then; a tunnel carries TCP only."""
        return ConsulAddress(LOOPBACK, self.http, LOOPBACK, self.dns, dns_tcp_only=True)


def open_access(
    lab: Lab,
    facts: ConsulServer,
    client: Callable[[str], Any],
    *,
    profile: str = "",
    say: Say | None = None,
    inside: ConsulAddress = ON_SERVER,
) -> AbstractContextManager[ConsulAddress]:
    """A way to Consul, for as long as the context lasts. Raises Unreachable.

    `client` makes boto3 clients, for Session Manager; `say` is told, on stderr by default, what the user should know;
    `inside` is where Consul listens, as seen from the server.
    """
    if lab.aws.consul_access == "ssh":
        from .ssh_tunnel import through_ssh

        return through_ssh(lab, facts, say or _to_stderr, inside)
    if lab.aws.consul_access == "ssm":
        from .ssm_tunnel import through_ssm

        return through_ssm(facts, client("ssm"), profile, inside)
    return _directly(facts, inside)


@contextlib.contextmanager
def _directly(facts: ConsulServer, inside: ConsulAddress) -> Iterator[ConsulAddress]:
    require_name(facts, "give its subnet public addresses, or take `consul_access: ssm`")
    yield ConsulAddress(facts.public_name, inside.http_port, facts.public_name, inside.dns_port)


def require_name(facts: ConsulServer, hint: str) -> None:
    """Raises Unreachable where the server has no name that leads to it from here."""
    if not facts.public_name:
        raise Unreachable("The Consul server has no public address", where=f"instance {facts.instance_id}", hint=hint)


def free_ports() -> Ports:
    """Ports that are free now; who takes one before it is used makes the tunnel fail."""
    with socket.socket() as first, socket.socket() as second:
        first.bind((LOOPBACK, 0))
        second.bind((LOOPBACK, 0))
        return Ports(first.getsockname()[1], second.getsockname()[1])


def leads_to_consul(ports: Ports) -> bool:
    """Whether somebody answers at the other end: a tunnel itself takes every connection."""
    connection = http.client.HTTPConnection(LOOPBACK, ports.http, timeout=PROBE_SECONDS)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/v1/status/leader")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
    return True


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - a line for the user, wherever Consul is asked from
