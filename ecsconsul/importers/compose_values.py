"""The short and long forms of compose's values: ports, volumes, sizes, durations, and mappings written as lists.

https://docs.docker.com/reference/compose-file/services/
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .document import MOST, Fields, Node
from .draft import Draft

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([bkmgt]?)(?:i?b)?", re.IGNORECASE)
_BYTES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
# [HOST:][PUBLISHED:]TARGET[/PROTOCOL]
_PORT = re.compile(
    r"(?:(?P<ip>\[[0-9a-fA-F:.]*\]|[0-9]+(?:\.[0-9]+){3}):)?(?:(?P<host>[0-9]+(?:-[0-9]+)?)?:)?"
    r"(?P<port>[0-9]+(?:-[0-9]+)?)(?:/(?P<protocol>[A-Za-z]+))?"
)
_PORT_NUMBER = re.compile(r"[0-9]{1,5}")
MOST_PORTS = 100  # of one service, as in ECS: API_PortMapping


def seconds(node: Node) -> float:
    """A duration such as 1m30s in seconds. Raises LabError."""
    text = node.text()
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise node.wrong("a duration such as 10s or 1m30s")
    found = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if found > MOST:
        raise node.wrong("a duration such as 10s or 1m30s")
    return found


def duration(value: float) -> str:
    """Seconds as the config writes them: one number and one unit."""
    return f"{round(value)}s" if value >= 1 and value == round(value) else f"{max(1, round(value * 1000))}ms"


def mebibytes(node: Node) -> int:
    """A size such as 512m, in MiB and at least 1. Raises LabError."""
    match = _SIZE.fullmatch(node.text().strip())
    found = float(match[1]) * _BYTES[match[2].lower()] if match else math.inf
    if found > MOST:
        raise node.wrong("a size such as 512m or 2g")
    return max(1, int(found) >> 20)


def pairs(node: Node) -> dict[str, Node]:
    """A mapping, or a list of NAME=VALUE; a name without a value is null. Raises LabError."""
    if node.kind == "map":
        return node.fields()
    found = {}
    for item in node.items():
        name, equals, value = item.text().partition("=")
        kind = "str" if equals else "null"
        found[name] = Node(kind, value, f"{node.path}.{name}", item.file, item.line)
    return found


@dataclass(frozen=True)
class Port:
    """A port of a service, and the one on the host or None."""

    port: int
    host_port: int | None
    protocol: str

    def entry(self) -> dict[str, Any]:
        """As the config writes it."""
        found: dict[str, Any] = {"port": self.port}
        if self.host_port:
            found["host_port"] = self.host_port
        if self.protocol != "tcp":
            found["protocol"] = self.protocol
        return found


def ports(node: Node, draft: Draft) -> Iterator[Port]:
    """The ports of one entry, short or long. Raises LabError."""
    if node.kind == "map":
        yield from _long_port(node, draft)
        return
    match = _PORT.fullmatch(node.text().strip())
    if not match:
        raise node.wrong("a port such as 8080:80 or 53:53/udp")
    if match["ip"] and match["ip"] not in ("0.0.0.0", "[::]"):
        why = "an instance's host port is open at all its addresses"
        draft.note("ports", f"{node.text()} (line {node.line}): the address {match['ip']} isn't taken: {why}")
    yield from _ranges(node, match["port"], match["host"], match["protocol"] or "tcp", draft)


def _long_port(node: Node, draft: Draft) -> Iterator[Port]:
    fields = Fields(node, draft.lose)
    target, published, protocol = fields.take("target"), fields.take("published"), fields.take("protocol")
    if target is None:
        raise node.wrong("a port with `target`")
    fields.lose("name", "a service's first port has its name in Consul, others have NAME-PORT")
    fields.lose("mode", "here a host port is always the instance's own")
    fields.lose("host_ip", "an instance's host port is open at all its addresses")
    fields.lose("app_protocol", "Consul knows no protocols of ports; `tags` can say it")
    fields.close()
    host = published.text() if published else None
    yield from _ranges(node, target.text(), host, protocol.text() if protocol else "tcp", draft)


def _ranges(node: Node, port: str, host: str | None, protocol: str, draft: Draft) -> Iterator[Port]:
    inside = _range(node, port)
    outside = _range(node, host) if host else []
    if len(inside) > MOST_PORTS:
        draft.lose(node, f"more than {MOST_PORTS} ports; ECS allows no more")
        return
    fixed: list[int | None] = list(outside)
    if len(outside) != len(inside):
        fixed = [None] * len(inside)
        if outside:
            draft.note("ports", f"{port} was at any of {host}; here it's at a free port, which SRV answers contain")
    if protocol.lower() not in ("tcp", "udp"):
        draft.lose(node, "ECS knows tcp and udp only")
        return
    yield from (Port(one, at, protocol.lower()) for one, at in zip(inside, fixed, strict=True))


def _range(node: Node, text: str) -> list[int]:
    first, _, last = text.partition("-")
    last = last or first
    if not (_PORT_NUMBER.fullmatch(first) and _PORT_NUMBER.fullmatch(last) and int(first) <= int(last) <= 65535):
        raise node.wrong("a port or a range of ports, at most 65535")
    return list(range(int(first), int(last) + 1))


def merged_ports(found: list[Port]) -> list[Port]:
    """Each port once; the one with a host port is meant if a port stands in `expose` too."""
    by_port: dict[tuple[int, str], Port] = {}
    for one in found:
        known = by_port.get((one.port, one.protocol))
        if known is None or (known.host_port is None and one.host_port):
            by_port[one.port, one.protocol] = one
    return list(by_port.values())
