"""For servers that the tests start as processes: a port that is free, and waiting until somebody listens there."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

START_SECONDS = 20.0


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


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
