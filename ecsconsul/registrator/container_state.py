"""What is known about one container, and whether its services belong in the catalog.

Pure. Events can arrive late, twice, or out of order with inspections. Each event carries its own time, and events from
before the container's last start are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

from .container_snapshot import KILLED, ContainerSnapshot, Event

# Exit codes of containers that finished, were killed or were stopped; any other is a failure.
GOOD_EXITS = (0, KILLED, 143)
# Signals that ask a container to stop, beside its own stop signal. QUIT isn't one: a JVM dumps its threads and runs on.
STOP_SIGNALS = ("TERM", "INT", "KILL")


class Desired(Enum):
    """What should happen to a container's services."""

    REGISTERED = "registered"
    DEREGISTERED = "deregistered"
    RETAINED = "retained"  # the container failed, and -deregister on-success leaves its services in place


class Followup(Enum):
    """What an event calls for."""

    NONE = "nothing"
    INSPECT = "inspect the container"
    RECONCILE = "reconcile with what is known now"
    FORGET = "forget the container"


@dataclass
class ContainerState:
    """`version` numbers the latest inspection or event; the result of an older inspection is stale."""

    snapshot: ContainerSnapshot | None = None
    version: int = 0
    signals: list[tuple[int, str]] = field(default_factory=list)
    survived_until: int = 0  # the container outlived the signals up to this time, even if the stream repeats them

    def handle(self, event: Event) -> Followup:
        """Record an event."""
        if event.action == "destroy":
            return Followup.FORGET
        if event.action == "kill":
            self.signals.append((event.at, event.signal))
            return Followup.RECONCILE if self.snapshot else Followup.NONE
        if self.snapshot and event.at < self.snapshot.started_at:
            return Followup.NONE
        if self.snapshot and event.action == "die":
            self.snapshot = replace(self.snapshot, running=False, paused=False, exit_code=event.exit_code)
            return Followup.RECONCILE
        if self.snapshot and event.action == "pause":
            self.snapshot = replace(self.snapshot, paused=True)
            return Followup.RECONCILE
        return Followup.INSPECT

    def update(self, snapshot: ContainerSnapshot) -> None:
        """Record the result of an inspection."""
        self.snapshot = snapshot
        self.signals = [(at, signal) for at, signal in self.signals if at >= snapshot.started_at]

    def begin_stop(self, at: int) -> None:
        """Record a stop that begins without an event from Docker."""
        self.signals.append((max(at, self._started_at), "KILL"))

    @property
    def stopping_since(self) -> int:
        """The time of the last stop signal; 0 if the container isn't being stopped."""
        stop_signals = {*STOP_SIGNALS, self.snapshot.stop_signal if self.snapshot else ""}
        since = max(self._started_at, self.survived_until + 1)
        return max((at for at, signal in self.signals if at >= since and signal in stop_signals), default=0)

    def desired(self, *, deregister_failed: bool) -> Desired:
        """What should happen to the container's services now."""
        snapshot = self.snapshot
        if snapshot is None:
            return Desired.DEREGISTERED
        if not snapshot.running:
            failed = snapshot.started_at > 0 and snapshot.exit_code not in GOOD_EXITS
            return Desired.RETAINED if failed and not deregister_failed else Desired.DEREGISTERED
        unavailable = snapshot.paused or snapshot.health == "unhealthy" or self.stopping_since
        return Desired.DEREGISTERED if unavailable else Desired.REGISTERED

    @property
    def _started_at(self) -> int:
        return self.snapshot.started_at if self.snapshot else 0
