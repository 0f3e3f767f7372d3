"""Runs a health check's program in a container."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence

from docker import APIClient
from docker.errors import DockerException
from requests.exceptions import RequestException

# as much of what a failing check says as Docker keeps
OUTPUT = 4096
CHUNK, HEADER, MAX_READ = 65536, 8, 1 << 20


class ContainerProbe:
    """Runs one program at a time: one that hangs counts as failing, and is not started again while it does."""

    def __init__(self, docker: APIClient, container_id: str) -> None:
        self._docker = docker
        self._container = container_id
        self._hanging = ""

    def run(self, words: Sequence[str], timeout: float) -> str:
        """Run the words for `timeout` seconds at most; "" if they exit with 0."""
        try:
            if self._hanging and self._docker.exec_inspect(self._hanging)["Running"]:
                return "the check before still runs"
            self._hanging = ""
            created: str = self._docker.exec_create(self._container, list(words))["Id"]
            output = self._output(created, time.monotonic() + timeout)
            if output is None:
                self._hanging = created
                return f"it took longer than {timeout:g} s"
            code = self._docker.exec_inspect(created)["ExitCode"]
        except (DockerException, RequestException, OSError) as error:
            # The container has just exited, or the engine doesn't answer.
            return str(error)
        text = output[-OUTPUT:].decode(errors="replace").strip()
        return f"exit code {code}" + (f": {text}" if text else "") if code else ""

    def _output(self, created: str, end: float) -> bytes | None:
        """All that the program writes; None if it takes longer than until `end`."""
        stream = self._docker.exec_start(created, socket=True)
        connection: socket.socket = getattr(stream, "_sock", stream)
        try:
            return _demultiplexed(_read(connection, end))
        except TimeoutError:
            return None
        finally:
            connection.close()


def _read(connection: socket.socket, end: float) -> bytes:
    """All that arrives until the connection ends. Raises TimeoutError at the end of the time."""
    found = b""
    while True:
        connection.settimeout(max(end - time.monotonic(), 0.01))
        chunk = connection.recv(CHUNK)
        if not chunk:
            return found
        if time.monotonic() >= end:
            # it would write for ever
            raise TimeoutError
        if len(found) < MAX_READ:
            found += chunk


def _demultiplexed(frames: bytes) -> bytes:
    """What is in Docker's frames, each of which has a header of 8 bytes that ends with its length.

    https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach
    """
    found, at = b"", 0
    while at + HEADER <= len(frames):
        length = int.from_bytes(frames[at + 4 : at + HEADER], "big")
        found += frames[at + HEADER : at + HEADER + length]
        at += HEADER + length
    return found
