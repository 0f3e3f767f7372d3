"""Describes a cluster's ECS services for all steps at once, so that polling many of them takes few requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Container, Iterable
from typing import Any, TypeVar

from ..aws_tags import LAB_TAG, as_mapping
from ..polling import poll_until
from ..targets.base import Target
from ..targets.client_errors import items_of, unless_throttled
from .batching import DESCRIBE_SERVICES_MAX, LIST_SERVICES_MAX, Batcher, in_chunks
from .step import Report

T = TypeVar("T")
Service = dict[str, Any]

# how long a prefetched description may be used, in seconds
FRESH = 2.0


class ServicePoller:
    """The services of one cluster. Steps that wait at the same time poll together, once per delay."""

    def __init__(
        self, target: Target, cluster: str, names: Iterable[str] = (), *, timeout: float | None = None
    ) -> None:
        """`timeout` is the longest wait in seconds; by default the target's polling policy decides."""
        self.seen: dict[str, Service] = {}
        """The latest description of each service."""
        self._target = target
        self._cluster = cluster
        self._timeout = timeout
        self._now = Batcher(self._describe_batch, DESCRIBE_SERVICES_MAX)
        self._delayed = Batcher(self._describe_batch, DESCRIBE_SERVICES_MAX)
        self._prefetch = _Prefetch(self._describe_batch, names)

    def describe(self, name: str) -> Service | None:
        """The service as it is now; None when it doesn't exist, or its cluster doesn't.

        The first call for one of the `names` describes all of them: a plan of 50 services takes five requests.
        """
        is_prefetched, service = self._prefetch.take(name)
        return service if is_prefetched else self._now.get(name)

    def poll_until(
        self, name: str, judge: Callable[[Service | None], T | None], report: Report, *, seconds: float | None = None
    ) -> T:
        """Describe the service until `judge` returns something other than None, and return that.

        Raises TimeoutError when the target's polling policy ends, or after `seconds` if that is sooner.
        """
        policy = self._target.polling.lasting(self._timeout).at_most(seconds)

        def judge_delayed() -> T | None:
            return judge(self._delayed.get(name, lambda: report.wait(policy.delay)))

        result = unless_throttled(lambda: judge(self.describe(name)))()
        if result is not None:
            return result
        # the leader of the batch waits for all, so there is no delay here
        policy = policy._replace(attempts=policy.attempts - 1)
        return poll_until(unless_throttled(judge_delayed), policy, lambda _: None)

    def _describe_batch(self, names: list[str]) -> dict[str, Service]:
        described = {service["serviceName"]: service for service in _describe(self._target, self._cluster, names)}
        self.seen |= described
        return described


class _Prefetch:
    """Describes all services at once; each description is used one time, and only while it is fresh."""

    def __init__(self, describe: Callable[[list[str]], dict[str, Service]], names: Iterable[str]) -> None:
        self._describe = describe
        self._lock = threading.Lock()
        self._names = list(names)
        self._fetched: dict[str, Service | None] = {}
        self._at = 0.0

    def take(self, name: str) -> tuple[bool, Service | None]:
        """Whether there is a fresh description of the service, and the description."""
        with self._lock:
            if name in self._names:
                chunks = in_chunks(self._names, DESCRIBE_SERVICES_MAX)
                described = {key: service for chunk in chunks for key, service in self._describe(chunk).items()}
                self._fetched = {key: described.get(key) for key in self._names}
                self._names, self._at = [], time.monotonic()
            is_fetched = name in self._fetched
            service = self._fetched.pop(name, None)
            return is_fetched and time.monotonic() - self._at < FRESH, service


def services_of(target: Target, cluster: str, *, but: Container[str] = ()) -> list[Service]:
    """The services of a cluster, whoever created them, except those named. Raises TargetAbsent."""
    ecs = target.client("ecs")
    page = {"PageSize": LIST_SERVICES_MAX}
    try:
        arns = items_of(ecs, "list_services", "serviceArns", cluster=cluster, PaginationConfig=page)
    except ecs.exceptions.ClusterNotFoundException:
        return []
    names = [name for name in (arn.rpartition("/")[2] for arn in arns) if name not in but]
    chunks = in_chunks(names, DESCRIBE_SERVICES_MAX)
    return [service for chunk in chunks for service in _describe(target, cluster, chunk)]


def is_of(lab: str, service: Service) -> bool:
    """Whether the lab owns the service."""
    return as_mapping(service.get("tags")).get(LAB_TAG) == lab


def _describe(target: Target, cluster: str, names: list[str]) -> list[Service]:
    """The services that exist. ECS describes a deleted one for a while as INACTIVE, which counts as absent."""
    ecs = target.client("ecs")
    try:
        described = ecs.describe_services(cluster=cluster, services=names, include=["TAGS"])["services"]
    except ecs.exceptions.ClusterNotFoundException:
        return []
    return [service for service in described if service["status"] != "INACTIVE"]
