"""Keeps one Consul agent's services in step with one container engine's running containers.

    event_stream.py     the engine's events, in a thread of its own
    container_state.py  what is known about each container, and whether it belongs in the catalog
    rules.py            the services of a container
    catalog_state.py    desired and observed services, and the action each ID needs
    catalog_writer.py   probes and writes, and comparisons with the agent

One event loop owns all of this state. Blocking requests run in bounded pools of threads, and their results are applied
in the loop. An action is decided from the current state only: nothing is remembered as a task to do, so after any break
a comparison of both sides is enough.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterable
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
from .event_loop import EventLoop
from .event_stream import Connected, Disconnected, EventStream, Message, list_containers
from .ownership import ID_DIGITS, owner_of, ownership_tag
from .rules import Options, Registration, registrations

log = logging.getLogger(__name__)

INSPECTORS = 8
# All in seconds.
INSPECT_RETRY = 1.0
LIST_INTERVAL = 60.0  # events report every change, except those that the engine drops


@dataclass(frozen=True)
class ReconcilerOptions:
    """What to register, and how. If `rules.host_address` is "", the address of the agent's node is used."""

    rules: Options
    deregister_failed: bool = True
    cleanup: bool = False
    resync: float = 0.0  # seconds between full comparisons; 0: the default intervals
    stop_timeout: float = 120.0
    wait_for_port: bool = False


@dataclass(frozen=True)
class ReconcilerState:
    """`docker` and `consul`: whether they answer. `complete`: every container has been inspected."""

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


