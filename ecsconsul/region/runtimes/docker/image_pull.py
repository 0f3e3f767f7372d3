"""Pulls an image that exists, so that a task can run it; images that the lab built are never asked of a registry."""

from __future__ import annotations

import threading
from collections import defaultdict

from docker import APIClient
from docker.errors import DockerException, ImageNotFound

from ..interface import CannotStart


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
        try:
            for message in self._docker.pull(tagged, stream=True, decode=True):
                if "error" in message:
                    raise CannotStart(f"CannotPullContainerError: {message['error']}")
        except DockerException as error:
            raise CannotStart(f"CannotPullContainerError: {getattr(error, 'explanation', None) or error}") from error
