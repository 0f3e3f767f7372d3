"""Looks at the ECS services of a cluster for all steps at once, ten in a request; judges nothing but what is absent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Container, Iterable
from dataclasses import replace
from typing import Any, TypeVar

from ..polling import wait_until
from ..targets.base import Target
from ..targets.client_errors import unless_throttled
from .batching import Batcher, in_groups
from .step import LAB_TAG, Report, as_mapping

T = TypeVar("T")
Service = dict[str, Any]

# DescribeServices takes ten at a time
SERVICES_AT_ONCE = 10
# how long what was seen of a service is taken for what it is, in seconds
FRESH = 2.0


class ServicePoller:
    """The services of one cluster. Steps that wait look together: once a pause, however many they are."""

    def __init__(self, target: Target, cluster: str, names: Iterable[str] = ()) -> None:
        self.seen: dict[str, Service] = {}
        """Each service that was there when it was looked at last."""
        self._target = target
        self._cluster = cluster
        self._now = Batcher(self._describe, SERVICES_AT_ONCE)
        self._later = Batcher(self._describe, SERVICES_AT_ONCE)
        self._first = _FirstLook(self._describe, names)

    def look(self, name: str) -> Service | None:
        """The service as it is now; None when it, or its cluster, is not there.

        The first look at one of the `names` brings the others along: a plan of 50 services takes five requests.
        """
        seen, service = self._first.look(name)
        return service if seen else self._now.answer(name)

    def until(
        self, name: str, judge: Callable[[Service | None], T | None], report: Report, *, seconds: float | None = None
    ) -> T:
        """The first judgement of the service that is not None.

        Raises TimeoutError when the target's patience ends, or after `seconds` when those are fewer.
        """
        patience = self._target.patience.at_most(seconds)

        def look_later() -> T | None:
            return judge(self._later.answer(name, lambda: report.pause(patience.delay)))

        found = unless_throttled(lambda: judge(self.look(name)))()
        if found is not None:
            return found
        # the pause is made by the one who looks for all
        return wait_until(
            unless_throttled(look_later), replace(patience, attempts=patience.attempts - 1), lambda _: None
        )

    def _describe(self, names: list[str]) -> dict[str, Service]:
        found = {service["serviceName"]: service for service in _described(self._target, self._cluster, names)}
        self.seen |= found
        return found


class _FirstLook:
    """One look at all services together; what it brought serves once, and not for long."""

    def __init__(self, describe: Callable[[list[str]], dict[str, Service]], names: Iterable[str]) -> None:
        self._describe = describe
        self._lock = threading.Lock()
        self._names = list(names)
        self._brought: dict[str, Service | None] = {}
        self._at = 0.0

    def look(self, name: str) -> tuple[bool, Service | None]:
        """Whether the look tells of the service, and what."""
        with self._lock:
            if name in self._names:
                groups = in_groups(self._names, SERVICES_AT_ONCE)
                found = {key: service for some in groups for key, service in self._describe(some).items()}
                self._brought = {key: found.get(key) for key in self._names}
                self._names, self._at = [], time.monotonic()
            is_there = name in self._brought
            service = self._brought.pop(name, None)
            return is_there and time.monotonic() - self._at < FRESH, service


def services_of(target: Target, cluster: str, *, but: Container[str] = ()) -> list[Service]:
    """A cluster's services, whoever made them, but for those; none when there is no cluster. Raises TargetAbsent."""
    ecs = target.client("ecs")
    try:
        pages = ecs.get_paginator("list_services").paginate(cluster=cluster, PaginationConfig={"PageSize": 100})
        names = [arn.rpartition("/")[2] for page in pages for arn in page["serviceArns"]]
    except ecs.exceptions.ClusterNotFoundException:
        return []
    names = [name for name in names if name not in but]
    return [service for some in in_groups(names, SERVICES_AT_ONCE) for service in _described(target, cluster, some)]


def is_of(lab: str, service: Service) -> bool:
    """Whether the lab made the service."""
    return as_mapping(service.get("tags")).get(LAB_TAG) == lab


def _described(target: Target, cluster: str, names: list[str]) -> list[Service]:
    """The services that are there; a deleted one is described for a while yet, as INACTIVE: absent."""
    ecs = target.client("ecs")
    try:
        found = ecs.describe_services(cluster=cluster, services=names, include=["TAGS"])["services"]
    except ecs.exceptions.ClusterNotFoundException:
        return []
    return [service for service in found if service["status"] != "INACTIVE"]
