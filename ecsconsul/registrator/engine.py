"""What the Registrator asks of a container engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from .container_snapshot import ContainerSnapshot, Event


class Events(Protocol):
    """A stream of events."""

    @property
    def fell_silent(self) -> bool: ...
    @property
    def close(self) -> Callable[[], None]: ...

    def __iter__(self) -> Iterator[Event]: ...


class Engine(Protocol):
    """One container engine; threads may share it."""

    @property
    def label(self) -> str: ...

    def identity(self) -> str: ...
    def running(self) -> list[str]: ...
    def ended(self) -> list[str]: ...
    def inspect(self, container: str) -> ContainerSnapshot | None: ...
    def events(self, since: int) -> AbstractContextManager[Events]: ...
    def close(self) -> None: ...
