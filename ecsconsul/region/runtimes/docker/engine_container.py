"""Waits for, stops and removes one container, even when the engine restarts meanwhile."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from docker import APIClient
from docker.errors import APIError, NotFound
from requests.exceptions import RequestException

log = logging.getLogger(__name__)

# A request to wait is repeated after this long.
WAIT_TIMEOUT = 600.0
RETRY_DELAY = 0.5
KILLED = 137


class EngineContainer:
    """A container by its id."""

    def __init__(self, docker: APIClient, container_id: str) -> None:
        self.docker = docker
        self.id = container_id

    def wait(self) -> int:
        """Block until it exits; its exit code. A container that no longer exists counts as killed.

        While the engine is down, keep asking: with live-restore, containers outlive their engine.
        """
        while True:
            try:
                return int(self.docker.wait(self.id, timeout=WAIT_TIMEOUT)["StatusCode"])
            except NotFound:
                return KILLED
            except (APIError, RequestException) as error:
                log.debug("waiting for container %s again: %s", self.id[:12], error)
            # There is no event for an engine that is back.
            time.sleep(RETRY_DELAY)

    def signal(self, name: str) -> None:
        """Send a signal to its main process; does nothing when it has exited, or the engine is down."""
        with ignore_gone(), _log_unreachable():
            self.docker.kill(self.id, signal=name)

    def stop(self, timeout: float) -> None:
        """Send its stop signal, and SIGKILL after `timeout` seconds; then remove it."""
        with ignore_gone(), _log_unreachable():
            self.docker.stop(self.id, timeout=int(timeout))
        self.remove()

    def kill(self) -> None:
        """Kill and remove it."""
        self.remove()

    def kill_process(self) -> None:
        """Kill it, and keep it and its files; the engine doesn't restart what was killed on request."""
        self.signal("SIGKILL")

    def remove(self) -> bool:
        """Kill it, and remove it with its volumes; False when the engine does not answer."""
        try:
            with ignore_gone():
                self.docker.remove_container(self.id, v=True, force=True)
        except RequestException as error:
            log.warning("container %s was not removed: %s", self.id[:12], error)
            return False
        return True

    def inspect(self) -> dict[str, Any]:
        found: dict[str, Any] = self.docker.inspect_container(self.id)
        return found


@contextmanager
def ignore_gone() -> Iterator[None]:
    """Ignore that a container doesn't exist, doesn't run, or is being removed; log any other error."""
    try:
        yield
    except APIError as error:
        if error.status_code not in (404, 409):
            log.warning("the engine refused a request: %s", error.explanation)


@contextmanager
def _log_unreachable() -> Iterator[None]:
    try:
        yield
    except RequestException as error:
        log.warning("the engine does not answer: %s", error)
