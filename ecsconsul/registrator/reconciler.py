"""Keeps one Consul agent's services those of one Docker engine's running containers.

All that is known is touched by one thread (loop.py). Others ask Docker and Consul, each bounded, and report to it:
what is to be told of a service is decided (ledger.py) from what is known at that moment, one telling at a time for each
ID, so that none is overtaken. Nothing is remembered as a deed to be done: after any break the two are compared anew.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from ..errors import LabError
from .catalog_writer import CatalogWriter
from .consul_client import Agent
from .container_snapshot import ContainerSnapshot, Event
from .container_state import Next, Presence, Watched
from .desired_state import DesiredState, Wanted
from .engine import Engine
from .event_stream import Feed, Listing, list_containers
from .loop import Loop
from .ownership import ID_DIGITS, owner_of, ownership_tag
from .rules import Options, Registration, registrations

log = logging.getLogger(__name__)

INSPECTORS = 8
INSPECT_AGAIN = 1.0
LIST_SECONDS = 60.0  # between two listings when nobody told; events say all, but for those that an engine drops


@dataclass(frozen=True)
class ReconcilerOptions:
    """What to keep in step, and how. `rules.host_address` "": the Consul agent's own address, asked of it."""

    rules: Options
    deregister_failed: bool = True
    cleanup: bool = False
    resync: float = 0.0  # seconds; 0: our own pace
    stop_timeout: float = 120.0
    until_it_listens: bool = False


