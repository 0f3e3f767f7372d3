"""Free and reserved ports for the tests' servers, and waiting until a server listens."""

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
    """A free TCP port of 127.0.0.1."""
    with reserved_port() as port:
        return port


@contextmanager
def reserved_port() -> Iterator[int]:
    """A TCP port of 127.0.0.1 for a server that restarts; on Linux no other process gets it meanwhile."""
    with socket.socket() as sock:
        # On Linux, servers can still bind the port, since they set this option too.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        if sys.platform != "linux":
            sock.close()
        yield port


def tcp_and_udp(address: str) -> tuple[socket.socket, socket.socket]:
    """A TCP listener and a UDP socket on the same free port."""
    for _ in range(100):
        tcp, udp = socket.create_server((address, 0)), socket.socket(type=socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname())
        except OSError:
            tcp.close()
            udp.close()
        else:
            return tcp, udp
    raise AssertionError("no port is free for TCP and UDP")


def await_listening(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the process accepts connections; fails with its log when it exits or a timeout passes."""
    end = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None and time.monotonic() < end, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            # There is no event for a process that begins to listen.
            time.sleep(0.05)
