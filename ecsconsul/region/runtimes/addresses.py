"""Addresses and ports on loopback: which are free, and who gets which. Nothing here listens for long."""

from __future__ import annotations

import os
import socket
import sys
import threading
import weakref
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

LOOPBACK = "127.0.0.1"
# Docker hands out dynamic host ports from the kernel's ephemeral range; so do we.
FIRST_DYNAMIC_PORT, LAST_DYNAMIC_PORT = 32768, 60999
CONSUL_SERF_PORT, CONSUL_HTTP_PORT, CONSUL_DNS_PORT = 8301, 8500, 8600
SHARED_ADDRESS_VARIABLE = "ECSCONSUL_SHARED_ADDRESS"


def one_address_only() -> bool:
    """Whether all machines must share 127.0.0.1: where the rest of 127/8 is not up (macOS), or when told to."""
    return bool(os.environ.get(SHARED_ADDRESS_VARIABLE)) or not sys.platform.startswith("linux")


def is_free(address: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> bool:
    """Whether a server could listen at address:port now."""
    with closing(socket.socket(socket.AF_INET, kind)) as probe:
        if kind == socket.SOCK_STREAM:
            # a port in TIME_WAIT is free for a server, which sets the same option
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True


def is_free_for_both(address: str, port: int) -> bool:
    """Whether address:port is free for TCP and UDP."""
    return is_free(address, port) and is_free(address, port, socket.SOCK_DGRAM)


_claimants: weakref.WeakSet[object] = weakref.WeakSet()


def claim_consul_ports(owner: object) -> bool:
    """Whether the `owner` may have Consul's own ports at 127.0.0.1: they are free, and no other lab is about to listen.

    It has them as long as it lives. Where there are no abstract sockets (macOS) two labs that start in the same moment
    may both believe so.
    """
    if not all(is_free_for_both(LOOPBACK, port) for port in (CONSUL_HTTP_PORT, CONSUL_DNS_PORT)):
        return False
    if owner in _claimants or not sys.platform.startswith("linux"):
        return True
    return _claimed_by(owner, f"ecsconsul {LOOPBACK}:{CONSUL_HTTP_PORT}")


def _claimed_by(owner: object, name: str) -> bool:
    """The kernel gives an abstract name to one socket, and takes it back however its process ends."""
    with closing(socket.socket(socket.AF_UNIX)) as claim:
        try:
            claim.bind(f"\0{name}")
        except OSError:
            return False
        weakref.finalize(owner, os.close, claim.detach())
    _claimants.add(owner)
    return True


def holder(port: int) -> str:
    """Who listens on a port, as far as this user may know."""
    import psutil

    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.pid
            if listens and getattr(connection.laddr, "port", None) == port:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid}) listens there"
    except psutil.Error:
        pass
    return "another program listens there"


@dataclass
class Ports:
    """Hands out free ports of one address, each once until the range is used up."""

    address: str
    _next: int = FIRST_DYNAMIC_PORT
    _given: set[int] = field(default_factory=set)
    # tasks that start at once ask for ports at once
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> int:
        """A port that is free for TCP and UDP. Raises OSError when the whole range is taken."""
        with self._lock:
            for _ in range(LAST_DYNAMIC_PORT - FIRST_DYNAMIC_PORT + 1):
                port, self._next = self._next, self._next + 1
                if self._next > LAST_DYNAMIC_PORT:
                    self._next = FIRST_DYNAMIC_PORT
                if port not in self._given and is_free_for_both(self.address, port):
                    self._given.add(port)
                    return port
        raise OSError(f"no free port left on {self.address}")

    def give_back(self, port: int) -> None:
        """The port may be handed out again, once the others had their turn."""
        self._given.discard(port)


class Addresses:
    """Hands out addresses of a /24 of 127/8 that belongs to one lab, or 127.0.0.1 alone where there is no other."""

    def __init__(self, lab: str, shared: bool) -> None:
        self.shared = shared
        self._block = LOOPBACK if shared else _free_block(lab)
        self._given: set[str] = set()
        # labs that start in the same moment look in different places
        self._shared_ports = Ports(LOOPBACK, FIRST_DYNAMIC_PORT + zlib.crc32(lab.encode()) % 20000)

    def take(self) -> str:
        """An address that no other machine of the lab has."""
        if self.shared:
            return LOOPBACK
        address = next(a for a in self._all() if a not in self._given)
        self._given.add(address)
        return address

    def give_back(self, address: str) -> None:
        """The machine is gone; its address may serve another."""
        self._given.discard(address)

    def ports(self, address: str) -> Ports:
        """The ports of a machine's address; machines that share an address share its ports."""
        return self._shared_ports if self.shared else Ports(address)

    def _all(self) -> Iterator[str]:
        return (f"{self._block}.{host}" for host in range(1, 255))


def _free_block(lab: str) -> str:
    """The first three bytes of a /24 where no other lab's Consul listens; the lab's name says where to look first."""
    start = zlib.crc32(lab.encode())
    for attempt in range(4096):
        # 127.0.0 is everybody's, and 127.255.255 holds the broadcast address
        number = (start + attempt) % (254 * 254)
        block = f"127.{number // 254 + 1}.{number % 254 + 1}"
        if is_free(f"{block}.1", CONSUL_SERF_PORT):
            return block
    raise OSError("no free block of loopback addresses for this lab")
