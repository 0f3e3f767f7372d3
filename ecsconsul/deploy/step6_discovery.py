"""Discovery: Consul sees every instance of every service passing (steps 13 and 14), which proves that the lab works."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import cached_property
from typing import Any

from ..consul.catalog import Consul, Instance, Refused
from ..errors import LabError, StepFailed, TargetAbsent, Unreachable
from ..targets.base import Target
from .endpoints import Endpoint, by_service, endpoints_of, ghosts_and_missing, standalone, without
from .step import Actual, BaseStep, Report

Catalog = Mapping[str, Sequence[Instance]]

DISCOVERY = "discovery"
# the length of one blocking query, in seconds; Ctrl-C takes effect between two of them
QUERY_SECONDS = 1.0
# how long Consul may be unreachable before discovery fails, in seconds: its servers were up when the stack completed
ACCESS_TIMEOUT = 60.0
# how long nothing may change in Consul before discovery fails, in seconds: slow programs have started by then
STEADY_TIMEOUT = 120.0
LOG_LINES = 5


class DiscoveryStep(BaseStep):
    """Creates nothing: checks the result of all other steps from a client's point of view.

    `passing` is the number of instances that each name must have, or have at least: ECS starts a daemon on each
    instance that joins. `owners` are the services that register the names, if they are called otherwise.
    """

    name = DISCOVERY

    def __init__(
        self,
        cluster: str,
        passing: Mapping[str, int],
        target: Target,
        needs: tuple[str, ...],
        *,
        timeout: float | None = None,
        owners: Mapping[str, str] | None = None,
        at_least: Set[str] = frozenset(),
    ) -> None:
        self.needs = needs
        self._owners = owners or {}
        self._at_least = at_least
        self._cluster = cluster
        self._passing = dict(passing)
        self._target = target
        self._timeout = target.polling.seconds if timeout is None else timeout

    @cached_property
    def _desired(self) -> dict[str, Any]:
        return {"passing": self._passing}

    def inspect(self) -> Actual | None:
        try:
            with self._target.consul() as address:
                catalog = address.client().catalog()
                return self.judge(catalog, self._apart(catalog))
        except TargetAbsent:
            raise
        except LabError as error:
            return self.unreachable(error)

    def unreachable(self, error: LabError) -> Actual:
        """The actual state when Consul does not answer."""
        return Actual(self.fingerprint, False, f"{error.what}: {error.why}")

    def judge(self, catalog: Catalog, apart: Sequence[Endpoint] = ()) -> Actual:
        """The actual state according to a catalog, as Consul.catalog() returns it, without the tasks that are `apart`.

        Those are standalone tasks, which register under the service's name unless their metadata says otherwise.
        """
        catalog = without(catalog, apart)
        passing = {name: self._counted(name, catalog.get(name, [])) for name in self._passing}
        return Actual(self.fingerprint, passing == self._passing, _detail(passing, self._passing))

    def _counted(self, name: str, instances: Sequence[Instance]) -> int:
        """The passing instances of a name; no more than desired where more are fine."""
        found = _passing(instances)
        return min(found, self._passing[name]) if name in self._at_least else found

    def apply(self, actual: Actual | None, report: Report) -> str:
        watch = _Watch(self._timeout, self._passing.keys())
        # however little time there is, Consul is asked once
        while True:
            try:
                with self._target.consul() as address:
                    if detail := self._await_passing(address.client(), watch, report):
                        return detail
            except (Unreachable, Refused) as error:
                # the connection or tunnel may be broken: open another one
                if watch.record_error(error):
                    report.say(f"{error.what}: {error.why}")
                report.wait(self._target.polling.delay)
            if not watch.has_time():
                raise self._failure(watch)

    def destroy(self, report: Report) -> str:
        return "nothing to delete"

    def _await_passing(self, consul: Consul, watch: _Watch, report: Report) -> str | None:
        """The state when every service is as desired; None when time is up. One query covers all services."""
        index, last, asked, delay = 0, "", 0.0, self._target.polling.delay
        while True:
            index, catalog = consul.next_catalog(index, min(QUERY_SECONDS, self._timeout))
            watch.record(catalog)
            actual = self.judge(catalog)
            if actual.detail == last and time.monotonic() - asked >= delay:
                # nothing more is on its way, so ECS is asked whether the surplus is its services' at all
                asked = time.monotonic()
                actual = self.judge(catalog, self._apart(catalog))
            if actual.ready:
                return actual.detail
            if actual.detail != last:
                last = actual.detail
                report.say(last)
            # notices Ctrl-C, and limits how often a busy catalog is queried
            report.wait(min(delay, QUERY_SECONDS / 10))
            if not watch.has_time():
                return None

    def _failure(self, watch: _Watch) -> StepFailed:
        if watch.error:
            return StepFailed(
                "Consul can't be reached; the services may be healthy",
                where=f"step {self.name}",
                why=f"{watch.error}\nfor {watch.seconds_unreachable():.0f} s",
                hint=watch.error.hint or "`ecsconsul doctor` checks the access to it",
            )
        instances = {name: watch.catalog.get(name, []) for name in self._passing}
        failing = [name for name, count in self._passing.items() if self._counted(name, instances[name]) != count]
        return StepFailed(
            f"Consul does not see {', '.join(failing)} as desired",
            where=f"step {self.name}",
            why="\n".join([*self._reasons(failing, instances), f"timed out after {watch.seconds():.0f} s"]),
            hint="`ecsconsul status` shows every instance and its checks",
        )

    def _reasons(self, failing: Sequence[str], instances: Mapping[str, Sequence[Instance]]) -> Iterator[str]:
        """For each service its checks, its ghosts and unregistered tasks, and its last log lines."""
        endpoints = self._endpoints()
        for name in failing:
            yield _checks(name, self._passing[name], instances[name])
            if endpoints is not None:
                owner = self._owners.get(name, name)
                own = endpoints.get(owner, [])
                yield from _unjoined(instances[name], own)
                yield from self._log(owner, _failing(instances[name], own))

    def _log(self, service: str, task: str | None) -> list[str]:
        """The last log lines of a task."""
        if task is None:
            return []
        try:
            lines = self._target.last_lines(service, LOG_LINES, task)[-LOG_LINES:]
        except LabError as error:
            return [str(error)]
        title = f"last log lines of {service}, task {task[:8]}:"
        return [title, *(f"  {line.text}" for line in lines)] if lines else []

    def _apart(self, catalog: Catalog) -> list[Endpoint]:
        """The standalone tasks; ECS is only asked for them if Consul lists more instances than are desired."""
        if all(_passing(catalog.get(name, [])) <= count for name, count in self._passing.items()):
            return []
        return standalone(self._tasks() or ())

    def _endpoints(self) -> Mapping[str, list[Endpoint]] | None:
        """Each service's endpoints; None if ECS can't be asked."""
        tasks = self._tasks()
        return None if tasks is None else by_service(tasks)

    def _tasks(self) -> list[Endpoint] | None:
        """All tasks' endpoints; None if ECS can't be asked, which must not hide what is known already."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return endpoints_of(self._target.client("ecs"), self._cluster)
        except (LabError, BotoCoreError, ClientError):
            return None


