"""Copies a container's output into a log file while it runs."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

from docker import APIClient
from docker.errors import DockerException, NotFound
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

log = logging.getLogger(__name__)

# A driver whose logs can be read back, whatever the engine's default is.
LOG_CONFIG = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}}
# The records that are read again at the end; Docker makes several of a line of more than 16 KiB.
LAST_RECORDS = 10
LAST_BYTES = LAST_RECORDS * 16_384


class LogCopy:
    """Appends one container's output to `path`: from its start, or only new output with `tail` 0."""

    def __init__(self, docker: APIClient, container_id: str, path: Path, *, tail: int | str = "all") -> None:
        self._docker = docker
        self._container_id = container_id
        self._path = path
        self._tail = tail
        self._thread = threading.Thread(target=self._copy, name=f"log-{container_id[:8]}", daemon=True)
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Wait until the whole output is in the file."""
        self._thread.join(seconds)

    def _copy(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._path.open("ab", buffering=0) as file:
                line = b""
                for chunk in self._logs(self._tail, follow=True):
                    file.write(chunk)
                    line = (line + chunk).rpartition(b"\n")[2][-LAST_BYTES:]
                if self._tail == "all":
                    file.write(unwritten(line, self._last_records()))
        except (DockerException, RequestException, HTTPError, OSError) as error:
            log.warning("the log of container %s is incomplete: %s", self._container_id[:12], error)

    def _last_records(self) -> bytes:
        # one that has been removed has no more logs
        with contextlib.suppress(NotFound):
            return b"".join(self._logs(LAST_RECORDS, follow=False))
        return b""

    def _logs(self, tail: int | str, *, follow: bool) -> Iterator[bytes]:
        found: Iterator[bytes] = self._docker.logs(self._container_id, stream=True, follow=follow, tail=tail)
        return found


def unwritten(line: bytes, logged: bytes) -> bytes:
    """What Docker has logged of the last line beyond what was copied of it.

    Who follows the logs sometimes doesn't get a last line without a line break: Docker logs it when the container has
    exited, which ends the following as well.

    >>> unwritten(b"", b"first\\nlast")
    b'last'
    """
    whole = logged.rpartition(b"\n")[2]
    return whole[len(line) :] if whole.startswith(line) else b""
