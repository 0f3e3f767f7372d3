"""A container's own health check: when it runs, and what its results mean.

The result is Docker's, which ECS reports: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html
Until the first success it is tried more often than Docker does, so that a task that starts fast is healthy fast. A
failure counts only where Docker would have run the check too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .ecs.model import HEALTHY, UNHEALTHY, UNKNOWN

# ECS's defaults, in seconds and a number
INTERVAL, TIMEOUT, RETRIES = 30.0, 5.0, 3
# The delay before a try while starting is a part of the container's age, and in seconds at least the first of these, or
# the second where Consul's check says when the container is ready: a try costs more than that one.
FIRST_DELAY, FIRST_DELAY_IF_WOKEN, GROWTH = 0.3, 3.0, 0.5


@dataclass(frozen=True)
class HealthCheck:
    """What to run, and how often; durations in seconds."""

    command: tuple[str, ...]
    interval: float = INTERVAL
    timeout: float = TIMEOUT
    retries: int = RETRIES
    start_period: float = 0.0

    @classmethod
    def of(cls, definition: Mapping[str, Any]) -> HealthCheck | None:
        """The check of a container definition; None if it has none."""
        given = definition.get("healthCheck")
        if not given:
            return None
        kind, *words = given["command"]
        command = ["/bin/sh", "-c", " ".join(words)] if kind == "CMD-SHELL" else words
        return cls(
            tuple(command),
            float(given.get("interval") or INTERVAL),
            float(given.get("timeout") or TIMEOUT),
            int(given.get("retries") or RETRIES),
            float(given.get("startPeriod") or 0.0),
        )


class HealthRecord:
    """What the results of a check mean; ages are seconds since the container started. Pure."""

    def __init__(self, check: HealthCheck, first_delay: float = FIRST_DELAY) -> None:
        self._check = check
        self._first_delay = first_delay
        self._failures = 0
        self._counted_at = 0.0
        self.status = UNKNOWN

    def add(self, age: float, *, ok: bool) -> str:
        """The status after a result."""
        if ok:
            self._failures, self._counted_at, self.status = 0, age, HEALTHY
            return self.status
        is_starting = self.status == UNKNOWN and age < self._check.start_period
        if is_starting or age - self._counted_at < self._check.interval:
            return self.status
        self._failures, self._counted_at = self._failures + 1, age
        if self._failures >= self._check.retries:
            self.status = UNHEALTHY
        return self.status

    def delay(self, age: float) -> float:
        """Seconds until the next try."""
        if self.status == UNKNOWN:
            return min(max(self._first_delay, age * GROWTH), self._check.interval)
        return self._check.interval


Probe = Callable[[Sequence[str], float], str]
"""Runs words in the container, for a number of seconds at most; returns why it failed, "" if it didn't."""


class HealthMonitor:
    """Runs one container's check in a thread of its own, until it's closed; `report` gets each new status and why."""

    def __init__(
        self,
        check: HealthCheck,
        probe: Probe,
        report: Callable[[str, str], None],
        name: str = "",
        *,
        is_woken: bool = False,
    ) -> None:
        """`is_woken`: somebody calls `wake` when the container seems to be ready."""
        self._check = check
        self._probe = probe
        self._report = report
        self._record = HealthRecord(check, FIRST_DELAY_IF_WOKEN if is_woken else FIRST_DELAY)
        self._woken = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"health-{name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Try now, because the container seems to be ready, unless it's known to be healthy."""
        if self._record.status == UNKNOWN:
            self._woken.set()

    def close(self) -> None:
        """Run the check no more; one that runs ends by itself."""
        self._closed = True
        self._woken.set()

    def _run(self) -> None:
        started = time.monotonic()
        while True:
            self._woken.wait(self._record.delay(time.monotonic() - started))
            self._woken.clear()
            if self._closed:
                return
            before = self._record.status
            failure = self._probe(self._check.command, self._check.timeout)
            status = self._record.add(time.monotonic() - started, ok=not failure)
            if status != before and not self._closed:
                self._report(status, failure)
