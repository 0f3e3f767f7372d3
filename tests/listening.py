"""For servers of the tests: ports that are free, or stay so, and waiting until somebody listens there."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 60.0


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free now."""
    with reserved_port() as port:
        return port


@contextmanager
def reserved_port() -> Iterator[int]:
    """A TCP port of 127.0.0.1 for a server that comes and goes; on Linux nobody else is given it meanwhile."""
    with socket.socket() as sock:
        # who sets the same option, as servers do, may bind it all the same; not so on other systems
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        if sys.platform != "linux":
            sock.close()
        yield port


def tcp_and_udp(address: str) -> tuple[socket.socket, socket.socket]:
    """A socket that listens and one for datagrams, at the same number: one that is free for both."""
    for _ in range(100):
        tcp, udp = socket.create_server((address, 0)), socket.socket(type=socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname())
        except OSError:
            tcp.close()
            udp.close()
        else:
            return tcp, udp
    raise AssertionError("no port is free for both")


def await_listening(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the process takes connections; fails with its log when it ends, or does not in time."""
    end = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None and time.monotonic() < end, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            # nothing tells when it begins to listen
            time.sleep(0.05)
