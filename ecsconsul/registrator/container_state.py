"""What is known of one container, from its events and from inspecting it; says whether it is to be in the catalog.

Pure. Events come late, twice, and out of step with what an inspection saw: each one bears its moment, and one from
before the container's last start says nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

from .container_snapshot import KILLED, ContainerSnapshot, Event

# How a container ends that was stopped or killed, or was done (-deregister on-success).
GOOD_EXITS = (0, KILLED, 143)
# Signals that ask a container to end, beside its own stop signal. QUIT is none of them: it makes a JVM tell what its
# threads do, and the JVM runs on.
STOPPING = ("TERM", "INT", "KILL")
HELD_BACK = ("unhealthy",)


class Presence(Enum):
    """Where a container's services belong."""

    IN = "in the catalog"
    OUT = "out of it"
    AS_IT_IS = "left as they are"  # it failed, and -deregister on-success keeps it to be seen


class Next(Enum):
    """What an event asks for."""

    NOTHING = "nothing"
    INSPECT = "inspect the container"
    APPLY = "apply what is known now"
    FORGET = "forget the container"


@dataclass
class Watched:
    """One container; `version` is that of the inspection that is awaited, and the answer to any other is stale."""

    facts: ContainerSnapshot | None = None
    version: int = 0
    signals: list[tuple[int, str]] = field(default_factory=list)
    survived: int = 0  # signals up to this moment did not end it, however often they are told

    def take(self, event: Event) -> Next:
        """Learn what an event tells."""
        if event.action == "destroy":
            return Next.FORGET
        if event.action == "kill":
            self.signals.append((event.at, event.signal))
            return Next.APPLY if self.facts else Next.NOTHING
        if self.facts and event.at < self.facts.started_at:
            return Next.NOTHING
        if self.facts and event.action == "die":
            self.facts = replace(self.facts, running=False, paused=False, exit_code=event.exit_code)
            return Next.APPLY
        if self.facts and event.action == "pause":
            self.facts = replace(self.facts, paused=True)
            return Next.APPLY
        return Next.INSPECT

    def learn(self, facts: ContainerSnapshot) -> None:
        """Take what an inspection saw."""
        self.facts = facts
        self.signals = [(at, signal) for at, signal in self.signals if at >= facts.started_at]

    def ask_to_stop(self, at: int) -> None:
        """As Docker's own event of a stop."""
        started_at = self.facts.started_at if self.facts else 0
        self.signals.append((max(at, started_at), "KILL"))

    @property
    def asked_to_stop_at(self) -> int:
        """The moment of the last signal that asks it to end; 0 for none."""
        wanted = {*STOPPING, self.facts.stop_signal if self.facts else ""}
        started_at = self.facts.started_at if self.facts else 0
        since = max(started_at, self.survived + 1)
        return max((at for at, signal in self.signals if at >= since and signal in wanted), default=0)

    def presence(self, *, deregister_failed: bool) -> Presence:
        """Whether its services belong into the catalog now."""
        facts = self.facts
        if facts is None:
            return Presence.OUT
        if not facts.running:
            failed = facts.started_at > 0 and facts.exit_code not in GOOD_EXITS
            return Presence.AS_IT_IS if failed and not deregister_failed else Presence.OUT
        is_out = facts.paused or facts.health in HELD_BACK or self.asked_to_stop_at
        return Presence.OUT if is_out else Presence.IN
