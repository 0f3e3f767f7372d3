"""Reads the SERVICE_ metadata of one port of a container; what a key asks for is left to rules and checks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

PREFIX = "SERVICE_"

# Consul's own limits (ValidateMetadata in its agent/structs): lengths are of the UTF-8 bytes.
META_PAIRS = 64
META_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")
META_VALUE_BYTES = 512
META_RESERVED_PREFIX = "consul-"

_PORT_KEY = re.compile(r"(?P<port>[+-]?[0-9]+)_(?P<key>.*)", re.DOTALL)
_UNESCAPED_COMMA = re.compile(r"(?<!\\),")


@dataclass(frozen=True)
class Note:
    """Something that was left out or replaced, and why.

    `mistake` tells what somebody should mend (a bad value) from what was asked for (an ignored port).
    """

    port: str  # "80/tcp"
    what: str
    why: str
    mistake: bool = True

    def __str__(self) -> str:
        return f"port {self.port}: {self.what}: {self.why}"


@dataclass(frozen=True)
class Metadata:
    """What a container says about the service on one of its ports; keys are lower-case, without SERVICE_."""

    values: Mapping[str, str]
    port_specific: frozenset[str]

    def get(self, key: str) -> str:
        """The value of a key; "" when it is unset, which an empty value is too."""
        return self.values.get(key, "")


def read_metadata(environment: Sequence[str], labels: Mapping[str, str], port: int) -> Metadata:
    """The metadata that holds for container port `port`.

    SERVICE_<port>_<key> beats SERVICE_<key>; among equals a label beats the environment. A more specific
    value wins even when it is empty, so that a port can take back what the container says for all.
    """
    generic: dict[str, str] = {}
    specific: dict[str, str] = {}
    for name, value in _pairs(environment, labels):
        owner, key = _split_name(name)
        if owner == "":
            generic[key] = value
        elif owner == str(port):
            specific[key] = value
    return Metadata(generic | specific, frozenset(specific))


def _pairs(environment: Sequence[str], labels: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """SERVICE_ names and values, the later the stronger; labels are sorted, as their order means nothing."""
    for item in environment:
        name, separator, value = item.partition("=")
        if separator and name.startswith(PREFIX):
            yield name, value
    for name in sorted(labels):
        if name.startswith(PREFIX):
            yield name, labels[name]


def _split_name(name: str) -> tuple[str, str]:
    """SERVICE_80_NAME as ("80", "name"), SERVICE_NAME as ("", "name")."""
    key = name.removeprefix(PREFIX).lower()
    match = _PORT_KEY.fullmatch(key)
    return (match["port"], match["key"]) if match else ("", key)


def split_tags(text: str) -> tuple[str, ...]:
    r"""The tags of a comma-separated list in the order given; `\,` is a comma, empty ones are dropped."""
    return tuple(part.replace("\\,", ",") for part in _UNESCAPED_COMMA.split(text) if part)


def valid_meta(metadata: Metadata, consumed: Iterable[str], port: str) -> tuple[dict[str, str], list[Note]]:
    """Every key, sorted, that is not `consumed` and that Consul takes as meta; a note for each other."""
    spoken_for = frozenset(consumed)
    meta: dict[str, str] = {}
    notes = []
    for key, value in sorted(metadata.values.items()):
        if not value or key in spoken_for:
            continue
        why = _meta_fault(key, value)
        if not why and len(meta) == META_PAIRS:
            why = f"Consul takes at most {META_PAIRS} pairs"
        if why:
            notes.append(Note(port, f"meta {key!r} left out", why))
        else:
            meta[key] = value
    return meta, notes


def _meta_fault(key: str, value: str) -> str:
    """Why Consul would refuse the pair; "" when it would not."""
    if not META_KEY.fullmatch(key):
        return "Consul wants 1 to 128 letters, digits, '_' or '-' as the key"
    if key.startswith(META_RESERVED_PREFIX):
        return f"Consul keeps the prefix {META_RESERVED_PREFIX!r} for itself"
    # A lone surrogate reaches Consul as U+FFFD, three bytes as well.
    if len(value.encode("utf-8", "surrogatepass")) > META_VALUE_BYTES:
        return f"Consul takes values of at most {META_VALUE_BYTES} bytes"
    return ""
