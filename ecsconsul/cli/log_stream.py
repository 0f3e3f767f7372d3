"""Follows several services' logs at once, and notices when their tasks end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any

from ..config.lab import Lab
from ..deploy.task_ends import ServiceTasks, TaskEnd, running_tasks, tasks_of
from ..errors import LabError, TargetAbsent
from ..polling import in_background
from ..targets.base import LogLine
from ..targets.client_errors import client_error
from ..targets.commands import CommandTarget

# seconds between two questions to ECS about which tasks run; an end is no news that somebody waits for
ENDS_DELAY = 2.0


@dataclass(frozen=True)
class Ended:
    """A task has ended."""

    task: str
    end: TaskEnd


Item = tuple[str, LogLine | Ended]
"""A service, and a line of its log or the end of one of its tasks."""


def ends(lab: Lab, target: CommandTarget, services: Sequence[str]) -> dict[str, ServiceTasks]:
    """The tasks of the services; those of none if ECS doesn't answer, since the logs can be read nevertheless."""
    try:
        ecs = target.client("ecs")
        return {name: tasks_of(ecs, lab.name, name) for name in services}
    except (TargetAbsent, LabError, client_error()):
        return {}


def follow_all(
    lab: Lab, target: CommandTarget, services: Sequence[str], lines: int, since: float | None
) -> Iterator[Item]:
    """The last lines, then each new one as it is written, and the ends of tasks; never ends by itself.

    Raises whatever keeps a log from being read.
    """
    items: SimpleQueue[Item | BaseException] = SimpleQueue()

    def produce(work: Callable[[], Iterator[Item]]) -> None:
        def run() -> None:
            try:
                for item in work():
                    items.put(item)
            except BaseException as error:  # noqa: BLE001 - raised again by the reader
                items.put(error)

        in_background(run)

    def lines_of(name: str) -> Iterator[Item]:
        return ((name, line) for line in target.follow(name, lines, since))

    for name in services:
        produce(partial(lines_of, name))
    produce(lambda: _ends(lab, target, services))
    while True:
        item = items.get()
        if isinstance(item, BaseException):
            raise item
        yield item


def _ends(lab: Lab, target: CommandTarget, services: Sequence[str]) -> Iterator[Item]:
    """The tasks that end from now on."""
    running: dict[str, frozenset[str]] = {}
    pause = threading.Event()
    while True:
        try:
            ecs: Any = target.client("ecs")
            for name in services:
                now = running_tasks(ecs, lab.name, name)
                gone = running.get(name, frozenset()) - now
                running[name] = now
                known = tasks_of(ecs, lab.name, name).ended if gone else {}
                yield from ((name, Ended(task, known.get(task, TaskEnd(None, "")))) for task in sorted(gone))
        except (TargetAbsent, LabError, client_error()):
            # the region restarts, or AWS is out of reach: the lines go on, or say so
            running = {}
        pause.wait(max(ENDS_DELAY, target.polling.delay))
