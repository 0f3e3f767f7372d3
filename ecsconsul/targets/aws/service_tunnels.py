"""Tunnels to tasks inside the VPC: one for each endpoint, through a Consul server, opened when it is first used."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from ...config.lab import Lab
from ...errors import Unreachable
from .consul_server import LOOPBACK, ConsulServer
from .helper_process import HelperProcess
from .ssh_tunnel import ssh_forward
from .ssm_tunnel import ssm_forward

# a process each; the one that was used longest ago makes room, with the connections it still has
MOST_TUNNELS = 16
# how long the far end of a new tunnel may take to refuse a connection, in seconds: ssh and Session Manager's plugin
# accept it first, and close it when nobody listens
REFUSAL_SECONDS = 1.0

# a tunnel's process and its port on this machine
Tunnel = tuple[HelperProcess, int]
Open = Callable[[str, int], AbstractContextManager[Tunnel]]


@contextlib.contextmanager
def reach_through_server(
    lab: Lab, server: Callable[[], ConsulServer], client: Callable[[str], Any], profile: str
) -> Iterator[Callable[[str, int], tuple[str, int]]]:
    """Yields a function that says where an endpoint of the VPC is reached from here; it raises Unreachable.

    `server` finds a Consul server whenever a tunnel is opened, since it may be replaced meanwhile. With
    `consul_access: direct` this machine's network reaches the VPC, and there is no tunnel.
    """
    if lab.aws.consul_access == "direct":
        yield lambda host, port: (host, port)
        return

    def opened(host: str, port: int) -> AbstractContextManager[Tunnel]:
        if lab.aws.consul_access == "ssh":
            return ssh_forward(lab, server(), host, port)
        return ssm_forward(server(), client("ssm"), profile, host, port)

    with ServiceTunnels(opened) as tunnels:
        yield tunnels.reach


class ServiceTunnels:
    """The open tunnels; they end with the context. Threads may share it, and one tunnel is opened at a time."""

    def __init__(self, opened: Open) -> None:
        self._open = opened
        self._tunnels: dict[tuple[str, int], tuple[Tunnel, contextlib.ExitStack]] = {}
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> ServiceTunnels:
        return self

    def __exit__(self, *_: object) -> None:
        # waits for a thread that is just opening one
        with self._lock:
            self._closed = True
            for endpoint in list(self._tunnels):
                self._close(endpoint)

    def reach(self, host: str, port: int) -> tuple[str, int]:
        """Where the endpoint is reached from here. Raises Unreachable."""
        endpoint = (host, port)
        with self._lock:
            if self._closed:
                raise Unreachable("The command has ended", where=f"{host}:{port}")
            known = self._tunnels.get(endpoint)
            if known and known[0][0].ended():
                self._close(endpoint)
            if endpoint not in self._tunnels:
                self._add(endpoint)
            # the last one is the one that was used last
            self._tunnels[endpoint] = self._tunnels.pop(endpoint)
            return LOOPBACK, self._tunnels[endpoint][0][1]

    def _add(self, endpoint: tuple[str, int]) -> None:
        while len(self._tunnels) >= MOST_TUNNELS:
            self._close(next(iter(self._tunnels)))
        with contextlib.ExitStack() as stack:
            tunnel = stack.enter_context(self._open(*endpoint))
            _require_listener(tunnel[1], endpoint)
            self._tunnels[endpoint] = (tunnel, stack.pop_all())

    def _close(self, endpoint: tuple[str, int]) -> None:
        self._tunnels.pop(endpoint)[1].close()


def _require_listener(port: int, endpoint: tuple[str, int]) -> None:
    """Raises Unreachable if the far end of a new tunnel refuses a connection."""
    where = f"{endpoint[0]}:{endpoint[1]}"
    try:
        with socket.create_connection((LOOPBACK, port), timeout=REFUSAL_SECONDS) as probe:
            is_open = bool(probe.recv(1))
    except TimeoutError:
        # most protocols let the client begin
        is_open = True
    except OSError as error:
        raise Unreachable("The tunnel to the task broke", where=where, why=str(error.strerror or error)) from error
    if not is_open:
        raise Unreachable("Nothing answers behind the tunnel", where=where, why="the connection was closed at once")
