"""Brings one Consul agent's services from their observed to their desired state.

Several IDs are written side by side, but each ID has one write at a time, and the next one is decided only after that.
While the agent doesn't answer, its state is unknown and nothing is written. Once it is back, and periodically,
everything is compared again, so no write has to be remembered.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from ..errors import LabError, Unreachable
from .catalog_state import Action, CatalogState, DesiredService
from .checks import Status
from .consul_client import ConsulClient
from .event_loop import EventLoop
from .ownership import ID_DIGITS, OwnershipTag, read_ownership_tag, with_ownership_tag
from .probe_schedule import ProbeSchedule, probe_status, schedule_probes

log = logging.getLogger(__name__)

WRITERS, PROBERS = 8, 32
# All in seconds.
COMPARE_INTERVAL = 5.0
MIN_BACKOFF, MAX_BACKOFF = 0.1, 2.0
MIN_REFUSAL_BACKOFF, MAX_REFUSAL_BACKOFF = 1.0, 60.0


@dataclass(frozen=True)
class _Write:
    """`tag` is the ownership tag that the agent has afterwards."""

    service_id: str
    action: Action
    tag: OwnershipTag | None
    request: Callable[[], None]


@dataclass(frozen=True)
class _Refusal:
    """Consul refused to bring about this tag; don't try again before `until`."""

    tag: OwnershipTag | None
    backoff: float
    until: float


@dataclass(frozen=True)
class _Reading:
    """What the agent has; `critical` and `address` only when it is read for the first time or after an outage."""

    services: dict[str, OwnershipTag | None]
    critical: set[str]
    address: str


