"""Warnings about a config that has no mistakes: deprecated keys, and an image of another version of Consul."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .yaml_reader import Reader


def warnings(name: str, reader: Reader, deprecated: list[str], values: Mapping[str, Any]) -> Iterator[str]:
    """What is odd about a config without mistakes; `deprecated` lists the keys that stand in an old place."""
    if deprecated:
        yield _deprecation(name, reader, deprecated)
    image, version = values["aws"].consul_image, values["consul"].version
    if image and (tag := another_version(image, version)):
        line = reader.line("aws.consul_image")
        yield (
            f"{name}:{line}: aws.consul_image has the tag {tag}, but consul.version is {version}, which Consul is"
            " configured for; give both the same version"
        )


def another_version(image: str, version: str) -> str:
    """The image's tag, if it names another version of Consul: 1.16 and 1.16.6-ubi name 1.16.6, and latest none."""
    tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
    numbers = re.match(r"v?(\d+(?:\.\d+)*)", tag)
    if numbers is None or f"{version}.".startswith(f"{numbers[1]}."):
        return ""
    return tag


def _deprecation(name: str, reader: Reader, keys: list[str]) -> str:
    moves = ", ".join(f"{key} to aws.{key}" for key in keys)
    return f"{name}:{min(map(reader.line, keys))}: deprecated: move {moves}"
