"""Discovery: Consul sees every instance of every service passing (steps 13 and 14): the real "it works"."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from ..config.lab import Lab, ServiceSpec
from ..consul.catalog import Consul, Instance, Refused
from ..errors import LabError, StepFailed, TargetAbsent, Unreachable
from ..targets.base import Target
from .base_step import BaseStep
from .endpoints import Endpoint, endpoints_of, ghosts_and_missing
from .step import Actual, Report, fingerprint

DISCOVERY = "discovery"
# one blocking query; between two of them a Ctrl-C is heard
WAIT_SECONDS = 1.0
# how long Consul may be out of reach before that is the answer, in seconds: its servers were up when they were left
ACCESS_PATIENCE = 60.0
# how long what Consul sees may stay as it is, in seconds: every task runs, and slow programs have had time to start
STEADY_PATIENCE = 120.0
LOG_LINES = 5


class Discovery(BaseStep):
    """Nothing that is made: what all the other steps are for, looked at from where a client looks."""

    name = DISCOVERY

    def __init__(self, lab: Lab, target: Target, needs: tuple[str, ...]) -> None:
        self.needs = needs
        self._lab = lab
        self._target = target

    def wanted(self) -> dict[str, Any]:
        return {"passing": {service.name: service.count for service in self._lab.services}}

    def found(self) -> Actual | None:
        try:
            with self._target.consul() as address:
                return self.judge(Consul(address.http_host, address.http_port).catalog())
        except TargetAbsent:
            raise
        except LabError as error:
            return self.unseen(error)

    def unseen(self, error: LabError) -> Actual:
        """What is said when Consul says nothing."""
        return Actual(fingerprint(self.wanted()), False, f"{error.what}: {error.why}")

    def judge(self, catalog: Mapping[str, Sequence[Instance]]) -> Actual:
        """What a catalog, as consul.catalog() gives it, says of the lab."""
        seen = {s.name: _passing(catalog.get(s.name, [])) for s in self._lab.services}
        ready = all(seen[service.name] == service.count for service in self._lab.services)
        return Actual(fingerprint(self.wanted()), ready, _detail(seen, self.wanted()["passing"]))

    def apply(self, found: Actual | None, report: Report) -> str:
        seen_so_far = _Sight(self._target.patience.seconds, {service.name for service in self._lab.services})
        while seen_so_far.lasts():
            try:
                with self._target.consul() as address:
                    if detail := self._await_passing(Consul(address.http_host, address.http_port), seen_so_far, report):
                        return detail
            except (Unreachable, Refused) as error:
                # what leads to Consul may have broken, and is opened anew
                if seen_so_far.lost(error):
                    report.say(f"{error.what}: {error.why}")
                report.pause(self._target.patience.delay)
        raise self._failure(seen_so_far)

    def destroy(self, report: Report) -> str:
        return "nothing to take away"

    def _await_passing(self, consul: Consul, seen_so_far: _Sight, report: Report) -> str | None:
        """What is seen when every service is as wanted, None when time is over. One query tells of all services."""
        index, said = 0, ""
        while seen_so_far.lasts():
            index, catalog = consul.next_catalog(index, min(WAIT_SECONDS, self._target.patience.seconds))
            seen_so_far.saw(catalog)
            found = self.judge(catalog)
            if found.ready:
                return found.detail
            if found.detail != said:
                said = found.detail
                report.say(said)
            # a Ctrl-C is heard here; and changes may come as fast as they are asked for
            report.pause(min(self._target.patience.delay, WAIT_SECONDS / 10))
        return None

    def _failure(self, seen_so_far: _Sight) -> StepFailed:
        if seen_so_far.error:
            return StepFailed(
                "Consul cannot be asked; the services may be well",
                where=f"step {self.name}",
                why=f"{seen_so_far.error}\nsince {seen_so_far.seconds_lost():.0f} s",
                hint=seen_so_far.error.hint or "`ecsconsul doctor` looks at what leads to it",
            )
        seen = {service.name: seen_so_far.catalog.get(service.name, []) for service in self._lab.services}
        wrong = [service for service in self._lab.services if _passing(seen[service.name]) != service.count]
        return StepFailed(
            f"Consul does not see {', '.join(service.name for service in wrong)} as wanted",
            where=f"step {self.name}",
            why="\n".join([*self._reasons(wrong, seen), f"not after {seen_so_far.seconds():.0f} s"]),
            hint="`ecsconsul status` shows every instance and its checks",
        )

    def _reasons(self, wrong: Sequence[ServiceSpec], seen: Mapping[str, Sequence[Instance]]) -> Iterator[str]:
        """Of each service what Consul sees, what of it ECS does not run, or runs unseen, and what it wrote last."""
        endpoints = self._endpoints()
        for service in wrong:
            yield _why(service, seen[service.name])
            if endpoints is not None:
                yield from _unjoined(seen[service.name], [one for one in endpoints if one.service == service.name])
            lines = self._target.last_lines(service.name, LOG_LINES)[-LOG_LINES:]
            if lines:
                yield from (f"the last log lines of {service.name}:", *(f"  {line.text}" for line in lines))

    def _endpoints(self) -> list[Endpoint] | None:
        """Where ECS's tasks listen; None where it cannot be asked, which must not hide what is known already."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return endpoints_of(self._target.client("ecs"), self._lab.name)
        except (LabError, BotoCoreError, ClientError):
            return None


