"""Desired and observed services of one Consul agent, and the action each ID needs. Pure.

Services are keyed by ID, not by container: a container that replaces another under the same name has the same IDs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from .ownership import ID_DIGITS, OwnershipTag, host_of
from .rules import Registration

Action = Literal["register", "deregister"]


@dataclass(frozen=True)
class DesiredService:
    """A service that should be in the catalog; `started_at` is when its container started."""

    registration: Registration
    tag: OwnershipTag
    started_at: int


@dataclass
class CatalogState:
    """`observed` is what the agent has; while it is None (unknown), no action is needed."""

    hostname: str
    cleanup: bool = False
    owner: str = ""
    observed: dict[str, OwnershipTag | None] | None = None
    complete: bool = False  # every container has been inspected, so services of any other container are ghosts
    _desired: dict[str, dict[str, DesiredService]] = field(default_factory=dict)  # by ID, then by container
    _ids_of: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _retained: set[str] = field(default_factory=set)
    _inspected: set[str] = field(default_factory=set)  # the containers known before `complete`

    def set_desired(self, container: str, services: Iterable[DesiredService]) -> set[str]:
        """Replace a container's desired services; returns the IDs this may affect."""
        self._retained.discard(container[:ID_DIGITS])
        if not self.complete:
            self._inspected.add(container[:ID_DIGITS])
        changed = self._drop(container)
        by_id = {service.registration.id: service for service in services}
        for service_id, service in by_id.items():
            self._desired.setdefault(service_id, {})[container] = service
        if by_id:
            self._ids_of[container] = tuple(by_id)
        return changed | set(by_id)

    def retain(self, container: str) -> None:
        """Leave whatever the agent has of this container in place."""
        self._drop(container)
        self._retained.add(container[:ID_DIGITS])

    def desired(self, service_id: str) -> DesiredService | None:
        """The service that should have this ID: if several containers claim it, the one that started last wins."""
        candidates = self._desired.get(service_id)
        return max(candidates.values(), key=lambda one: one.started_at) if candidates else None

    def ids_of(self, container: str) -> tuple[str, ...]:
        """The IDs of a container's desired services."""
        return self._ids_of.get(container, ())

    def observed_of(self, container: str) -> set[str]:
        """The IDs of the services that the agent has of this container."""
        digits = container[:ID_DIGITS]
        return {service_id for service_id, tag in self._owned() if tag.container == digits}

    def ids(self) -> set[str]:
        """Every ID that is desired or observed."""
        return {*self._desired, *(self.observed or ())}

    def owned(self) -> set[str]:
        """The IDs of the observed services that belong to this owner."""
        return {service_id for service_id, _ in self._owned()}

    def diff(self, service_id: str) -> Action | None:
        """The action that brings this ID from its observed to its desired state."""
        if self.observed is None:
            return None
        desired = self.desired(service_id)
        if desired is not None:
            return None if self.observed.get(service_id) == desired.tag else "register"
        is_there = service_id in self.observed
        return "deregister" if is_there and self._is_ghost(service_id, self.observed[service_id]) else None

    def _owned(self) -> Iterable[tuple[str, OwnershipTag]]:
        observed = (self.observed or {}).items()
        return ((service_id, tag) for service_id, tag in observed if tag and tag.owner == self.owner)

    def _is_ghost(self, service_id: str, tag: OwnershipTag | None) -> bool:
        if tag is not None:
            is_known = self.complete or tag.container in self._inspected
            return is_known and tag.owner == self.owner and tag.container not in self._retained
        return self.complete and self.cleanup and host_of(service_id) == self.hostname

    def _drop(self, container: str) -> set[str]:
        ids = self._ids_of.pop(container, ())
        for service_id in ids:
            candidates = self._desired[service_id]
            del candidates[container]
            if not candidates:
                del self._desired[service_id]
        return set(ids)