class CatalogWriter:
    """`connect` comes first, then `start`; from then on everything runs in the event loop.

    `on_address` is called with the address of the agent's node whenever that is read.
    """

    def __init__(
        self,
        consul: ConsulClient,
        catalog: CatalogState,
        loop: EventLoop,
        on_address: Callable[[str], None],
        *,
        read_address: bool,
        wait_for_port: bool,
        interval: float,
    ) -> None:
        self._consul = consul
        self._catalog = catalog
        self._loop = loop
        self._on_address = on_address
        self._read_address = read_address
        self._wait_for_port = wait_for_port
        self._interval = min(interval or COMPARE_INTERVAL, COMPARE_INTERVAL)
        self._writing: set[str] = set()
        self._written: dict[str, OwnershipTag | None] = {}  # since the last comparison began
        self._schedules: dict[str, tuple[OwnershipTag, ProbeSchedule]] = {}
        self._suspects: set[str] = set()  # critical when first read, perhaps only because the agent restarted
        self._refusals: dict[str, _Refusal] = {}
        self._changed = asyncio.Event()
        self._disconnected = asyncio.Event()
        self._writers = ThreadPoolExecutor(WRITERS, "consul")
        self._probers = ThreadPoolExecutor(PROBERS, "probe")
        self.writes: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()

    @property
    def agent_answers(self) -> bool:
        return self._catalog.observed is not None

    def connect(self) -> None:
        """Read the agent's state, before the loop starts. Raises LabError."""
        self._accept(self._read(after_outage=True))

    def start(self) -> None:
        self._loop.spawn(self._compare_forever())

    def close(self) -> None:
        """Release the threads, after the loop has ended."""
        self._writers.shutdown(wait=False, cancel_futures=True)
        self._probers.shutdown(wait=False, cancel_futures=True)

    def reconcile(self, ids: Iterable[str]) -> None:
        """Start whatever these IDs need."""
        for service_id in ids:
            self._reconcile(service_id)

    async def gone(self, ids: Iterable[str], container: str) -> None:
        """Return once the agent has none of these services of the container."""
        digits = container[:ID_DIGITS]
        while any(self._may_have(service_id, digits) for service_id in ids):
            await self._changed.wait()

    async def reconciled(self) -> None:
        """Return once no ID needs a write."""
        while not self._is_reconciled():
            await self._changed.wait()

    # --- deciding

    def _reconcile(self, service_id: str) -> None:
        desired = self._catalog.desired(service_id)
        if desired is None:
            self._schedules.pop(service_id, None)
        if service_id in self._writing or self._is_deferred(service_id, desired):
            return
        action = self._catalog.diff(service_id)
        if action == "deregister":
            self._begin(_Write(service_id, action, None, partial(self._consul.deregister, service_id)))
        elif desired and action == "register":
            self._register_when_decided(service_id, desired)
        elif desired and self.agent_answers:
            self._probe_suspect(service_id, desired)
            self._renew_recovered(service_id, desired)

    def _register_when_decided(self, service_id: str, desired: DesiredService) -> None:
        schedule = self._schedule(service_id, desired)
        if schedule and not schedule.is_decided(time.monotonic()):
            return
        status: Status | None = (schedule.status or "critical") if schedule else None
        if schedule:
            schedule.registered = status
        payload = with_ownership_tag(desired.registration.payload(status), desired.tag)
        self._begin(_Write(service_id, "register", desired.tag, partial(self._consul.register, payload)))

    def _renew_recovered(self, service_id: str, desired: DesiredService) -> None:
        """Register a service again that was registered as critical and is healthy now, unless Consul has noticed.

        Consul keeps the status of a check that it already has, so a check with another ID replaces it. The service
        stays in the catalog meanwhile.
        """
        schedule = self._schedules.get(service_id, (None, None))[1]
        if schedule is None or not schedule.recovered:
            return
        schedule.registered = schedule.status
        status = schedule.status

        def renew() -> None:
            if check := self._consul.critical_check(service_id):
                payload = desired.registration.payload(status, replaces=check)
                self._consul.register(with_ownership_tag(payload, desired.tag))

        self._begin(_Write(service_id, "register", desired.tag, renew))

    def _is_deferred(self, service_id: str, desired: DesiredService | None) -> bool:
        refusal = self._refusals.get(service_id)
        if refusal is None:
            return False
        if refusal.tag == (desired and desired.tag):
            return time.monotonic() < refusal.until
        del self._refusals[service_id]
        return False

    def _may_have(self, service_id: str, container: str) -> bool:
        if self._catalog.observed is None or service_id in self._writing:
            return True
        tag = self._catalog.observed.get(service_id)
        return tag is not None and tag.container == container

    def _is_reconciled(self) -> bool:
        if not self.agent_answers or self._writing:
            return False
        return not any(self._catalog.diff(service_id) for service_id in self._catalog.ids())

    # --- writing

    def _begin(self, write: _Write) -> None:
        self._writing.add(write.service_id)
        self._loop.spawn(self._write(write))

    async def _write(self, write: _Write) -> None:
        try:
            await self._loop.in_thread(self._writers, write.request)
            self._record(write)
        except Unreachable as error:
            self.failures[write.action] += 1
            self._disconnect(error)
        except LabError as error:
            self.failures[write.action] += 1
            self._defer(write, error)
        finally:
            self._writing.discard(write.service_id)
        self._reconcile(write.service_id)
        self._notify()

    def _record(self, write: _Write) -> None:
        self.writes[write.action] += 1
        self._refusals.pop(write.service_id, None)
        log.info("%sed", write.action, extra={"id": write.service_id})
        self._written[write.service_id] = write.tag
        if self._catalog.observed is not None:
            _set(self._catalog.observed, write.service_id, write.tag)

    def _defer(self, write: _Write, error: LabError) -> None:
        previous = self._refusals.get(write.service_id)
        backoff = min(previous.backoff * 2, MAX_REFUSAL_BACKOFF) if previous else MIN_REFUSAL_BACKOFF
        self._refusals[write.service_id] = _Refusal(write.tag, backoff, time.monotonic() + backoff)
        details = {"id": write.service_id, "error": str(error), "retry_in": backoff}
        log.error("Consul refused to %s a service", write.action, extra=details)
        self._loop.later(backoff + 0.01, self._reconcile, write.service_id)

    def _notify(self) -> None:
        """Wake those who wait for a change."""
        self._changed.set()
        self._changed.clear()

    # --- probing

    def _schedule(self, service_id: str, desired: DesiredService) -> ProbeSchedule | None:
        """The service's probe schedule, started if there was none."""
        tag, schedule = self._schedules.get(service_id, (None, None))
        if tag != desired.tag or schedule is None:
            now = time.monotonic()
            schedule = schedule_probes(desired.registration, now, wait_for_port=self._wait_for_port)
            if schedule is not None:
                self._schedules[service_id] = (desired.tag, schedule)
                self._loop.spawn(self._probe(service_id, schedule))
                self._loop.later(schedule.patience, self._reconcile, service_id)
        return schedule

    async def _probe(self, service_id: str, schedule: ProbeSchedule) -> None:
        """Probe until the schedule ends or is replaced."""
        while self._is_current(service_id, schedule):
            status = await self._loop.in_thread(self._probers, probe_status, schedule.probe, schedule.behind)
            if not self._is_current(service_id, schedule):
                return
            schedule.status = status
            self._reconcile(service_id)
            pause = schedule.pause(time.monotonic())
            if pause is None:
                return
            await asyncio.sleep(pause)

    def _is_current(self, service_id: str, schedule: ProbeSchedule) -> bool:
        return self._schedules.get(service_id, (None, None))[1] is schedule

    def _probe_suspect(self, service_id: str, desired: DesiredService) -> None:
        """Probe a service that a restarted agent has as critical; its own check may be a whole interval away."""
        if service_id in self._suspects:
            self._suspects.discard(service_id)
            schedule = self._schedule(service_id, desired)
            if schedule is not None:
                schedule.registered = "critical"

    # --- comparing

    async def _compare_forever(self) -> None:
        """Compare at every interval; while the agent doesn't answer, retry with backoff."""
        backoff = MIN_BACKOFF
        while True:
            if self.agent_answers:
                backoff = MIN_BACKOFF
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._disconnected.wait(), self._interval)
            if not self.agent_answers:
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, MAX_BACKOFF)
            await self._compare()

    async def _compare(self) -> None:
        after_outage = not self.agent_answers
        self._written = {}
        try:
            reading = await self._loop.in_thread(self._writers, partial(self._read, after_outage=after_outage))
        except LabError as error:
            self._disconnect(error)
            return
        if after_outage == self.agent_answers:
            return  # lost while it was read: the agent may be a different one now
        self._accept(self._with_newer_writes(reading))
        if after_outage:
            log.info("Consul is back", extra={"services": len(self._catalog.owned())})
        self.reconcile(self._catalog.ids())
        self._notify()

    def _read(self, *, after_outage: bool) -> _Reading:
        """Runs in a thread. After an outage it may be another agent, and its checks have lost their status."""
        address = self._consul.address() if after_outage and self._read_address else ""
        services = {service_id: read_ownership_tag(one) for service_id, one in self._consul.services().items()}
        return _Reading(services, self._consul.critical() if after_outage else set(), address)

    def _with_newer_writes(self, reading: _Reading) -> _Reading:
        """The reading, corrected by the writes that finished since it began or are still in progress."""
        services = dict(reading.services)
        before = self._catalog.observed or {}
        for service_id in self._writing:
            _set(services, service_id, before.get(service_id))
        for service_id, tag in self._written.items():
            _set(services, service_id, tag)
        return _Reading(services, reading.critical, reading.address)

    def _accept(self, reading: _Reading) -> None:
        if not self.agent_answers:
            # results of probes from before the outage may be outdated
            self._schedules.clear()
            self._suspects = reading.critical
        self._catalog.observed = reading.services
        self._disconnected.clear()
        if reading.address:
            self._on_address(reading.address)

    def _disconnect(self, error: LabError) -> None:
        """The agent's state is unknown until it answers again."""
        if self.agent_answers:
            log.warning("Consul doesn't answer, retrying", extra={"error": str(error)})
        self._catalog.observed = None
        self._disconnected.set()


def _set(services: dict[str, OwnershipTag | None], service_id: str, tag: OwnershipTag | None) -> None:
    if tag is None:
        services.pop(service_id, None)
    else:
        services[service_id] = tag
