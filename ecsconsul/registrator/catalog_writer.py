"""Tells one Consul agent what is due, and finds out what it has; what is wanted is put into the catalog by others.

One telling at a time for each ID, several IDs side by side. An agent that is away is asked for until it is back, and
then everything is compared anew; one that is there is compared now and then, for it may have lost what it was told.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from ..errors import LabError, Unreachable
from .catalog_state import Action, CatalogState, DesiredService
from .checks import Status
from .consul_client import ConsulClient
from .loop import Loop
from .ownership import ID_DIGITS, OwnershipTag, read_ownership_tag, with_ownership_tag
from .probe_schedule import CRITICAL_AFTER, ProbeSchedule, probe_status, schedule_probes

log = logging.getLogger(__name__)

WRITERS, INSPECTORS = 8, 32
COMPARE_SECONDS = 5.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
FIRST_REFUSAL_PAUSE, LONGEST_REFUSAL_PAUSE = 1.0, 60.0


@dataclass
class _Refused:
    """A telling that Consul refused; it is tried again, but not at once."""

    wanted: OwnershipTag | None
    pause: float
    until: float


@dataclass
class _Awaited:
    """Somebody waits until something is so."""

    is_so: Callable[[], bool]
    done: threading.Event


class CatalogWriter:
    """`reconcile` and both `when_` are called in the loop; `moved` is called there with the agent's own address."""

    def __init__(
        self,
        agent: ConsulClient,
        catalog: CatalogState,
        loop: Loop,
        moved: Callable[[str], None],
        *,
        asks_address: bool,
        wait_for_port: bool,
        period: float,
    ) -> None:
        self._agent = agent
        self._catalog = catalog
        self._loop = loop
        self._moved = moved
        self._asks_address = asks_address
        self._until_it_listens = wait_for_port
        self._period = min(period or COMPARE_SECONDS, COMPARE_SECONDS)
        self._busy: set[str] = set()
        self._told: dict[str, OwnershipTag | None] | None = None  # what was told since the comparison under way began
        self._schedules: dict[str, tuple[OwnershipTag, ProbeSchedule]] = {}
        self._doubted: set[str] = set()  # critical when the agent was asked first, be it only because it started anew
        self._refused: dict[str, _Refused] = {}
        self._awaited: list[_Awaited] = []
        self._pause = FIRST_PAUSE
        self._comparing = False
        self._retrying = False
        self._writers = ThreadPoolExecutor(WRITERS, "tell-consul")
        self._probers = ThreadPoolExecutor(INSPECTORS, "look")
        self.writes: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()

    @property
    def agent_answers(self) -> bool:
        return self._catalog.observed is not None

    def start(self) -> None:
        """Ask the agent who it is and what it has, before the loop runs. Raises LabError."""
        address = self._agent.address() if self._asks_address else ""
        self._catalog.observed = self._ask()
        self._doubted = self._agent.critical()
        if address:
            self._moved(address)
        self._loop.later(self._period, self._compare_again)

    def close(self) -> None:
        """When the loop has ended."""
        self._writers.shutdown(wait=False, cancel_futures=True)
        self._probers.shutdown(wait=False, cancel_futures=True)

    # deciding, in the loop

    def reconcile(self, ids: Iterable[str]) -> None:
        """Do what is due for each of these IDs."""
        for service_id in ids:
            self._reconcile(service_id)

    def when_gone(self, ids: tuple[str, ...], container: str, done: threading.Event) -> None:
        """Set `done` when the agent has none of these services of the container any more."""
        digits = container[:ID_DIGITS]
        self._awaited.append(_Awaited(lambda: not any(self._may_have(one, digits) for one in ids), done))
        self._tell_who_waits()

    def when_reconciled(self, done: threading.Event) -> None:
        """Set `done` when the agent was told all that was due to it."""
        self._awaited.append(_Awaited(self._is_reconciled, done))
        self._tell_who_waits()

    def _reconcile(self, service_id: str) -> None:
        deed = self._catalog.diff(service_id)
        wanted = self._catalog.desired(service_id)
        if wanted is None:
            self._schedules.pop(service_id, None)
        if service_id in self._busy or self._is_put_off(service_id, wanted):
            return
        if deed is None:
            self._look_at_doubted(service_id, wanted)
            self._show_as_well(service_id, wanted)
            return
        if deed == "deregister":
            self._tell(service_id, deed, None, partial(self._agent.deregister, service_id))
            return
        assert wanted is not None
        schedule = self._schedule(service_id, wanted)
        if schedule is None or schedule.is_decided(time.monotonic()):
            self._register(service_id, wanted, schedule)

    def _register(self, service_id: str, wanted: DesiredService, schedule: ProbeSchedule | None) -> None:
        status: Status | None = (schedule.status or "critical") if schedule else None
        if schedule:
            schedule.registered = status
        payload = with_ownership_tag(wanted.registration.payload(status), wanted.tag)
        self._tell(service_id, "register", wanted.tag, partial(self._agent.register, payload))

    def _is_put_off(self, service_id: str, wanted: DesiredService | None) -> bool:
        refused = self._refused.get(service_id)
        if refused is None:
            return False
        if refused.wanted == (wanted and wanted.tag):
            return time.monotonic() < refused.until
        del self._refused[service_id]
        return False

    # telling

    def _tell(self, service_id: str, deed: Action, tag: OwnershipTag | None, call: Callable[[], None]) -> None:
        self._busy.add(service_id)
        self._writers.submit(self._call, service_id, deed, tag, call)

    def _call(self, service_id: str, deed: Action, tag: OwnershipTag | None, call: Callable[[], None]) -> None:
        """In a thread of its own."""
        error: LabError | None = None
        try:
            call()
        except LabError as failure:
            error = failure
        self._loop.post(partial(self._was_told, service_id, deed, tag, error))

    def _was_told(self, service_id: str, deed: Action, tag: OwnershipTag | None, error: LabError | None) -> None:
        self._busy.discard(service_id)
        if error is None:
            self._keep(service_id, deed, tag)
        elif isinstance(error, Unreachable):
            self.failures[deed] += 1
            self._away(error)
        else:
            self.failures[deed] += 1
            self._was_refused(service_id, deed, tag, error)
        self._reconcile(service_id)
        self._tell_who_waits()

    def _keep(self, service_id: str, deed: Action, tag: OwnershipTag | None) -> None:
        self.writes[deed] += 1
        self._refused.pop(service_id, None)
        log.info("added" if deed == "register" else "removed", extra={"id": service_id})
        if self._told is not None:
            self._told[service_id] = tag
        if self._catalog.observed is None:
            return
        if tag is None:
            self._catalog.observed.pop(service_id, None)
        else:
            self._catalog.observed[service_id] = tag

    def _was_refused(self, service_id: str, deed: Action, tag: OwnershipTag | None, error: LabError) -> None:
        before = self._refused.get(service_id)
        pause = min(before.pause * 2, LONGEST_REFUSAL_PAUSE) if before else FIRST_REFUSAL_PAUSE
        self._refused[service_id] = _Refused(tag, pause, time.monotonic() + pause)
        log.error("Consul refuses to %s", deed, extra={"id": service_id, "error": str(error), "again_in": pause})
        self._loop.later(pause + 0.01, partial(self._reconcile, service_id))

    def _tell_who_waits(self) -> None:
        for one in list(self._awaited):
            if one.is_so():
                one.done.set()
                self._awaited.remove(one)

    def _may_have(self, service_id: str, container: str) -> bool:
        if self._catalog.observed is None or service_id in self._busy:
            return True
        tag = self._catalog.observed.get(service_id)
        return tag is not None and tag.container == container

    def _is_reconciled(self) -> bool:
        if self._catalog.observed is None or self._busy:
            return False
        return not any(self._catalog.diff(service_id) for service_id in self._catalog.ids())

    # schedule

    def _schedule(self, service_id: str, wanted: DesiredService) -> ProbeSchedule | None:
        """The looks at a service, begun when there were none yet."""
        tag, schedule = self._schedules.get(service_id, (None, None))
        if tag != wanted.tag or schedule is None:
            now = time.monotonic()
            schedule = schedule_probes(wanted.registration, now, wait_for_port=self._until_it_listens)
            if schedule is not None:
                self._schedules[service_id] = (wanted.tag, schedule)
                self._look(service_id, schedule)
                self._loop.later(CRITICAL_AFTER, partial(self._reconcile, service_id))
        return schedule

    def _look(self, service_id: str, schedule: ProbeSchedule) -> None:
        if self._is_current(service_id, schedule):
            self._probers.submit(self._see, service_id, schedule)

    def _see(self, service_id: str, schedule: ProbeSchedule) -> None:
        """In a thread of its own."""
        status = probe_status(schedule.probe, schedule.behind)
        self._loop.post(partial(self._saw, service_id, schedule, status))

    def _saw(self, service_id: str, schedule: ProbeSchedule, status: Status) -> None:
        if not self._is_current(service_id, schedule):
            return
        schedule.status = status
        if (pause := schedule.pause(time.monotonic())) is not None:
            self._loop.later(pause, partial(self._look, service_id, schedule))
        self._reconcile(service_id)

    def _is_current(self, service_id: str, schedule: ProbeSchedule) -> bool:
        return self._schedules.get(service_id, (None, None))[1] is schedule

    def _look_at_doubted(self, service_id: str, wanted: DesiredService | None) -> None:
        """Consul's own next look may be a whole interval away."""
        if wanted is not None and service_id in self._doubted:
            self._doubted.discard(service_id)
            schedule = self._schedule(service_id, wanted)
            if schedule is not None:
                schedule.registered = "critical"

    def _show_as_well(self, service_id: str, wanted: DesiredService | None) -> None:
        """What is shown as critical, and is well, is registered anew, unless Consul has seen it itself.

        Consul keeps the status of a check that it knows, so what is there must go first.
        """
        schedule = self._schedules.get(service_id, (None, None))[1]
        if wanted is None or schedule is None or not schedule.recovered or self._catalog.observed is None:
            return
        schedule.registered = schedule.status
        payload = with_ownership_tag(wanted.registration.payload(schedule.status), wanted.tag)

        def renew() -> None:
            if self._agent.is_critical(service_id):
                self._agent.deregister(service_id)
                self._agent.register(payload)

        self._tell(service_id, "register", wanted.tag, renew)

    # comparing

    def _ask(self) -> dict[str, OwnershipTag | None]:
        return {service_id: read_ownership_tag(service) for service_id, service in self._agent.services().items()}

    def _compare_again(self) -> None:
        self._loop.later(self._period, self._compare_again)
        if not self._retrying:
            self._compare()

    def _compare(self) -> None:
        self._retrying = False
        if not self._comparing:
            self._comparing = True
            self._told = {}
            self._writers.submit(self._find, is_back=self._catalog.observed is None)

    def _find(self, *, is_back: bool) -> None:
        """In a thread of its own. An agent that is back may be another one, and has forgotten what its checks saw."""
        try:
            address = self._agent.address() if is_back and self._asks_address else ""
            found = self._ask()
            critical = self._agent.critical() if is_back else set()
        except LabError as error:
            self._loop.post(partial(self._not_found, error))
            return
        self._loop.post(partial(self._found, found, critical, address))

    def _not_found(self, error: LabError) -> None:
        self._comparing = False
        self._told = None
        self._away(error)

    def _found(self, found: dict[str, OwnershipTag | None], critical: set[str], address: str) -> None:
        self._comparing = False
        self._pause = FIRST_PAUSE
        was_away = self._catalog.observed is None
        # what was told meanwhile, or is being told, is newer than the answer
        before = self._catalog.observed or {}
        newer = {**{key: before[key] for key in self._busy & set(before)}, **(self._told or {})}
        self._catalog.observed = {key: value for key, value in found.items() if key not in self._busy or key in newer}
        for service_id, tag in newer.items():
            if tag is None:
                self._catalog.observed.pop(service_id, None)
            else:
                self._catalog.observed[service_id] = tag
        self._told = None
        if was_away:
            log.info("Consul is back", extra={"services": len(self._catalog.owned())})
            # what was seen before it went says nothing of now
            self._schedules.clear()
            self._doubted = critical
        if address:
            self._moved(address)
        self.reconcile(self._catalog.ids())
        self._tell_who_waits()

    def _away(self, error: LabError) -> None:
        """Ask again and again until it answers; what it has is not known before."""
        if self._catalog.observed is not None:
            log.warning("Consul does not answer, trying again", extra={"error": str(error)})
        self._catalog.observed = None
        if not self._retrying:
            self._retrying = True
            self._loop.later(self._pause, self._compare)
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
