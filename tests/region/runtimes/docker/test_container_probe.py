"""What a check in a container writes is read for so long, however much it is."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest

from ecsconsul.region.runtimes.docker.container_probe import _read


def test_endless_output_ends_with_the_time() -> None:
    ours, theirs = socket.socketpair()

    def write() -> None:
        with contextlib.suppress(OSError):
            while True:
                theirs.sendall(b"y" * 65536)

    with ours, theirs:
        threading.Thread(target=write, daemon=True).start()
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            _read(ours, started + 0.2)
        assert time.monotonic() - started < 20


def test_output_that_ends_is_read_whole() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.sendall(b"done")
        assert _read(ours, time.monotonic() + 60) == b"done"