class Reconciler:
    """Start it once, close it once; every other method may be called by any thread at any time between.

    Several may share an engine when each engine object is given a label of its own.
    """

    def __init__(self, engine: Engine, agent: Agent, options: ReconcilerOptions) -> None:
        self._engine = engine
        self._agent = agent
        self._options = options
        self._host_address = options.rules.host_address
        self._watched: dict[str, Watched] = {}
        self._awaited: set[str] | None = None  # those of the first listing that were not inspected yet
        self._version = 0
        self._services: dict[str, tuple[Registration, ...]] = {}  # replaced whole, so any thread may read it
        self._loop = Loop("registrator")
        self._ledger = DesiredState(options.rules.hostname, options.cleanup)
        self._teller = CatalogWriter(
            agent,
            self._ledger,
            self._loop,
            self._moved,
            asks_address=not options.rules.host_address,
            until_it_listens=options.until_it_listens,
            period=options.resync,
        )
        self._inspectors = ThreadPoolExecutor(INSPECTORS, "inspect")
        self._feed: Feed | None = None
        self._engine_answers = False
        self._losses = 0
        self._leaving = False  # nothing belongs into the catalog any more

    # what others may ask

    def start(self) -> None:
        """Ask both servers who they are, and begin. Raises LabError when one does not answer."""
        self._ledger.owner = owner_of(self._engine.identity(), self._engine.label)
        self._teller.start()
        since = time.time_ns() - int(self._options.stop_timeout * 10**9)
        with_ended = not self._options.deregister_failed
        self._feed = Feed(self._engine, _Listener(self), since=since, with_ended=with_ended)
        self._loop.later(self._pace, self._list_again)
        self._loop.start()
        self._feed.start()

    def services(self, container: str) -> tuple[Registration, ...] | None:
        """The services that a container is registered as, or is about to be; None: it is not in step yet, or out."""
        return self._services.get(container)

    def is_listed(self, container: str) -> bool:
        """Whether Consul's servers list all services of a container as passing. Raises LabError."""
        services = self.services(container)
        if services is None:
            return False
        return all(one.id in self._agent.passing(one.name) for one in services)

    def leave(self, container: str, seconds: float) -> bool:
        """Take a container out of the catalog before it is stopped; True when the agent has done it in this time.

        As when a stop begins, it is back when it still runs after the `stop_timeout`.
        """
        done = threading.Event()
        self._loop.post(partial(self._leave, container, done))
        return done.wait(seconds)

    def state(self) -> State:
        """How it is, for people and machines that watch it."""
        return State(
            docker=self._engine_answers,
            consul=self._teller.agent_answers,
            complete=self._ledger.complete,
            containers=len(self._services),
            wanted=sum(map(len, list(self._services.values()))),
            docker_losses=self._losses,
            tellings=dict(self._teller.tellings),
            failures=dict(self._teller.failures),
        )

    @property
    def ended(self) -> threading.Event:
        """Set when nothing is kept in step any more, be it closed or broken."""
        return self._loop.ended

    def close(self, *, keep: bool, seconds: float) -> None:
        """End within so many seconds or a little more, and take the services out before, unless they are to be kept."""
        if self._feed is not None:
            self._feed.stop(1.0)
            if not keep:
                done = threading.Event()
                self._loop.post(partial(self._leave_all, done))
                if not done.wait(seconds):
                    log.warning("not all services could be taken out", extra={"seconds": seconds})
            self._loop.stop(1.0)
            self._teller.close()
        self._inspectors.shutdown(wait=False, cancel_futures=True)
        self._engine.close()
        self._agent.close()

    # what Docker tells; from here on everything runs in the loop

    def _connected(self, listing: Listing) -> None:
        if not self._engine_answers:
            log.info("listening to Docker", extra={"containers": len(listing.running)})
        self._engine_answers = True
        found = {*listing.running, *listing.ended}
        if not self._ledger.complete:
            self._awaited = set(found)
        self._look_at_all(found)
        self._complete_when_seen()

    def _lost(self, error: LabError) -> None:
        if self._engine_answers:
            self._losses += 1
            log.warning("Docker's events are lost, trying again", extra={"error": str(error)})
        self._engine_answers = False

    def _happened(self, event: Event) -> None:
        log.debug("event", extra={"action": event.action, "container": event.container[:ID_DIGITS]})
        watched = self._watched.setdefault(event.container, Watched())
        needed = watched.take(event)
        if needed is Next.INSPECT:
            self._inspect(event.container)
        elif needed is Next.FORGET:
            self._forget(event.container)
        elif needed is Next.APPLY:
            watched.version = self._next_version() if event.action != "kill" else watched.version
            self._apply(event.container)

    # looking at containers

    @property
    def _pace(self) -> float:
        return self._options.resync or LIST_SECONDS

    def _list_again(self) -> None:
        self._loop.later(self._pace, self._list_again)
        if self._engine_answers:
            self._inspectors.submit(self._list)

    def _list(self) -> None:
        """In a thread of its own."""
        try:
            found = list_containers(self._engine, with_ended=not self._options.deregister_failed)
        except LabError as error:
            log.warning("containers cannot be listed", extra={"error": str(error)})
            return
        self._loop.post(partial(self._look_at_all, {*found.running, *found.ended}))

    def _look_at_all(self, found: set[str]) -> None:
        """Those that are not there any more are looked at as well: the listing may be older than what is known."""
        for container in found | set(self._watched):
            self._inspect(container)

    def _inspect(self, container: str) -> None:
        watched = self._watched.setdefault(container, Watched())
        watched.version = version = self._next_version()
        self._inspectors.submit(self._ask, container, version)

    def _ask(self, container: str, version: int) -> None:
        """In a thread of its own."""
        try:
            facts = self._engine.inspect(container)
        except LabError as error:
            log.debug("cannot inspect", extra={"container": container[:ID_DIGITS], "error": str(error)})
            self._loop.later(INSPECT_AGAIN, partial(self._ask_again, container, version))
            return
        self._loop.post(partial(self._inspected, container, version, facts))

    def _ask_again(self, container: str, version: int) -> None:
        if (watched := self._watched.get(container)) and watched.version == version:
            self._inspectors.submit(self._ask, container, version)

    def _inspected(self, container: str, version: int, facts: ContainerSnapshot | None) -> None:
        watched = self._watched.get(container)
        if watched is not None and watched.version == version:
            if facts is None:
                self._forget(container)
            else:
                watched.learn(facts)
                self._apply(container)
        if self._awaited is not None:
            # one of which an event has told since is known by that, or looked at again
            if watched is None or watched.version == version:
                self._awaited.discard(container)
            self._complete_when_seen()

    def _complete_when_seen(self) -> None:
        """Once all containers of the first listing are known, what none of them wants is a ghost."""
        if self._awaited is not None and not self._awaited & set(self._watched):
            self._awaited = None
            self._ledger.complete = True
            self._teller.settle(self._ledger.ids())

    def _next_version(self) -> int:
        self._version += 1
        return self._version

    # what follows

    def _apply(self, container: str) -> None:
        """Bring the ledger in step with what is known of a container."""
        watched = self._watched[container]
        presence = watched.presence(deregister_failed=self._options.deregister_failed)
        if presence is Presence.IN and self._leaving:
            presence = Presence.OUT
        if presence is Presence.AS_IT_IS:
            self._ledger.leave_alone(container)
            self._show(container, None)
            return
        services = self._services_of(watched.facts) if presence is Presence.IN and watched.facts else None
        self._show(container, services)
        if services is None and watched.asked_to_stop_at:
            self._look_again_after_stop(container, watched.asked_to_stop_at)
        wanted = [self._wanted(container, watched, one) for one in services or ()]
        self._teller.settle(self._ledger.want(container, wanted))
        if services is None and watched.facts and not watched.facts.running:
            del self._watched[container]

    def _services_of(self, facts: ContainerSnapshot) -> tuple[Registration, ...]:
        options = replace(self._options.rules, host_address=self._host_address)
        decision = registrations(facts.container, options)
        if facts.id not in self._services:
            for note in decision.notes:
                level = logging.WARNING if note.mistake else logging.INFO
                log.log(level, "%s", note, extra={"container": facts.container.name.removeprefix("/")})
        return decision.registrations

    def _wanted(self, container: str, watched: Watched, registration: Registration) -> Wanted:
        started_at = watched.facts.started_at if watched.facts else 0
        return Wanted(registration, ownership_tag(self._ledger.owner, container, registration), started_at)

    def _show(self, container: str, services: tuple[Registration, ...] | None) -> None:
        if self._services.get(container) == services:
            return
        others = {key: value for key, value in self._services.items() if key != container}
        self._services = others if services is None else {**others, container: services}

    def _forget(self, container: str) -> None:
        self._watched.pop(container, None)
        self._show(container, None)
        self._teller.settle(self._ledger.want(container, ()))
        # what the agent still has of it may be one that was left as it was
        self._teller.settle(self._ledger.held_of(container))

    def _look_again_after_stop(self, container: str, asked_at: int) -> None:
        """One that was asked to stop, and runs on, is not stopping."""

        def look_again() -> None:
            watched = self._watched.get(container)
            if watched is not None and watched.asked_to_stop_at == asked_at:
                watched.survived = asked_at
                self._inspect(container)

        passed = (time.time_ns() - asked_at) / 1e9
        self._loop.later(max(self._options.stop_timeout - passed, 0.0), look_again)

    def _moved(self, address: str) -> None:
        """The agent has told its address."""
        if address != self._host_address:
            log.info("services are at the agent's address", extra={"address": address})
            self._host_address = address
            for container in [key for key, watched in self._watched.items() if watched.facts]:
                self._apply(container)

    def _leave(self, container: str, done: threading.Event) -> None:
        ids = self._ledger.services_of(container)
        watched = self._watched.setdefault(container, Watched())
        watched.ask_to_stop(time.time_ns())
        self._apply(container)
        self._teller.when_gone(ids, container, done)

    def _leave_all(self, done: threading.Event) -> None:
        self._leaving = True
        for container in list(self._watched):
            self._apply(container)
        # those too that were never looked at, and that the agent has from a life before
        self._teller.settle(self._ledger.ids())
        self._teller.when_settled(done)


@dataclass(frozen=True)
class State:
    """`docker` and `consul`: whether they answer. `complete`: every container was looked at once."""

    docker: bool
    consul: bool
    complete: bool
    containers: int
    wanted: int
    docker_losses: int
    tellings: dict[str, int]
    failures: dict[str, int]

    @property
    def is_well(self) -> bool:
        return self.docker and self.consul and self.complete


class _Listener:
    """Hands what the feed's thread hears to the loop."""

    def __init__(self, sync: Reconciler) -> None:
        self._sync = sync

    def connected(self, listing: Listing) -> None:
        self._post(self._sync._connected, listing)

    def happened(self, event: Event) -> None:
        self._post(self._sync._happened, event)

    def lost(self, error: LabError) -> None:
        self._post(self._sync._lost, error)

    def _post(self, method: Callable[..., None], *arguments: object) -> None:
        self._sync._loop.post(partial(method, *arguments))
