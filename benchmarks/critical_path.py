"""The executor's overhead: `up` of steps that take a thirtieth of their time in AWS, beside the longest path."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Result, Seconds, median, spread
from ecsconsul.deploy import executor
from ecsconsul.deploy.step import Actual, Report
from ecsconsul.errors import LabError

SCALE = 1 / 30
SERVICES = 3
# seconds in AWS
STACK, IMAGE, TASKS = 180.0, 90.0, 30.0
LONGEST = (max(STACK, IMAGE) + TASKS) * SCALE
ROUNDS = 3
LIMIT = 1.15


@dataclass(frozen=True)
class SleepingStep:
    """A step that doesn't exist yet, and takes a while to create."""

    name: str
    needs: tuple[str, ...]
    seconds: float

    def blockers(self) -> list[LabError]:
        return []

    def desired(self) -> dict[str, str]:
        return {}

    def inspect(self) -> Actual | None:
        return None

    def apply(self, actual: Actual | None, report: Report) -> str:
        threading.Event().wait(self.seconds * SCALE)
        return "created"

    def destroy(self, report: Report) -> str:
        raise NotImplementedError


class Silent:
    """An observer that shows nothing."""

    def started(self, *_: object) -> None: ...

    progress = subresource = finished = failed = still_running = started


def _steps() -> list[SleepingStep]:
    """The lab's graph: images are built while the stack is created, and services need both."""
    steps = [SleepingStep("cluster", (), 0.0), SleepingStep("stack", ("cluster",), STACK)]
    for name in (f"s{number}" for number in range(SERVICES)):
        steps += [
            SleepingStep(f"images/{name}", (), IMAGE),
            SleepingStep(f"tasks/{name}", (f"images/{name}", "stack"), 0.0),
            SleepingStep(f"services/{name}", (f"tasks/{name}",), TASKS),
        ]
    return steps


def measure(folder: Path) -> Iterator[Result]:
    ours = [_up() for _ in range(ROUNDS)]
    yield Result("up, slow account", median(ours), "its longest path", LONGEST, LIMIT, remark=spread(ours))


def _up() -> Seconds:
    begun = time.perf_counter()
    executor.up(_steps(), Silent())
    return time.perf_counter() - begun
