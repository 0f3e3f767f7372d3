"""Finds and hands out free addresses and ports on loopback."""

from __future__ import annotations

import os
import socket
import sys
import threading
import weakref
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

LOOPBACK = "127.0.0.1"
# The kernel's ephemeral range, from which Docker takes dynamic host ports too.
FIRST_DYNAMIC_PORT, LAST_DYNAMIC_PORT = 32768, 60999
# Docker publishes its containers' ports at every address of the machine, beginning with the range's first: a port that
# was free could be taken before the task that got it listens.
LEFT_TO_DOCKER = 8000
CONSUL_SERF_PORT, CONSUL_HTTP_PORT, CONSUL_DNS_PORT = 8301, 8500, 8600
SHARED_ADDRESS_VARIABLE = "ECSCONSUL_SHARED_ADDRESS"


def must_share_address() -> bool:
    """Whether all instances share 127.0.0.1: where the rest of 127/8 isn't up (macOS), or when requested."""
    return bool(os.environ.get(SHARED_ADDRESS_VARIABLE)) or not sys.platform.startswith("linux")


def is_free(address: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> bool:
    """Whether a server can listen on address:port now."""
    with closing(socket.socket(socket.AF_INET, kind)) as probe:
        if kind == socket.SOCK_STREAM:
            # Servers set this option too, so a port in TIME_WAIT is free for them.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True


def is_free_for_both(address: str, port: int) -> bool:
    """Whether address:port is free for TCP and UDP."""
    return is_free(address, port) and is_free(address, port, socket.SOCK_DGRAM)


_claims: weakref.WeakKeyDictionary[object, set[str]] = weakref.WeakKeyDictionary()


def claim_consul_ports(owner: object, address: str = LOOPBACK) -> bool:
    """Claim Consul's default ports at `address`; False when they are taken, or claimed by another lab that is starting.

    The claim lasts as long as `owner` lives. Without abstract sockets (macOS), two labs that start at the same moment
    may both get it.
    """
    if not all(is_free_for_both(address, port) for port in (CONSUL_HTTP_PORT, CONSUL_DNS_PORT)):
        return False
    return _claim(owner, f"ecsconsul {address}:{CONSUL_HTTP_PORT}")


def _claim(owner: object, name: str) -> bool:
    """Bind an abstract socket: the kernel gives its name to one process, and frees it however that process ends."""
    claimed = _claims.setdefault(owner, set())
    if name in claimed or not sys.platform.startswith("linux"):
        return True
    with closing(socket.socket(socket.AF_UNIX)) as sock:
        try:
            sock.bind(f"\0{name}")
        except OSError:
            return False
        weakref.finalize(owner, os.close, sock.detach())
    claimed.add(name)
    return True


def who_listens(port: int) -> str:
    """Which program listens on a port, as far as this user may see."""
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
    """Hands out free odd ports of one address, cycling through the range before it reuses one.

    On Linux connect() takes even ports first. A connection that got a port after it was handed out, but before its
    server starts, would keep the server from it, even for a minute after it has closed.
    """

    address: str
    _next: int = FIRST_DYNAMIC_PORT + LEFT_TO_DOCKER
    _taken: set[int] = field(default_factory=set)
    _is_free: Callable[[str, int], bool] = is_free_for_both
    # Tasks take ports from threads of their own.
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> int:
        """A port that is free for TCP and UDP. Raises OSError when no odd port of the range is left."""
        with self._lock:
            for _ in range(FIRST_DYNAMIC_PORT, LAST_DYNAMIC_PORT + 1, 2):
                port = self._next | 1
                self._next = port + 2 if port + 2 <= LAST_DYNAMIC_PORT else FIRST_DYNAMIC_PORT
                if port not in self._taken and self._is_free(self.address, port):
                    self._taken.add(port)
                    return port
        raise OSError(f"no free port left on {self.address}")

    def give_back(self, port: int) -> None:
        """Return a port, to be handed out again after the rest of the range."""
        self._taken.discard(port)


class Addresses:
    """Hands out addresses from one lab's /24 of 127/8, or 127.0.0.1 to everyone with `shared`."""

    def __init__(self, lab: str, shared: bool) -> None:
        self.shared = shared
        self._block = LOOPBACK if shared else _free_block(self, lab)
        self._taken: set[str] = set()
        # Labs that start at the same moment begin at different ports.
        self._first_port = FIRST_DYNAMIC_PORT + LEFT_TO_DOCKER + zlib.crc32(lab.encode()) % 20000
        self._shared_ports = Ports(LOOPBACK, self._first_port)

    def take(self) -> str:
        """An address that no other instance of the lab has, unless all share one."""
        if self.shared:
            return LOOPBACK
        block = (f"{self._block}.{host}" for host in range(1, 255))
        address = next(one for one in block if one not in self._taken)
        self._taken.add(address)
        return address

    def give_back(self, address: str) -> None:
        """Return the address of a terminated instance."""
        self._taken.discard(address)

    def ports(self, address: str) -> Ports:
        """The ports of an instance's address; instances that share an address share its ports."""
        return self._shared_ports if self.shared else Ports(address, self._first_port)


def _free_block(owner: object, lab: str) -> str:
    """The first three bytes of a /24 where no lab's Consul listens, nor will; claimed as long as `owner` lives.

    The search starts at a hash of the lab's name, which labs of several users may share.
    """
    start = zlib.crc32(lab.encode())
    for attempt in range(4096):
        # Skip 127.0.0, which everyone uses, and 127.255.255, which holds the broadcast address.
        number = (start + attempt) % (254 * 254)
        block = f"127.{number // 254 + 1}.{number % 254 + 1}"
        if is_free(f"{block}.1", CONSUL_SERF_PORT) and _claim(owner, f"ecsconsul {block}"):
            return block
    raise OSError("no free block of loopback addresses for this lab")