class Reconciler:
    """Call `start` once and `close` once; in between, any thread may call the other methods.

    Several Reconcilers can share an engine if each engine object has its own label.
    """

    def __init__(self, engine: Engine, consul: ConsulClient, options: ReconcilerOptions) -> None:
        self._engine = engine
        self._consul = consul
        self._options = options
        self._host_address = options.rules.host_address
        self._containers: dict[str, ContainerState] = {}
        self._uninspected: set[str] | None = None  # of the first listing; None before and after
        self._version = 0
        self._services: dict[str, tuple[Registration, ...]] = {}  # replaced, never changed: other threads read it
        self._loop = EventLoop("registrator")
        self._catalog = CatalogState(options.rules.hostname, options.cleanup)
        self._writer = CatalogWriter(
            consul,
            self._catalog,
            self._loop,
            self._set_host_address,
            read_address=not options.rules.host_address,
            wait_for_port=options.wait_for_port,
            interval=options.resync,
        )
        self._inspectors = ThreadPoolExecutor(INSPECTORS, "inspect")
        self._stream: EventStream | None = None
        self._engine_answers = False
        self._disconnects = 0
        self._closing = False  # from now on, nothing belongs in the catalog

    # --- from any thread

    def start(self) -> None:
        """Connect to both servers and begin. Raises LabError if one doesn't answer; then it may be called again."""
        self._catalog.owner = owner_of(self._engine.identity(), self._engine.label)
        self._writer.connect()
        since = time.time_ns() - int(self._options.stop_timeout * 10**9)
        publish = partial(self._loop.call, self._handle)
        self._stream = EventStream(self._engine, publish, since=since, include_ended=self._includes_ended)
        self._loop.start()
        self._loop.call(self._begin)
        self._stream.start()

    def services(self, container: str) -> tuple[Registration, ...] | None:
        """The services that a container has or is about to have; None if it isn't known yet or is deregistered."""
        return self._services.get(container)

    def use_token(self, token: str) -> None:
        """Send this ACL token to Consul from the next request on."""
        self._consul.use_token(token)

    def is_listed(self, container: str) -> bool:
        """Whether Consul's servers list all of a container's services as passing. Raises LabError."""
        services = self.services(container)
        if services is None:
            return False
        return all(one.id in self._consul.passing(one.name) for one in services)

    def leave(self, container: str, seconds: float) -> bool:
        """Deregister a container before it is stopped; True once the agent has done so, False after `seconds`.

        As after a stop signal, it is registered again if it still runs after the `stop_timeout`.
        """
        return self._loop.run(self._leave(container), seconds)

    def state(self) -> ReconcilerState:
        """The current state, for monitoring."""
        return ReconcilerState(
            docker=self._engine_answers,
            consul=self._writer.agent_answers,
            complete=self._catalog.complete,
            containers=len(self._services),
            services=sum(map(len, list(self._services.values()))),
            docker_disconnects=self._disconnects,
            writes=dict(self._writer.writes),
            failures=dict(self._writer.failures),
        )

    @property
    def ended(self) -> threading.Event:
        """Set once the Reconciler has stopped, whether closed or failed."""
        return self._loop.ended

    def close(self, *, keep: bool, seconds: float) -> None:
        """Stop. Unless they are kept, deregister all services first, which takes up to `seconds`."""
        if self._stream is not None:
            self._stream.stop(1.0)
            if not keep and not self._loop.run(self._leave_all(), seconds):
                log.warning("could not deregister all services in time", extra={"seconds": seconds})
            self._loop.stop(1.0)
        self._writer.close()
        self._inspectors.shutdown(wait=False, cancel_futures=True)
        self._engine.close()
        self._consul.close()

    # --- the engine's events; from here on everything runs in the event loop

    def _begin(self) -> None:
        self._writer.start()
        self._loop.spawn(self._list_forever())

    def _handle(self, message: Message) -> None:
        if isinstance(message, Connected):
            self._handle_connected(message.containers)
        elif isinstance(message, Disconnected):
            self._handle_disconnected(message.error)
        else:
            self._handle_event(message)

    def _handle_connected(self, containers: frozenset[str]) -> None:
        if not self._engine_answers:
            log.info("connected to the container engine", extra={"containers": len(containers)})
        self._engine_answers = True
        if not self._catalog.complete:
            self._uninspected = set(containers)
        self._inspect_all(containers)
        self._complete_once_inspected()

    def _handle_disconnected(self, error: LabError) -> None:
        if self._engine_answers:
            self._disconnects += 1
            log.warning("lost Docker's event stream, reconnecting", extra={"error": str(error)})
        self._engine_answers = False

    def _handle_event(self, event: Event) -> None:
        log.debug("event", extra={"action": event.action, "container": event.container[:ID_DIGITS]})
        state = self._containers.setdefault(event.container, ContainerState())
        followup = state.handle(event)
        if followup is Followup.INSPECT:
            self._inspect(event.container)
        elif followup is Followup.FORGET:
            self._forget(event.container)
        elif followup is Followup.RECONCILE:
            # an inspection in progress may have seen the container before this event; of signals it sees nothing
            state.version = self._next_version() if event.action != "kill" else state.version
            self._reconcile(event.container)

    # --- inspecting containers

    @property
    def _includes_ended(self) -> bool:
        """Exited containers matter only if the services of failed ones are retained."""
        return not self._options.deregister_failed

    async def _list_forever(self) -> None:
        while True:
            await asyncio.sleep(self._options.resync or LIST_INTERVAL)
            if self._engine_answers:
                await self._list()

    async def _list(self) -> None:
        listing = partial(list_containers, self._engine, include_ended=self._includes_ended)
        try:
            containers = await self._loop.in_thread(self._inspectors, listing)
        except LabError as error:
            log.warning("can't list containers", extra={"error": str(error)})
        else:
            self._inspect_all(containers)

    def _inspect_all(self, containers: Iterable[str]) -> None:
        """Inspect these and all known containers, because the listing may be older than what is known."""
        for container in {*containers, *self._containers}:
            self._inspect(container)

    def _inspect(self, container: str) -> None:
        state = self._containers.setdefault(container, ContainerState())
        state.version = self._next_version()
        self._loop.spawn(self._run_inspection(container, state.version))

    async def _run_inspection(self, container: str, version: int) -> None:
        """Inspect until the engine answers, or until the inspection is outdated."""
        while self._is_current(container, version):
            try:
                snapshot = await self._loop.in_thread(self._inspectors, self._engine.inspect, container)
            except LabError as error:
                log.debug("can't inspect", extra={"container": container[:ID_DIGITS], "error": str(error)})
                await asyncio.sleep(INSPECT_RETRY)
                continue
            if self._is_current(container, version):
                self._apply(container, snapshot)
            break
        self._complete_once_inspected()

    def _is_current(self, container: str, version: int) -> bool:
        state = self._containers.get(container)
        return state is not None and state.version == version

    def _apply(self, container: str, snapshot: ContainerSnapshot | None) -> None:
        if snapshot is None:
            self._forget(container)
        else:
            self._containers[container].update(snapshot)
            self._reconcile(container)

    def _complete_once_inspected(self) -> None:
        """Once every container of the first listing is known, services of any other container are ghosts."""
        if self._uninspected is None:
            return
        self._uninspected = {one for one in self._uninspected if self._is_uninspected(one)}
        if not self._uninspected:
            self._uninspected = None
            self._catalog.complete = True
            self._writer.reconcile(self._catalog.ids())

    def _is_uninspected(self, container: str) -> bool:
        state = self._containers.get(container)
        return state is not None and state.snapshot is None

    def _next_version(self) -> int:
        self._version += 1
        return self._version

    # --- from containers to services

    def _reconcile(self, container: str) -> None:
        """Update the catalog's desired state from what is known about a container."""
        state = self._containers[container]
        desired = state.desired(deregister_failed=self._options.deregister_failed)
        if desired is Desired.RETAINED:
            self._catalog.retain(container)
            self._set_services(container, None)
            return
        is_in = desired is Desired.REGISTERED and not self._closing
        services = self._services_of(state.snapshot) if is_in and state.snapshot else None
        self._set_services(container, services)
        if services is None and state.stopping_since:
            self._watch_stop(container, state.stopping_since)
        specs = [self._desired_service(container, state, one) for one in services or ()]
        self._writer.reconcile(self._catalog.set_desired(container, specs))
        if services is None and state.snapshot and not state.snapshot.running:
            del self._containers[container]

    def _services_of(self, snapshot: ContainerSnapshot) -> tuple[Registration, ...]:
        options = replace(self._options.rules, host_address=self._host_address)
        decision = registrations(snapshot.container, options)
        if snapshot.id not in self._services:
            for note in decision.notes:
                level = logging.WARNING if note.mistake else logging.INFO
                log.log(level, "%s", note, extra={"container": snapshot.container.name.removeprefix("/")})
        return decision.registrations

    def _desired_service(self, container: str, state: ContainerState, registration: Registration) -> DesiredService:
        started_at = state.snapshot.started_at if state.snapshot else 0
        return DesiredService(registration, ownership_tag(self._catalog.owner, container, registration), started_at)

    def _set_services(self, container: str, services: tuple[Registration, ...] | None) -> None:
        if self._services.get(container) == services:
            return
        others = {key: value for key, value in self._services.items() if key != container}
        self._services = others if services is None else {**others, container: services}

    def _forget(self, container: str) -> None:
        self._containers.pop(container, None)
        self._set_services(container, None)
        self._writer.reconcile(self._catalog.set_desired(container, ()))
        # the agent may still have services of this container that were retained
        self._writer.reconcile(self._catalog.observed_of(container))

    def _watch_stop(self, container: str, stopping_since: int) -> None:
        """Register a container again if it still runs after the stop timeout."""

        def check() -> None:
            state = self._containers.get(container)
            if state is not None and state.stopping_since == stopping_since:
                state.survived_until = stopping_since
                self._inspect(container)

        elapsed = (time.time_ns() - stopping_since) / 1e9
        self._loop.later(max(self._options.stop_timeout - elapsed, 0.0), check)

    def _set_host_address(self, address: str) -> None:
        if address == self._host_address:
            return
        log.info("using the address of the agent's node", extra={"address": address})
        self._host_address = address
        for container in [key for key, state in self._containers.items() if state.snapshot]:
            self._reconcile(container)

    async def _leave(self, container: str) -> None:
        ids = self._catalog.ids_of(container)
        self._containers.setdefault(container, ContainerState()).begin_stop(time.time_ns())
        self._reconcile(container)
        await self._writer.gone(ids, container)

    async def _leave_all(self) -> None:
        self._closing = True
        for container in list(self._containers):
            self._reconcile(container)
        # this includes services from an earlier run whose containers were never inspected
        self._writer.reconcile(self._catalog.ids())
        await self._writer.reconciled()
