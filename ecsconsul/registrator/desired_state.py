"""Which services are wanted, which ones the agent has, and what is to be told it for each; pure, tells nobody.

Kept by service ID and not by container: a container that follows another under the same name has the same IDs, and
what is told of one ID is told in order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from .ownership import ID_DIGITS, OwnershipTag, host_of
from .rules import Registration

Deed = Literal["register", "deregister"]


@dataclass(frozen=True)
class Wanted:
    """A service that is to be in the catalog; `started_at` is its container's."""

    registration: Registration
    marker: OwnershipTag
    started_at: int


@dataclass
class DesiredState:
    """`held` is what the agent has; None while that is not known, and then nothing is decided."""

    hostname: str
    cleanup: bool = False
    owner: str = ""
    held: dict[str, OwnershipTag | None] | None = None
    complete: bool = False  # every container was looked at once, so what none of them wants is a ghost
    _wanted: dict[str, dict[str, Wanted]] = field(default_factory=dict)
    _of_container: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _left_alone: set[str] = field(default_factory=set)
    _known: set[str] = field(default_factory=set)  # the containers that were looked at before all were

    def want(self, container: str, services: Iterable[Wanted]) -> set[str]:
        """What a container is from now on; the IDs that this may change."""
        self._left_alone.discard(container[:ID_DIGITS])
        if not self.complete:
            self._known.add(container[:ID_DIGITS])
        changed = self._drop(container)
        found = {service.registration.id: service for service in services}
        for service_id, service in found.items():
            self._wanted.setdefault(service_id, {})[container] = service
        if found:
            self._of_container[container] = tuple(found)
        return changed | set(found)

    def leave_alone(self, container: str) -> None:
        """A container has ended, and what the agent has of it stays there."""
        self._drop(container)
        self._left_alone.add(container[:ID_DIGITS])

    def wanted(self, service_id: str) -> Wanted | None:
        """Who is to be there under this ID: of several containers the one that started last, as with the original."""
        claims = self._wanted.get(service_id)
        return max(claims.values(), key=lambda one: one.started_at) if claims else None

    def services_of(self, container: str) -> tuple[str, ...]:
        """The IDs that a container wants."""
        return self._of_container.get(container, ())

    def held_of(self, container: str) -> set[str]:
        """The IDs under which the agent has a service of this container."""
        digits = container[:ID_DIGITS]
        return {service_id for service_id in self.ours() if self._marker(service_id).container == digits}

    def ids(self) -> set[str]:
        """Every ID of which something is known."""
        return {*self._wanted, *(self.held or ())}

    def ours(self) -> set[str]:
        """The IDs under which the agent has a service of ours."""
        return {service_id for service_id, marker in (self.held or {}).items() if marker and marker.owner == self.owner}

    def due(self, service_id: str) -> Deed | None:
        """What is to be told of this ID now."""
        if self.held is None:
            return None
        wanted = self.wanted(service_id)
        if wanted is not None:
            return None if self.held.get(service_id) == wanted.marker else "register"
        return "deregister" if service_id in self.held and self._is_ghost(service_id, self.held[service_id]) else None

    def _marker(self, service_id: str) -> OwnershipTag:
        marker = (self.held or {})[service_id]
        assert marker is not None
        return marker

    def _is_ghost(self, service_id: str, marker: OwnershipTag | None) -> bool:
        if marker is not None:
            is_known = self.complete or marker.container in self._known
            return is_known and marker.owner == self.owner and marker.container not in self._left_alone
        return self.complete and self.cleanup and host_of(service_id) == self.hostname

    def _drop(self, container: str) -> set[str]:
        ids = self._of_container.pop(container, ())
        for service_id in ids:
            claims = self._wanted[service_id]
            del claims[container]
            if not claims:
                del self._wanted[service_id]
        return set(ids)
