"""Reads the SERVICE_ metadata of one port of a container."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

PREFIX = "SERVICE_"
EVERY_PORT, PORT_DIGITS = 65536, 5

# Consul's own limits (ValidateMetadata in its agent/structs); lengths are in UTF-8 bytes.
META_PAIRS = 64
META_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")
META_VALUE_BYTES = 512
META_RESERVED_PREFIX = "consul-"

_PORT_KEY = re.compile(
    r"(?:(?P<first>[0-9]+)-(?P<last>[0-9]+)|(?P<port>[+-]?[0-9]+))_(?:(?P<protocol>tcp|udp)_)?(?P<key>.*)", re.DOTALL
)
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


class _Scope(NamedTuple):
    """The ports that a variable is about. The protocol is "" for both; without `ports` it is about all of them."""

    ports: range | None = None
    protocol: str = ""

    def covers(self, port: int, protocol: str) -> bool:
        return (self.ports is None or port in self.ports) and self.protocol in ("", protocol)

    @property
    def precision(self) -> tuple[int, bool]:
        """Greater for a scope that beats others: fewer ports, then a protocol."""
        return (-len(self.ports) if self.ports is not None else -EVERY_PORT, bool(self.protocol))


def read_metadata(environment: Sequence[str], labels: Mapping[str, str], port: int, protocol: str = "tcp") -> Metadata:
    """The metadata that applies to a container's port.

    SERVICE_<port>_<protocol>_<key> beats SERVICE_<port>_<key>, which beats SERVICE_<first>-<last>_<key> (with or
    without a protocol, the shorter range first), which beats SERVICE_<key>; otherwise a label beats the environment. A
    more specific value wins even when it is empty, so that one port can unset what the container sets for all.
    """
    found: dict[str, tuple[tuple[int, bool], str]] = {}
    specific = set()
    for name, value in _pairs(environment, labels):
        scope, key = _split_name(name)
        if not scope.covers(port, protocol):
            continue
        if scope.ports is not None:
            specific.add(key)
        if key not in found or scope.precision >= found[key][0]:
            found[key] = (scope.precision, value)
    return Metadata({key: value for key, (_, value) in found.items()}, frozenset(specific))


def _pairs(environment: Sequence[str], labels: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """SERVICE_ names and values; later ones win. Labels are sorted, because their order carries no meaning."""
    for item in environment:
        name, separator, value = item.partition("=")
        if separator and name.startswith(PREFIX):
            yield name, value
    for name in sorted(labels):
        if name.startswith(PREFIX):
            yield name, labels[name]


def _split_name(name: str) -> tuple[_Scope, str]:
    """SERVICE_80_NAME is about port 80 and sets `name`, SERVICE_NAME about every port."""
    key = name.removeprefix(PREFIX).lower()
    match = _PORT_KEY.fullmatch(key)
    if not match:
        return _Scope(), key
    return _Scope(_ports(match), match["protocol"] or ""), match["key"]


def _ports(match: re.Match[str]) -> range:
    """The ports of a key; none for a number that isn't written as a port is, or for a range from high to low."""
    if match["port"]:
        is_plain = match["port"] == match["port"].lstrip("+-0") and len(match["port"]) <= PORT_DIGITS
        return range(int(match["port"]), int(match["port"]) + 1) if is_plain else range(0)
    if max(len(match["first"]), len(match["last"])) > PORT_DIGITS:
        return range(0)
    return range(int(match["first"]), int(match["last"]) + 1)


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
