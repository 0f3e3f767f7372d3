"""Copies a container's output into a log file while it runs."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from docker import APIClient
from docker.errors import DockerException
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

log = logging.getLogger(__name__)

# A driver whose logs can be read back, whatever the engine's default is.
LOG_CONFIG = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}}


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
                for chunk in self._docker.logs(self._container_id, stream=True, follow=True, tail=self._tail):
                    file.write(chunk)
        except (DockerException, RequestException, HTTPError, OSError) as error:
            log.warning("the log of container %s is incomplete: %s", self._container_id[:12], error)
