"""A canary: a few tasks of a new revision beside the old ones, which Consul must see passing for a while.

They belong to an ECS service of their own, SERVICE-canary, so that ECS neither counts them among the old tasks nor
stops those. The Registrator takes names from the containers' variables, so Consul lists them under the service's own
name. The canary's tag says what it is: whichever command comes next after a crash removes it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import structs

from ..aws_tags import LAB_TAG, as_items, as_mapping
from ..config.lab import Lab, ServiceSpec
from ..consul.catalog import Consul, Instance
from ..errors import StepFailed
from ..polling import PollingPolicy, poll_until
from ..targets.base import Target
from .capacity_provider import CAPACITY_PROVIDER, strategy_of
from .endpoints import Endpoint, endpoints_of
from .rollout import Rollout, counts
from .service_poller import ServicePoller
from .step import Actual, Report, UnwantedStep
from .step5_services import PLACEMENT, delete_service

CANARY_TAG = "ecsconsul:canary-of"
SUFFIX = "-canary"
# A canary that fails is removed, and not rolled back.
DEPLOYMENT = {"minimumHealthyPercent": 100, "maximumPercent": 200}
# what is said of a task that Consul doesn't list
GONE = "isn't in Consul"
# the length of one blocking query, and how often a busy catalog is read at most, in seconds
QUERY_SECONDS, QUERY_DELAY = 1.0, 0.1
# how long a task that ECS calls healthy may take until Consul does, in seconds
FIRST_PASS_SECONDS = 120.0
# how long ECS may take to describe why a task stopped that Consul no longer lists, in seconds
REASON_SECONDS = 20.0


@dataclass(frozen=True)
class CanarySettings:
    """How many tasks a canary has, and how long Consul must see them passing, in seconds."""

    tasks: int
    seconds: float


def canary_name(service: str) -> str:
    """The name of a service's canary in ECS."""
    return f"{service}{SUFFIX}"


def canary_of(service: Mapping[str, Any]) -> str:
    """The service that an ECS service is the canary of; empty if it is none."""
    return as_mapping(service.get("tags")).get(CANARY_TAG, "")


def with_canaries(endpoints: Mapping[str, Sequence[Endpoint]], lab: Lab) -> dict[str, list[Endpoint]]:
    """The endpoints of each service of the lab, with those of its canary, which has the same name in Consul."""
    return {
        service.name: [*endpoints.get(service.name, ()), *canary_endpoints(endpoints, lab, service.name)]
        for service in lab.services
    }


def canary_endpoints(endpoints: Mapping[str, Sequence[Endpoint]], lab: Lab, service: str) -> Sequence[Endpoint]:
    """The endpoints of a service's canary; a service of the config may have such a name too."""
    name = canary_name(service)
    return () if lab.service(name) else endpoints.get(name, ())


class Canary:
    """The canary of one service, which runs `arn`."""

    def __init__(self, lab: Lab, service: ServiceSpec, arn: str, target: Target, poller: ServicePoller) -> None:
        self._lab = lab
        self._service = service
        self._name = canary_name(service.name)
        self._arn = arn
        self._target = target
        self._poller = poller
        spec = structs.replace(service, name=self._name)
        self._rollout = Rollout(lab, spec, arn, target, poller, canary_of=service.name)

    def run(self, settings: CanarySettings, report: Report) -> None:
        """Start the tasks, and return once Consul has seen them passing for long enough. Raises StepFailed."""
        report.in_progress(f"the canary {self._name}; the next `deploy`, `rollback`, `up` or `down` removes it")
        since = time.time()
        self._rollout.started_as(self._create(settings.tasks))
        report.say(f"canary: starting {_tasks(settings.tasks)}")
        self._rollout.await_stable(report, since)
        self._watch(settings, report)

    def remove(self, report: Report) -> None:
        """Delete it, and wait until its tasks have stopped."""
        report.say("canary: removing its tasks")
        delete_service(self._lab, self._name, self._target, self._poller, report)
        report.in_progress("")

    def _create(self, tasks: int) -> dict[str, Any]:
        tags = {LAB_TAG: self._lab.name, CANARY_TAG: self._service.name}
        strategy = strategy_of(self._lab)
        created = self._target.client("ecs").create_service(
            cluster=self._lab.name,
            serviceName=self._name,
            taskDefinition=self._arn,
            desiredCount=tasks,
            deploymentConfiguration=DEPLOYMENT,
            tags=as_items(tags),
            **PLACEMENT,
            **({"capacityProviderStrategy": strategy} if strategy else {"launchType": "EC2"}),
        )
        return dict(created["service"])

    def _watch(self, settings: CanarySettings, report: Report) -> None:
        """Follow the catalog until all tasks have passed for long enough, without a break. Raises StepFailed."""
        deadline = time.monotonic() + min(FIRST_PASS_SECONDS, self._target.polling.seconds)
        watch = _Watch(self._endpoints(), settings.seconds, deadline)
        with self._target.consul() as address:
            for problems in watch.follow(address.client(), report):
                if problems and (watch.has_passed or watch.is_late()):
                    raise self._failure(problems, settings, report)
        report.say(f"canary: passing for {settings.seconds:g} s")

    def _endpoints(self) -> list[Endpoint]:
        found = endpoints_of(self._target.client("ecs"), self._lab.name)
        return [endpoint for endpoint in found if endpoint.service == self._name]

    def _failure(self, problems: Sequence[str], settings: CanarySettings, report: Report) -> StepFailed:
        """Why the canary failed; ECS's reason if one of its tasks has stopped."""
        policy = PollingPolicy(self._target.polling.delay, 1)
        if any(text.endswith(GONE) for text in problems):
            policy = PollingPolicy(policy.delay, max(1, round(REASON_SECONDS / max(policy.delay, 0.05))))
        try:
            return poll_until(self._rollout.failure_of_task, policy, report.wait)
        except TimeoutError:
            what = f"The canary of {self._service.name} didn't pass for {settings.seconds:g} s"
            why = "\n".join([*problems, *self._rollout.log_of_newest()])
            hint = f"fix the cause and run `ecsconsul deploy {self._service.name}` again"
            return StepFailed(what, where=f"step services/{self._service.name}", why=why, hint=hint)


