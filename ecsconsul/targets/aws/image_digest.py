"""Pins Consul's image by its digest, so that instances that boot later run the very image of the first ones."""

from __future__ import annotations

from collections.abc import Callable

from ...errors import LabError
from ..base import Say
from .registry_api import DOCKER_HUB, RegistryApi, split

Digest = Callable[[str], str]


def pinned(image: str, current: str, say: Say, digest_of: Digest | None = None) -> str:
    """The image as NAME:TAG@DIGEST, or without the digest if the registry can't be asked, which is said.

    `current` is the image that the stack has, or empty. If that's the same name and tag, it stays as it is, with or
    without a digest, because a change would replace all instances.
    """
    if current.partition("@")[0] == image:
        return current
    if "@" in image:
        return image
    try:
        return f"{image}@{(digest_of or registry_digest)(image)}"
    except LabError as error:
        say(f"{image} isn't pinned by its digest, so instances pull what has its tag when they boot: {error}")
        return image


def registry_digest(image: str) -> str:
    """The digest of an image's tag, from its registry. Raises LabError.

    Asks without a login, as the instances pull.
    """
    host, rest = split(image)
    repository, _, tag = rest.partition(":")
    if host == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    return RegistryApi(host, lambda: None, lambda _: False).digest(repository, tag or "latest")
