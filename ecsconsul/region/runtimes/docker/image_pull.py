"""Pulls an image that exists, so that a task can run it; images that the lab built are never asked of a registry."""

from __future__ import annotations

import queue
import threading
from collections import defaultdict
from collections.abc import Callable

from docker import APIClient
from docker.errors import DockerException, ImageNotFound

from ..interface import CannotStart

# the default of ECS_IMAGE_PULL_INACTIVITY_TIMEOUT
INACTIVITY_SECONDS = 60.0


class ImagePull:
    """The images of one lab's tasks; several tasks that need one image wait for the same pull."""

    def __init__(self, docker: APIClient, lab: str) -> None:
        self._docker = docker
        self._own = f"{lab}/"
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    def pull(self, reference: str) -> bool:
        """Pull the image, unless another task has just done so; False for the lab's own. Raises CannotStart."""
        if reference.startswith(self._own):
            return False
        with self._locks[reference]:
            try:
                self._docker.inspect_image(reference)
            except ImageNotFound:
                self._pull(reference)
        return True

    def _pull(self, reference: str) -> None:
        # Without a tag the SDK pulls all tags.
        tagged = reference if ":" in reference.rpartition("/")[2] or "@" in reference else f"{reference}:latest"
        told: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._follow, args=(tagged, told.put), name="pull", daemon=True).start()
        try:
            while (failure := told.get(timeout=INACTIVITY_SECONDS)) == "":
                pass
        except queue.Empty:
            failure = f"the registry has been silent for {INACTIVITY_SECONDS:.0f} s"
        if failure:
            raise CannotStart(f"CannotPullContainerError: {failure}")

    def _follow(self, reference: str, tell: Callable[[str | None], None]) -> None:
        """Tell "" for each step of a pull, then why it failed, or None. The SDK waits for a registry without an end."""
        try:
            for message in self._docker.pull(reference, stream=True, decode=True):
                tell(str(message.get("error", "")))
        except (DockerException, OSError) as error:
            tell(str(getattr(error, "explanation", None) or error) or type(error).__name__)
        else:
            tell(None)
