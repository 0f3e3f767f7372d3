"""A game day: under a load, one fault after the other, each once all is as before the last one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import LabError
from .faults import Fault, Victim, World
from .figures import Game, Outcome, left_at
from .held_signals import held
from .load import Directory, Load

Say = Callable[[str], None]
# seconds: for all to be as it was, for a victim to leave DNS, for DNS to list one, and of the load alone before each
# fault
HEAL_TIMEOUT, LEAVE_TIMEOUT, LIST_TIMEOUT, QUIET = 180.0, 60.0, 10.0, 1.0
# all is as before once it has been so for this long: an agent that has just started again may lose its services yet
CALM = 2.5
DELAY = 0.05


@dataclass
class Players:
    """What a game is played with.

    `wanted` is the number of instances that DNS lists of each service; `victims` finds the tasks of a service.
    """

    world: World
    directory: Directory
    load: Load
    wanted: Mapping[str, int]
    victims: Callable[[str], Sequence[Victim]]
    say: Say
    _outcomes: list[Outcome] = field(default_factory=list)

    def play(self, faults: Sequence[Fault], skipped: Sequence[tuple[str, str]]) -> Game:
        """Inject each fault, the services taking turns. Raises LabError if all isn't well before one."""
        began = time.monotonic()
        services = list(self.wanted)
        with self.load.running():
            for number, fault in enumerate(faults):
                self._await_calm(fault)
                self._outcomes.append(self._inject(fault, services[number % len(services)]))
                if self._outcomes[-1].healed is None:
                    break
            self._pause(QUIET)
        return Game(
            self._outcomes, self.load.requests, self.directory.answers, skipped, began, time.monotonic() - began
        )

    def _await_calm(self, fault: Fault) -> None:
        if self._until(self._complete, HEAL_TIMEOUT) is None:
            listed = {one: len(self.directory.look(one) or ()) for one in self.wanted}
            why = ", ".join(f"{one} {listed[one]} of {count}" for one, count in self.wanted.items())
            raise LabError(f"The game can't go on with {fault.name}", why=f"DNS lists {why} instances")
        self._pause(QUIET)

    def _inject(self, fault: Fault, service: str) -> Outcome:
        victim = self._victim(service)
        self.say(f"{fault.name}: {fault.what} ({service} at {victim.endpoint}, {victim.node})")
        began = time.monotonic()
        injected = None
        try:
            with held():
                injected = fault.inject(self.world, victim)
            if injected.leaves:
                self._until(lambda: self._left(victim, began) is not None, LEAVE_TIMEOUT)
        finally:
            if injected:
                with held():
                    injected.undo()
        back = victim.endpoint if fault.returns else ""
        healed = self._calm_since(lambda: injected.over() and self._complete(back))
        left = self._left(victim, began)
        return Outcome(fault.name, fault.what, service, victim.endpoint, began, time.monotonic(), left, healed)

    def _victim(self, service: str) -> Victim:
        listed = self._listed(service)
        found = [one for one in self.victims(service) if one.endpoint in listed]
        if not found:
            raise LabError(f"There is no task of {service} to hit", why=f"DNS lists {', '.join(listed) or 'none'}")
        return found[0]

    def _listed(self, service: str) -> frozenset[str]:
        """The endpoints that DNS lists; it may be silent for a moment, or know none while a server starts."""
        end = time.monotonic() + LIST_TIMEOUT
        while not (found := self.directory.look(service)) and time.monotonic() < end:
            self._pause(DELAY)
        return found or frozenset()

    def _left(self, victim: Victim, began: float) -> float | None:
        return left_at(tuple(self.directory.answers), victim.endpoint, victim.service, began)

    def _complete(self, back: str = "") -> bool:
        """Whether DNS lists as many instances of each service as there should be, `back` among them."""
        found = {service: self.directory.look(service) or frozenset() for service in self.wanted}
        complete = all(len(found[service]) == count for service, count in self.wanted.items())
        return complete and (not back or any(back in endpoints for endpoints in found.values()))

    def _calm_since(self, condition: Callable[[], bool]) -> float | None:
        """Since when a condition is true and has stayed so for a while; None if it never has."""
        since, end = None, time.monotonic() + HEAL_TIMEOUT
        while time.monotonic() < end:
            if not condition():
                since = None
            elif since is None:
                since = time.monotonic()
            elif time.monotonic() - since >= CALM:
                return since
            self._pause(DELAY)
        return None

    def _until(self, condition: Callable[[], bool], timeout: float) -> float | None:
        """When a condition came true; None if it didn't in time."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if condition():
                return time.monotonic()
            self._pause(DELAY)
        return None

    def _pause(self, seconds: float) -> None:
        # nothing to wait for: the load goes on meanwhile
        time.sleep(seconds)
