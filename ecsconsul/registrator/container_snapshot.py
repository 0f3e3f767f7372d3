"""Snapshots of containers and events, and how they are parsed from Docker's API.

Only fields that every API version since 1.41 (Docker 20.10) has are read: `Action`, `Type` and `Actor` of an event, and
`Networks` of a container. Podman's API for Docker's clients has them too, with some words of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from .rules import Container, PortBinding

DEFAULT_STOP_SIGNAL = "TERM"
KILLED = 137
# Docker's events give signals by number; these are Linux's.
SIGNALS = {"1": "HUP", "2": "INT", "3": "QUIT", "9": "KILL", "10": "USR1", "12": "USR2", "15": "TERM", "28": "WINCH"}
# Podman's words for the same events
ACTIONS = {"died": "die", "remove": "destroy"}
_IMAGE_ID = re.compile(r"(sha256:)?[0-9a-f]{12,64}")
_TIME = re.compile(r"(\d+-\d+-\d+T\d+:\d+:\d+)(?:\.(\d+))?(Z|[+-]\d+:\d+)")

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Event:
    """Something that happened to a container. `at`: nanoseconds since 1970 by the engine's clock."""

    action: str  # start, die, kill, pause, unpause, health_status, rename, destroy, connect, disconnect
    container: str
    at: int
    signal: str = ""  # for kill, without the SIG prefix
    exit_code: int = 0  # for die


@dataclass(frozen=True)
class ContainerSnapshot:
    """A container at one moment. `started_at`: nanoseconds since 1970, 0 if it never started."""

    container: Container
    running: bool
    paused: bool
    health: str  # none, starting, healthy, unhealthy
    started_at: int
    exit_code: int
    stop_signal: str  # without the SIG prefix
    shares_network_of: str  # the container whose network it joins; "" if it has its own

    @property
    def id(self) -> str:
        return self.container.id


def parse_event(data: Json) -> Event | None:
    """An event of Docker's stream; None if it isn't about a container."""
    actor = data.get("Actor") or {}
    attributes = actor.get("Attributes") or {}
    is_network = data.get("Type") == "network"
    container = attributes.get("container") if is_network else actor.get("ID")
    if not container or data.get("Type") not in ("container", "network"):
        return None
    action = str(data.get("Action", "")).partition(":")[0]
    return Event(
        action=ACTIONS.get(action, action),
        container=container,
        at=int(data.get("timeNano") or 0),
        signal=signal_name(str(attributes.get("signal", ""))),
        exit_code=_whole(attributes.get("exitCode", attributes.get("containerExitCode")), KILLED),
    )


def image_id(data: Json) -> str:
    """The ID of the image if the container was started with nothing but that: its name is elsewhere. Else ""."""
    given, found = str((data.get("Config") or {}).get("Image") or ""), str(data.get("Image") or "")
    is_id = _IMAGE_ID.fullmatch(given) and found.removeprefix("sha256:").startswith(given.removeprefix("sha256:"))
    return found if is_id else ""


def repository_of(image: Json) -> str:
    """The first name of an image, as an inspection of the image tells it; "" if it has none."""
    names = [*(image.get("RepoTags") or ()), *(image.get("RepoDigests") or ())]
    return next((name for name in names if not name.startswith("<none>")), "")


def parse_container(data: Json, image: str | None = None) -> ContainerSnapshot:
    """Docker's answer to an inspection. A container that joins another's network has no address of its own here.

    `image` replaces the image that it was started with, where that is only an ID.
    """
    config, state = data.get("Config") or {}, data.get("State") or {}
    mode = (data.get("HostConfig") or {}).get("NetworkMode") or "default"
    settings = data.get("NetworkSettings") or {}
    container = Container(
        id=data["Id"],
        name=data.get("Name") or "",
        image=(config.get("Image") or "") if image is None else image,
        hostname=config.get("Hostname") or "",
        environment=tuple(config.get("Env") or ()),
        labels=config.get("Labels") or {},
        ports=tuple(_ports(config.get("ExposedPorts") or {}, settings.get("Ports") or {})),
        ip=address_of(data),
        network_mode=mode,
        process=int(state.get("Pid") or 0),
    )
    return ContainerSnapshot(
        container=container,
        running=bool(state.get("Running")) and not state.get("Restarting"),
        paused=bool(state.get("Paused")),
        health=(state.get("Health") or {}).get("Status") or "none",
        started_at=nanoseconds(state.get("StartedAt") or ""),
        exit_code=int(state.get("ExitCode") or 0),
        stop_signal=signal_name(config.get("StopSignal") or "") or DEFAULT_STOP_SIGNAL,
        shares_network_of=mode.partition(":")[2] if container.shares_network else "",
    )


def address_of(data: Json) -> str:
    """The address in the network that the container was started in, else in the first network that has one."""
    networks: Mapping[str, Json] = (data.get("NetworkSettings") or {}).get("Networks") or {}
    mode = (data.get("HostConfig") or {}).get("NetworkMode") or "default"
    own = "bridge" if mode == "default" else mode
    ranked = sorted(networks.items(), key=lambda item: (own not in (item[0], item[1].get("NetworkID")), item[0]))
    addresses = [one.get("IPAddress") or one.get("GlobalIPv6Address") or "" for _, one in ranked]
    return next(filter(None, addresses), "")


def signal_name(text: str) -> str:
    """`15`, `SIGTERM` and `TERM` all become TERM."""
    return SIGNALS.get(text, text.upper().removeprefix("SIG"))


def nanoseconds(text: str) -> int:
    """A timestamp of Docker's (RFC 3339) in nanoseconds since 1970; 0 if it is unset."""
    match = _TIME.fullmatch(text)
    if not match or text.startswith("0001-"):
        return 0
    whole, fraction, zone = match.groups()
    moment = datetime.fromisoformat(whole + ("+00:00" if zone == "Z" else zone))
    since = moment - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (since.days * 86400 + since.seconds) * 10**9 + int((fraction or "0").ljust(9, "0")[:9])


def _ports(exposed: Json, published: Mapping[str, Any]) -> Iterator[PortBinding]:
    """Every exposed port, followed by the published bindings in Docker's order."""
    for text in exposed:
        yield PortBinding(*_port(text))
    for text, bindings in published.items():
        for binding in bindings or ():
            yield PortBinding(*_port(text), _whole(binding.get("HostPort"), 0) or None, binding.get("HostIp") or "")


def _port(text: str) -> tuple[int, str]:
    number, _, protocol = text.partition("/")
    return int(number), protocol or "tcp"


def _whole(text: Any, default: int) -> int:
    try:
        return int(text)
    except (TypeError, ValueError):
        return default
