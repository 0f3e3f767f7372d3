"""Runs a command in a running container, connected to this process's standard input and output."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from docker import APIClient
from docker.errors import APIError
from docker.utils.socket import frames_iter_no_tty

from ....docker.engine import client

CHUNK = 65536
# The number of this stream in Docker's multiplexed frames.
STDERR = 2


def run_in_container(url: str, container_id: str, argv: Sequence[str]) -> int:
    """Run the command, in a terminal if this process has one; its exit code. Raises LabError."""
    docker = client(url)
    tty = sys.stdin.isatty() and sys.stdout.isatty()
    exec_id = docker.exec_create(container_id, list(argv), stdin=True, tty=tty)["Id"]
    with _raw_terminal(docker, exec_id) if tty else contextlib.nullcontext():
        stream = docker.exec_start(exec_id, tty=tty, socket=True)
        connection: socket.socket = getattr(stream, "_sock", stream)
        connection.settimeout(None)
        if tty:
            _resize(docker, exec_id)
        threading.Thread(target=_send_input, args=(connection,), daemon=True).start()
        _copy_output(stream, connection, tty=tty)
    return int(docker.exec_inspect(exec_id)["ExitCode"])


def _send_input(connection: socket.socket) -> None:
    """Copy until the input ends or the command exits; unbuffered, since a blocked buffered reader hangs at exit."""
    with contextlib.suppress(OSError):
        while chunk := os.read(0, CHUNK):
            connection.sendall(chunk)
        connection.shutdown(socket.SHUT_WR)


def _copy_output(output: Any, connection: socket.socket, *, tty: bool) -> None:
    if tty:
        while chunk := connection.recv(CHUNK):
            _write(1, chunk)
        return
    for stream, chunk in frames_iter_no_tty(output):
        _write(2 if stream == STDERR else 1, chunk)


def _write(descriptor: int, chunk: bytes) -> None:
    while chunk:
        chunk = chunk[os.write(descriptor, chunk) :]


@contextlib.contextmanager
def _raw_terminal(docker: APIClient, exec_id: str) -> Iterator[None]:
    """Send each key as it is pressed, Ctrl-C too, and keep the container's terminal as large as this one."""
    import termios
    import tty

    before = termios.tcgetattr(0)
    # Python runs a handler only once the main thread wakes up; the wakeup descriptor is written as the signal arrives.
    signals, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    previous = signal.signal(signal.SIGWINCH, lambda *_: None)
    previous_wakeup = signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_follow_size, args=(signals, docker, exec_id), daemon=True).start()
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        signal.set_wakeup_fd(previous_wakeup)
        signal.signal(signal.SIGWINCH, previous)
        wakeup.close()


def _follow_size(signals: socket.socket, docker: APIClient, exec_id: str) -> None:
    with signals:
        while arrived := signals.recv(CHUNK):
            if signal.SIGWINCH in arrived:
                _resize(docker, exec_id)


def _resize(docker: APIClient, exec_id: str) -> None:
    size = shutil.get_terminal_size()
    # A command that has just exited no longer has a terminal.
    with contextlib.suppress(APIError):
        docker.exec_resize(exec_id, height=size.lines, width=size.columns)
