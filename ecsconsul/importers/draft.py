"""The config on its way: services with their keys, and at each key what is said about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .document import Node

CONSUL = "consul"  # the lab's own service
MOST_NAME = 32


@dataclass(frozen=True)
class Loss:
    """A field of the input that the config doesn't have: where it stood, its value, and why it isn't taken."""

    path: str
    value: str
    why: str
    file: str
    line: int = 0


@dataclass
class Draft:
    """A container of the config: keys and values as they will be written, notes by key, and what was lost.

    A note's place is a key, or a path such as `environment.DB_HOST`; the empty one is the container's head.
    """

    name: str
    keys: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)

    def put(self, key: str, value: Any, note: str = "") -> None:
        """Sets a key; None and empty collections other than `ports` are left out."""
        if value is None or (value in ({}, [], "") and key != "ports"):
            return
        self.keys[key] = value
        if note:
            self.note(key, note)

    def note(self, place: str, text: str) -> None:
        """Says something once at a key."""
        found = self.notes.setdefault(place, [])
        if text not in found:
            found.append(text)

    def lose(self, node: Node, why: str) -> None:
        """Records a field that isn't taken."""
        self.losses.append(Loss(node.path, node.shown(), why, node.file, node.line))


@dataclass
class ServiceDraft(Draft):
    """A service; `source` is its name in the input.

    `aliases` are other names that it was reached by, `links` are compose's, SERVICE or SERVICE:ALIAS.
    """

    source: str = ""
    aliases: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    containers: list[Draft] = field(default_factory=list)

    @property
    def all_containers(self) -> list[Draft]:
        """The main container, which is the service's own, and the others."""
        return [self, *self.containers]

    @property
    def count(self) -> int:
        """The number of tasks."""
        return int(self.keys.get("count", 1))

    @property
    def is_daemon(self) -> bool:
        """Whether each instance runs one task."""
        return bool(self.keys.get("schedule") == "daemon")

    @property
    def bindings(self) -> list[dict[str, Any]]:
        """The ports of the main container, also of the short form, to be changed in place."""
        if "ports" in self.keys:
            found: list[dict[str, Any]] = self.keys["ports"]
            return found
        return [self.keys] if "port" in self.keys else []


@dataclass
class LabDraft:
    """The lab: its name, where it comes from, its top-level keys, its services, and what holds for all of them."""

    name: str
    origin: str
    head: Draft = field(default_factory=lambda: Draft(""))
    services: list[ServiceDraft] = field(default_factory=list)

    @property
    def losses(self) -> Iterator[tuple[str, Loss]]:
        """Every loss, with the name of its service or an empty one."""
        yield from (("", loss) for loss in self.head.losses)
        for service in self.services:
            for one in service.all_containers:
                yield from ((service.name, loss) for loss in one.losses)


def put_ports(draft: Draft, ports: list[dict[str, Any]]) -> None:
    """Writes ports in the short form if they are one TCP port of a service's, else as a list."""
    if isinstance(draft, ServiceDraft) and len(ports) == 1 and ports[0].keys() <= {"port", "host_port", "tags"}:
        draft.keys.update(ports[0])
    elif ports or isinstance(draft, ServiceDraft):
        draft.keys["ports"] = ports


def valid_name(text: str, taken: Iterable[str] = (), fallback: str = "service") -> str:
    """The nearest name that the config takes and that isn't taken yet: 2 to 32 of a-z, 0-9 and hyphens."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not name or not name[0].isalpha():
        name = f"{fallback}-{name}".strip("-")
    if len(name) < 2 or name == CONSUL:
        name = f"{name}-{fallback}"
    used, number, found = set(taken), 2, name[:MOST_NAME].rstrip("-")
    while found in used:
        end = f"-{number}"
        found, number = name[: MOST_NAME - len(end)].rstrip("-") + end, number + 1
    return found


def named(kind: Callable[..., Any], source: str, taken: Iterable[str], fallback: str = "service") -> Any:
    """A draft with a valid name, and a note if it isn't the source's."""
    draft = kind(valid_name(source, taken, fallback))
    if draft.name != source:
        draft.note("", f"named {source} where it comes from; a name here is 2 to 32 of a-z, 0-9 and -, and unique")
    return draft