class _Watch:
    """What Consul says of the canary's endpoints, and since when all of them pass."""

    def __init__(self, endpoints: Sequence[Endpoint], seconds: float, deadline: float) -> None:
        self._endpoints = endpoints
        self._seconds = seconds
        self._deadline = deadline
        self._passing_since: float | None = None

    @property
    def has_passed(self) -> bool:
        """Whether all have passed at least once."""
        return self._passing_since is not None

    def is_late(self) -> bool:
        """Whether they should have passed by now."""
        return time.monotonic() > self._deadline

    def follow(self, consul: Consul, report: Report) -> Iterator[list[str]]:
        """The problems in each state of the catalog; ends when there have been none for long enough."""
        index = 0
        while True:
            index, catalog = consul.next_catalog(index, min(QUERY_SECONDS, self._left()))
            problems = problems_of(self._endpoints, (one for some in catalog.values() for one in some))
            yield problems
            if not problems and self._passing_since is None:
                self._passing_since = time.monotonic()
                report.say(f"canary: passing; watching it for {self._seconds:g} s")
            if self._left() <= 0:
                return
            report.wait(min(QUERY_DELAY, self._left()))

    def _left(self) -> float:
        """How many more seconds they have to pass."""
        if self._passing_since is None:
            return self._seconds
        return self._seconds - (time.monotonic() - self._passing_since)


def problems_of(endpoints: Sequence[Endpoint], instances: Iterable[Instance]) -> list[str]:
    """Why the endpoints aren't all registered and passing, a line for each; pure."""
    by_port: dict[tuple[str, int], Instance] = {(one.node, one.port): one for one in instances}
    found: list[str] = [] if endpoints else [f"its task {GONE}"]
    for endpoint in endpoints:
        own = [by_port[key] for key in ((endpoint.node, port) for port in endpoint.ports) if key in by_port]
        if not own:
            found.append(f"task {endpoint.task[:8]} {GONE}")
        checks = [check for one in own for check in one.checks if check.status != "passing"]
        found += [f"task {endpoint.task[:8]}: {one.name}: {one.status}: {one.output.strip()}" for one in checks]
    return found


class CanaryLeftover(UnwantedStep):
    """A canary that an interrupted `deploy` left behind; its desired state is to be absent."""

    # reversed by `down`: the cluster can be deleted only after its services
    needs = ("stack", CAPACITY_PROVIDER)

    def __init__(self, lab: Lab, service: str, target: Target, poller: ServicePoller) -> None:
        self.name = f"canary/{service}"
        self._lab = lab
        self._canary = canary_name(service)
        self._service = service
        self._target = target
        self._poller = poller

    def inspect(self) -> Actual | None:
        service = self._poller.describe(self._canary)
        if service is None or canary_of(service) != self._service:
            return None
        return Actual(None, True, f"{counts(service)}, the canary of a deployment that didn't end")

    def destroy(self, report: Report) -> str:
        return delete_service(self._lab, self._canary, self._target, self._poller, report)


def _tasks(count: int) -> str:
    return f"{count} task{'s' if count > 1 else ''}"
