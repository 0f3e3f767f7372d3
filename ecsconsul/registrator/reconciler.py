"""Keeps one Consul agent's services those of one Docker engine's running containers.

One thread owns all state (loop.py). Requests to Docker and Consul run in bounded pools and report back to it. The
action for a service is decided from the current state, one at a time per ID. After any break, both sides are compared
again.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from ..errors import LabError
from .catalog_state import CatalogState, DesiredService
from .catalog_writer import CatalogWriter
from .consul_client import ConsulClient
from .container_engine import Engine
from .container_snapshot import ContainerSnapshot, Event
from .container_state import ContainerState, Desired, Followup
from .event_stream import Connected, Disconnected, EventStream, Message, list_containers
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
    wait_for_port: bool = False


class Reconciler:
    """Start it once, close it once; every other method may be called by any thread at any time between.

    Several may share an engine when each engine object is given a label of its own.
    """

    def __init__(self, engine: Engine, agent: ConsulClient, options: ReconcilerOptions) -> None:
        self._engine = engine
        self._agent = agent
        self._options = options
        self._host_address = options.rules.host_address
        self._containers: dict[str, ContainerState] = {}
        self._awaited: set[str] | None = None  # those of the first listing that were not inspected yet
        self._version = 0
        self._services: dict[str, tuple[Registration, ...]] = {}  # replaced whole, so any thread may read it
        self._loop = Loop("registrator")
        self._catalog = CatalogState(options.rules.hostname, options.cleanup)
        self._writer = CatalogWriter(
            agent,
            self._catalog,
            self._loop,
            self._moved,
            asks_address=not options.rules.host_address,
            wait_for_port=options.wait_for_port,
            period=options.resync,
        )
        self._inspectors = ThreadPoolExecutor(INSPECTORS, "inspect")
        self._event_stream: EventStream | None = None
        self._engine_answers = False
        self._losses = 0
        self._leaving = False  # nothing belongs into the catalog any more

    # what others may ask

    def start(self) -> None:
        """Ask both servers who they are, and begin. Raises LabError when one does not answer."""
        self._catalog.owner = owner_of(self._engine.identity(), self._engine.label)
        self._writer.start()
        since = time.time_ns() - int(self._options.stop_timeout * 10**9)
        include_ended = not self._options.deregister_failed
        self._event_stream = EventStream(self._engine, self._publish, since=since, include_ended=include_ended)
        self._loop.later(self._pace, self._list_again)
        self._loop.start()
        self._event_stream.start()

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

    def state(self) -> ReconcilerState:
        """How it is, for people and machines that watch it."""
        return ReconcilerState(
            docker=self._engine_answers,
            consul=self._writer.agent_answers,
            complete=self._catalog.complete,
            containers=len(self._services),
            services=sum(map(len, list(self._services.values()))),
            docker_disconnects=self._losses,
            writes=dict(self._writer.writes),
            failures=dict(self._writer.failures),
        )

    @property
    def ended(self) -> threading.Event:
        """Set when nothing is kept in step any more, be it closed or broken."""
        return self._loop.ended

    def close(self, *, keep: bool, seconds: float) -> None:
        """End within so many seconds or a little more, and take the services out before, unless they are to be kept."""
        if self._event_stream is not None:
            self._event_stream.stop(1.0)
            if not keep:
                done = threading.Event()
                self._loop.post(partial(self._leave_all, done))
                if not done.wait(seconds):
                    log.warning("could not deregister all services in time", extra={"seconds": seconds})
            self._loop.stop(1.0)
            self._writer.close()
        self._inspectors.shutdown(wait=False, cancel_futures=True)
        self._engine.close()
        self._agent.close()

    # what Docker tells; from here on everything runs in the loop

    def _publish(self, message: Message) -> None:
        """Called in the event stream's thread."""
        self._loop.post(partial(self._handle, message))

    def _handle(self, message: Message) -> None:
        if isinstance(message, Connected):
            self._connected(message.containers)
        elif isinstance(message, Disconnected):
            self._lost(message.error)
        else:
            self._happened(message)

    def _connected(self, containers: frozenset[str]) -> None:
        if not self._engine_answers:
            log.info("connected to Docker", extra={"containers": len(containers)})
        self._engine_answers = True
        found = set(containers)
        if not self._catalog.complete:
            self._awaited = set(found)
        self._look_at_all(found)
        self._complete_when_seen()

    def _lost(self, error: LabError) -> None:
        if self._engine_answers:
            self._losses += 1
            log.warning("lost Docker's event stream, reconnecting", extra={"error": str(error)})
        self._engine_answers = False

    def _happened(self, event: Event) -> None:
        log.debug("event", extra={"action": event.action, "container": event.container[:ID_DIGITS]})
        watched = self._containers.setdefault(event.container, ContainerState())
        needed = watched.handle(event)
        if needed is Followup.INSPECT:
            self._inspect(event.container)
        elif needed is Followup.FORGET:
            self._forget(event.container)
        elif needed is Followup.RECONCILE:
            watched.version = self._next_version() if event.action != "kill" else watched.version
            self._apply(event.container)

    # schedule at containers

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
            found = list_containers(self._engine, include_ended=not self._options.deregister_failed)
        except LabError as error:
            log.warning("containers cannot be listed", extra={"error": str(error)})
            return
        self._loop.post(partial(self._look_at_all, set(found)))

    def _look_at_all(self, found: set[str]) -> None:
        """Those that are not there any more are looked at as well: the listing may be older than what is known."""
        for container in found | set(self._containers):
            self._inspect(container)

    def _inspect(self, container: str) -> None:
        watched = self._containers.setdefault(container, ContainerState())
        watched.version = version = self._next_version()
        self._inspectors.submit(self._ask, container, version)

    def _ask(self, container: str, version: int) -> None:
        """In a thread of its own."""
        try:
            snapshot = self._engine.inspect(container)
        except LabError as error:
            log.debug("cannot inspect", extra={"container": container[:ID_DIGITS], "error": str(error)})
            self._loop.later(INSPECT_AGAIN, partial(self._ask_again, container, version))
            return
        self._loop.post(partial(self._inspected, container, version, snapshot))

    def _ask_again(self, container: str, version: int) -> None:
        if (watched := self._containers.get(container)) and watched.version == version:
            self._inspectors.submit(self._ask, container, version)

    def _inspected(self, container: str, version: int, snapshot: ContainerSnapshot | None) -> None:
        watched = self._containers.get(container)
        if watched is not None and watched.version == version:
            if snapshot is None:
                self._forget(container)
            else:
                watched.update(snapshot)
                self._apply(container)
        if self._awaited is not None:
            # one of which an event has told since is known by that, or looked at again
            if watched is None or watched.version == version:
                self._awaited.discard(container)
            self._complete_when_seen()

    def _complete_when_seen(self) -> None:
        """Once all containers of the first listing are known, what none of them wants is a ghost."""
        if self._awaited is not None and not self._awaited & set(self._containers):
            self._awaited = None
            self._catalog.complete = True
            self._writer.reconcile(self._catalog.ids())

    def _next_version(self) -> int:
        self._version += 1
        return self._version

    # what follows

    def _apply(self, container: str) -> None:
        """Bring the catalog in step with what is known of a container."""
        watched = self._containers[container]
        desired = watched.desired(deregister_failed=self._options.deregister_failed)
        if desired is Desired.REGISTERED and self._leaving:
            desired = Desired.DEREGISTERED
        if desired is Desired.RETAINED:
            self._catalog.retain(container)
            self._show(container, None)
            return
        services = self._services_of(watched.snapshot) if desired is Desired.REGISTERED and watched.snapshot else None
        self._show(container, services)
        if services is None and watched.stopping_since:
            self._look_again_after_stop(container, watched.stopping_since)
        wanted = [self._desired(container, watched, one) for one in services or ()]
        self._writer.reconcile(self._catalog.set_desired(container, wanted))
        if services is None and watched.snapshot and not watched.snapshot.running:
            del self._containers[container]

    def _services_of(self, snapshot: ContainerSnapshot) -> tuple[Registration, ...]:
        options = replace(self._options.rules, host_address=self._host_address)
        decision = registrations(snapshot.container, options)
        if snapshot.id not in self._services:
            for note in decision.notes:
                level = logging.WARNING if note.mistake else logging.INFO
                log.log(level, "%s", note, extra={"container": snapshot.container.name.removeprefix("/")})
        return decision.registrations

    def _desired(self, container: str, watched: ContainerState, registration: Registration) -> DesiredService:
        started_at = watched.snapshot.started_at if watched.snapshot else 0
        return DesiredService(registration, ownership_tag(self._catalog.owner, container, registration), started_at)

    def _show(self, container: str, services: tuple[Registration, ...] | None) -> None:
        if self._services.get(container) == services:
            return
        others = {key: value for key, value in self._services.items() if key != container}
        self._services = others if services is None else {**others, container: services}

    def _forget(self, container: str) -> None:
        self._containers.pop(container, None)
        self._show(container, None)
        self._writer.reconcile(self._catalog.set_desired(container, ()))
        # what the agent still has of it may be one that was left as it was
        self._writer.reconcile(self._catalog.observed_of(container))

    def _look_again_after_stop(self, container: str, asked_at: int) -> None:
        """One that was asked to stop, and runs on, is not stopping."""

        def look_again() -> None:
            watched = self._containers.get(container)
            if watched is not None and watched.stopping_since == asked_at:
                watched.survived_until = asked_at
                self._inspect(container)

        passed = (time.time_ns() - asked_at) / 1e9
        self._loop.later(max(self._options.stop_timeout - passed, 0.0), look_again)

    def _moved(self, address: str) -> None:
        """The agent has told its address."""
        if address != self._host_address:
            log.info("services are at the agent's address", extra={"address": address})
            self._host_address = address
            for container in [key for key, watched in self._containers.items() if watched.snapshot]:
                self._apply(container)

    def _leave(self, container: str, done: threading.Event) -> None:
        ids = self._catalog.ids_of(container)
        watched = self._containers.setdefault(container, ContainerState())
        watched.begin_stop(time.time_ns())
        self._apply(container)
        self._writer.when_gone(ids, container, done)

    def _leave_all(self, done: threading.Event) -> None:
        self._leaving = True
        for container in list(self._containers):
            self._apply(container)
        # those too that were never looked at, and that the agent has from a life before
        self._writer.reconcile(self._catalog.ids())
        self._writer.when_reconciled(done)


@dataclass(frozen=True)
class ReconcilerState:
    """`docker` and `consul`: whether they answer. `complete`: every container was looked at once."""

    docker: bool
    consul: bool
    complete: bool
    containers: int
    services: int
    docker_disconnects: int
    writes: dict[str, int]
    failures: dict[str, int]

    @property
    def healthy(self) -> bool:
        return self.docker and self.consul and self.complete
