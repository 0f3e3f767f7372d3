"""A command in a running container, joined to this process's own input and output; the exit code is passed on."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ....docker.engine import client

if TYPE_CHECKING:
    from docker import APIClient

CHUNK = 65536
# Docker's streams, as its multiplexed frames number them
STDERR = 2


def run_in_container(url: str, container_id: str, argv: Sequence[str]) -> int:
    """Run it, with a terminal where this process's input and output are one. Raises LabError."""
    docker = client(url)
    tty = sys.stdin.isatty() and sys.stdout.isatty()
    made = docker.exec_create(container_id, list(argv), stdin=True, tty=tty)["Id"]
    with _raw_terminal(docker, made) if tty else contextlib.nullcontext():
        answer = docker.exec_start(made, tty=tty, socket=True)
        connection: socket.socket = getattr(answer, "_sock", answer)
        connection.settimeout(None)
        if tty:
            _resize(docker, made)
        threading.Thread(target=_send_input, args=(connection,), daemon=True).start()
        _copy_output(answer, connection, tty=tty)
    return int(docker.exec_inspect(made)["ExitCode"])


def _send_input(connection: socket.socket) -> None:
    """Until the input ends, or nobody reads it any more. os.read: a buffered reader could not be left at exit."""
    with contextlib.suppress(OSError):
        while chunk := os.read(0, CHUNK):
            connection.sendall(chunk)
        connection.shutdown(socket.SHUT_WR)


def _copy_output(answer: Any, connection: socket.socket, *, tty: bool) -> None:
    if tty:
        while chunk := connection.recv(CHUNK):
            _write(1, chunk)
        return
    from docker.utils.socket import frames_iter_no_tty

    for stream, chunk in frames_iter_no_tty(answer):
        _write(2 if stream == STDERR else 1, chunk)


def _write(descriptor: int, chunk: bytes) -> None:
    while chunk:
        chunk = chunk[os.write(descriptor, chunk) :]


@contextlib.contextmanager
def _raw_terminal(docker: APIClient, exec_id: str) -> Iterator[None]:
    """Keys go as they are pressed (Ctrl-C too), and the container's terminal is as large as this one."""
    import termios
    import tty

    before = termios.tcgetattr(0)
    # the handler only says so: a request of its own would wait for locks that the interrupted thread may hold
    sizes: queue.SimpleQueue[bool] = queue.SimpleQueue()
    resized = signal.signal(signal.SIGWINCH, lambda *_: sizes.put(True))
    threading.Thread(target=_follow_size, args=(sizes, docker, exec_id), daemon=True).start()
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, resized)
        sizes.put(False)


def _follow_size(sizes: queue.SimpleQueue[bool], docker: APIClient, exec_id: str) -> None:
    while sizes.get():
        _resize(docker, exec_id)


def _resize(docker: APIClient, exec_id: str) -> None:
    from docker.errors import APIError

    size = shutil.get_terminal_size()
    # a command that has just ended has no terminal any more
    with contextlib.suppress(APIError):
        docker.exec_resize(exec_id, height=size.lines, width=size.columns)
