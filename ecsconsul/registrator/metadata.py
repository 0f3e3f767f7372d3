"""Reads the SERVICE_ metadata of one port of a container."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

PREFIX = "SERVICE_"

# Consul's own limits (ValidateMetadata in its agent/structs); lengths are in UTF-8 bytes.
META_PAIRS = 64
META_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")
META_VALUE_BYTES = 512
META_RESERVED_PREFIX = "consul-"

_PORT_KEY = re.compile(r"(?P<port>[+-]?[0-9]+)_(?P<key>.*)", re.DOTALL)
_UNESCAPED_COMMA = re.compile(r"(?<!\\),")


@dataclass(frozen=True)
class Note:
    """Something that was left out or replaced, and why.

    `mistake` distinguishes a bad value, which someone should fix, from a choice such as an ignored port.
    """

    port: str  # "80/tcp"
    what: str
    why: str
    mistake: bool = True

    def __str__(self) -> str:
        return f"port {self.port}: {self.what}: {self.why}"


@dataclass(frozen=True)
class Metadata:
    """The metadata for the service on one port; keys are lower case, without SERVICE_."""

    values: Mapping[str, str]
    port_specific: frozenset[str]

    def get(self, key: str) -> str:
        """The value of a key; "" if it is unset or empty."""
        return self.values.get(key, "")


def read_metadata(environment: Sequence[str], labels: Mapping[str, str], port: int) -> Metadata:
    """The metadata that applies to container port `port`.

    SERVICE_<port>_<key> beats SERVICE_<key>; otherwise a label beats the environment. A port-specific value wins
    even when it is empty, so that one port can unset what the container sets for all.
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
    """SERVICE_ names and values; later ones win. Labels are sorted, because their order carries no meaning."""
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
    r"""The tags of a comma-separated list, in order; `\,` is a literal comma, empty tags are dropped."""
    return tuple(part.replace("\\,", ",") for part in _UNESCAPED_COMMA.split(text) if part)


def valid_meta(metadata: Metadata, consumed: Iterable[str], port: str) -> tuple[dict[str, str], list[Note]]:
    """Every key, sorted, that isn't `consumed` and is valid meta in Consul; a note for each invalid one."""
    reserved = frozenset(consumed)
    meta: dict[str, str] = {}
    notes = []
    for key, value in sorted(metadata.values.items()):
        if not value or key in reserved:
            continue
        why = _meta_fault(key, value)
        if not why and len(meta) == META_PAIRS:
            why = f"Consul accepts at most {META_PAIRS} pairs"
        if why:
            notes.append(Note(port, f"meta {key!r} left out", why))
        else:
            meta[key] = value
    return meta, notes


def _meta_fault(key: str, value: str) -> str:
    """Why Consul would refuse the pair; "" if it wouldn't."""
    if not META_KEY.fullmatch(key):
        return "the key must be 1 to 128 letters, digits, '_' or '-'"
    if key.startswith(META_RESERVED_PREFIX):
        return f"Consul reserves the prefix {META_RESERVED_PREFIX!r}"
    # A lone surrogate reaches Consul as U+FFFD, which is three bytes as well.
    if len(value.encode("utf-8", "surrogatepass")) > META_VALUE_BYTES:
        return f"Consul accepts values of at most {META_VALUE_BYTES} bytes"
    return ""