class _Sight:
    """What was seen of Consul last, and how long there is still to look."""

    def __init__(self, patience: float, services: Set[str]) -> None:
        self._begun = self._changed_at = time.monotonic()
        self._patience = patience
        self._services = services
        self._state: dict[str, str] = {}
        self._lost_at = 0.0
        self.catalog: Mapping[str, Sequence[Instance]] = {}
        self.error: LabError | None = None

    def lasts(self) -> bool:
        steady = time.monotonic() - self._changed_at
        return self.seconds() < self._patience and self.seconds_lost() < ACCESS_PATIENCE and steady < STEADY_PATIENCE

    def seconds(self) -> float:
        """For how long it has been looked."""
        return time.monotonic() - self._begun

    def saw(self, catalog: Mapping[str, Sequence[Instance]]) -> None:
        if self.error:
            # while nothing is heard nobody knows whether it stays as it was
            self._changed_at = time.monotonic()
        self.catalog, self.error = catalog, None
        state = {i.id: i.status for name in self._services for i in catalog.get(name, [])}
        if state != self._state:
            self._state, self._changed_at = state, time.monotonic()

    def lost(self, error: LabError) -> bool:
        """Whether that says anything new."""
        before, self.error = self.error, error
        if before is None:
            self._lost_at = time.monotonic()
        return str(before) != str(error)

    def seconds_lost(self) -> float:
        """For how long nothing has been heard of Consul."""
        return time.monotonic() - self._lost_at if self.error else 0.0


def _why(service: ServiceSpec, instances: Sequence[Instance]) -> str:
    """What Consul sees of a service, with every check that does not pass."""
    failing = [(i.id, check) for i in instances for check in i.checks if check.status != "passing"]
    lines = [f"{instance}: {check.name}: {check.status}: {check.output}" for instance, check in failing]
    return "\n".join([f"{service.name}: {_passing(instances)} of {service.count} passing", *lines])


def _unjoined(instances: Sequence[Instance], own: Sequence[Endpoint]) -> Iterator[str]:
    """What of a service only Consul knows, and what only ECS."""
    ghosts, missing = ghosts_and_missing(instances, own)
    yield from (f"{ghost}: a ghost, no task stands behind it" for ghost in ghosts or ())
    yield from (f"task {task[:8]} runs, and Consul does not know it" for task in missing or ())


def _passing(instances: Sequence[Instance]) -> int:
    return sum(instance.status == "passing" for instance in instances)


def _detail(seen: dict[str, int], wanted: dict[str, int]) -> str:
    if seen == wanted:
        return f"{sum(wanted.values())} of {sum(wanted.values())} instances passing"
    return (
        ", ".join(f"{name} {seen[name]}/{count}" for name, count in wanted.items() if seen[name] != count) + " passing"
    )
