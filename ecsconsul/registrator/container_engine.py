"""What the Registrator needs from a container engine; `DockerClient` is the one that talks to Docker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from .container_snapshot import ContainerSnapshot, Event


class Events(Protocol):
    """An open event stream."""

    @property
    def fell_silent(self) -> bool:
        """Whether iteration ended because nothing arrived for too long, which says nothing about the engine."""

    def __iter__(self) -> Iterator[Event]:
        """Each event as it happens, until the stream ends. Raises LabError when it breaks."""

    def close(self) -> None:
        """End the iteration; any thread may call this."""


class Engine(Protocol):
    """A container engine; threads share it. Every method raises LabError when the engine doesn't answer."""

    @property
    def label(self) -> str:
        """KEY or KEY=VALUE: the engine reports only containers with this label. "" means all containers."""

    def identity(self) -> str:
        """A stable ID of this engine that doesn't depend on the host name."""

    def running(self) -> list[str]:
        """The IDs of running containers, paused ones included."""

    def ended(self) -> list[str]:
        """The IDs of containers that have exited and haven't been removed."""

    def inspect(self, container: str) -> ContainerSnapshot | None:
        """The container's current state, or None if it doesn't exist."""

    def events(self, since: int) -> AbstractContextManager[Events]:
        """The events from `since` on (nanoseconds since 1970), as far back as the engine remembers."""

    def close(self) -> None:
        """Release the connections."""
