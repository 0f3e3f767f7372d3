"""One container that was started: waited for, asked to end, ended; whatever happens to the engine meanwhile."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docker import APIClient

log = logging.getLogger(__name__)

# one request waits for so long, and is then made again
WAIT_SECONDS = 600.0
# an engine that is away is asked again so often
ENGINE_PAUSE = 0.5
KILLED = 137


class EngineContainer:
    """A container by its id."""

    def __init__(self, docker: APIClient, container_id: str) -> None:
        self.docker = docker
        self.id = container_id

    def wait(self) -> int:
        """Block until it does not run; its exit code. One that is gone was killed.

        A container outlives its engine only where the engine is set up so (live-restore); when it is back it tells.
        """
        from docker.errors import APIError, NotFound
        from requests.exceptions import RequestException

        while True:
            try:
                return int(self.docker.wait(self.id, timeout=WAIT_SECONDS)["StatusCode"])
            except NotFound:
                return KILLED
            except (APIError, RequestException) as error:
                log.debug("waiting for container %s anew: %s", self.id[:12], error)
            # nothing tells when an engine is back; ask again soon
            time.sleep(ENGINE_PAUSE)

    def signal(self, name: str) -> None:
        """Send a signal to its main process; fine when it has ended, or its engine has."""
        with gone_is_fine(), _said_when_away():
            self.docker.kill(self.id, signal=name)

    def stop(self, timeout: float) -> None:
        """Its stop signal, SIGKILL after `timeout` seconds, and then away with it."""
        with gone_is_fine(), _said_when_away():
            self.docker.stop(self.id, timeout=int(timeout))
        self.remove()

    def kill(self) -> None:
        """End it at once, and away with it."""
        self.remove()

    def remove(self) -> bool:
        """End it, if it runs, and take it away with its volumes; False when the engine could not be asked."""
        from requests.exceptions import RequestException

        try:
            with gone_is_fine():
                self.docker.remove_container(self.id, v=True, force=True)
        except RequestException as error:
            log.warning("container %s is still there: %s", self.id[:12], error)
            return False
        return True

    def inspect(self) -> dict[str, Any]:
        found: dict[str, Any] = self.docker.inspect_container(self.id)
        return found


@contextmanager
def gone_is_fine() -> Iterator[None]:
    """A container that is not there, does not run, or is being removed needs no more; other refusals are logged."""
    from docker.errors import APIError

    try:
        yield
    except APIError as error:
        if error.status_code not in (404, 409):
            log.warning("the engine refuses: %s", error.explanation)


@contextmanager
def _said_when_away() -> Iterator[None]:
    from requests.exceptions import RequestException

    try:
        yield
    except RequestException as error:
        log.warning("the engine does not answer: %s", error)