class _Watch:
    """The latest catalog, and how much longer to wait for a change."""

    def __init__(self, timeout: float, services: Set[str]) -> None:
        self._started = self._changed_at = time.monotonic()
        self._timeout = timeout
        self._services = services
        self._state: dict[str, str] = {}
        self._unreachable_since = 0.0
        self.catalog: Mapping[str, Sequence[Instance]] = {}
        self.error: LabError | None = None

    def has_time(self) -> bool:
        if time.monotonic() - self._changed_at >= STEADY_TIMEOUT:
            return False
        return self.seconds() < self._timeout and self.seconds_unreachable() < ACCESS_TIMEOUT

    def seconds(self) -> float:
        return time.monotonic() - self._started

    def record(self, catalog: Mapping[str, Sequence[Instance]]) -> None:
        if self.error:
            # while Consul was unreachable, nobody knows whether anything changed
            self._changed_at = time.monotonic()
        self.catalog, self.error = catalog, None
        state = {i.id: i.status for name in self._services for i in catalog.get(name, [])}
        if state != self._state:
            self._state, self._changed_at = state, time.monotonic()

    def record_error(self, error: LabError) -> bool:
        """Whether the error is a new one."""
        before, self.error = self.error, error
        if before is None:
            self._unreachable_since = time.monotonic()
        return str(before) != str(error)

    def seconds_unreachable(self) -> float:
        return time.monotonic() - self._unreachable_since if self.error else 0.0


def _checks(name: str, desired: int, instances: Sequence[Instance]) -> str:
    """How many instances of a service pass, and every check that doesn't."""
    failing = [(i.id, check) for i in instances for check in i.checks if check.status != "passing"]
    lines = [f"{instance}: {check.name}: {check.status}: {check.output}" for instance, check in failing]
    return "\n".join([f"{name}: {_passing(instances)} of {desired} passing", *lines])


def _unjoined(instances: Sequence[Instance], endpoints: Sequence[Endpoint]) -> Iterator[str]:
    """The instances of a service that only Consul knows, and the tasks that only ECS knows."""
    ghosts, missing = ghosts_and_missing(instances, endpoints)
    yield from (f"{ghost}: a ghost, registered without a running task" for ghost in ghosts or ())
    yield from (f"task {task[:8]} is running but not registered in Consul" for task in missing or ())


def _failing(instances: Sequence[Instance], endpoints: Sequence[Endpoint]) -> str | None:
    """A running task that doesn't pass; None if all do, or it can't be told."""
    passing = {(instance.node, instance.port) for instance in instances if instance.status == "passing"}
    found = (one.task for one in endpoints if passing.isdisjoint((one.node, port) for port in one.ports))
    return next(found, None)


def _passing(instances: Sequence[Instance]) -> int:
    return sum(instance.status == "passing" for instance in instances)


def _detail(actual: Mapping[str, int], desired: Mapping[str, int]) -> str:
    if actual == desired:
        return f"{sum(desired.values())} of {sum(desired.values())} instances passing"
    different = [f"{name} {actual[name]}/{count}" for name, count in desired.items() if actual[name] != count]
    return ", ".join(different) + " passing"
