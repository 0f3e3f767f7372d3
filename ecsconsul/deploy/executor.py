"""plan, up and down: one list of steps, walked in different ways. Knows the steps' protocol, and no AWS.

A step runs as soon as those it needs are done, side by side with the others, in a thread of its own. The threads
are daemons: a Ctrl-C stops the waiting, whatever a request is still doing.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from typing import Protocol

from ..errors import Interrupted, LabError, StepFailed, TargetAbsent
from .step import Actual, Change, Report, Step, SubResource, decide

INSPECTORS = 8


class Observer(Protocol):
    """Who watches a walk; `begins`, `says` and `tells` are called from the steps' threads.

    `leaves` is called at the end of a walk that failed or was interrupted, with what goes on without it.
    """

    def begins(self, step: str, op: str) -> None: ...
    def says(self, step: str, text: str) -> None: ...
    def tells(self, step: str, part: SubResource) -> None: ...
    def ends(self, change: Change) -> None: ...
    def fails(self, step: str, error: BaseException) -> None: ...
    def leaves(self, step: str, text: str) -> None: ...


class NullObserver:
    """Nobody watches."""

    def begins(self, step: str, op: str) -> None: ...
    def says(self, step: str, text: str) -> None: ...
    def tells(self, step: str, part: SubResource) -> None: ...
    def ends(self, change: Change) -> None: ...
    def fails(self, step: str, error: BaseException) -> None: ...
    def leaves(self, step: str, text: str) -> None: ...


def look(step: Step) -> Actual | None:
    """What is there; a world that does not exist yet holds nothing."""
    try:
        return step.found()
    except TargetAbsent:
        return None


def blockers(steps: Iterable[Step]) -> list[LabError]:
    """All that speaks against beginning."""
    return [objection for step in steps for objection in step.blockers()]


def plan(steps: Sequence[Step]) -> list[Change]:
    """What `up` would do, in the order of the list; nothing is changed."""
    with ThreadPoolExecutor(INSPECTORS) as pool:
        return list(pool.map(_planned, steps))


def inspect_all(steps: Sequence[Step]) -> list[Change]:
    """As `plan`, but a step that finds no answer (of a registry that is away) is waited for, and says why.

    Raises LabError when that is the first, on which all others stand, and StepFailed for what nobody foresaw.
    """
    with ThreadPoolExecutor(INSPECTORS) as pool:
        first, *others = [pool.submit(_planned, step) for step in steps]
        return [first.result(), *map(_seen, others, [step.name for step in steps[1:]])]


def up(steps: Sequence[Step], observer: Observer) -> list[Change]:
    """Make the lab as wanted; what was done, in the order of the list.

    Raises the first error of a step, when the steps beside it have come to an end; Interrupted on Ctrl-C.
    """
    names = {step.name for step in steps}
    graph = {step.name: set(step.needs) & names for step in steps}
    return _walk(steps, graph, observer, _make)


def down(steps: Sequence[Step], observer: Observer) -> list[Change]:
    """Take the lab away: the same graph, backwards. Raises as `up` does."""
    graph: dict[str, set[str]] = {step.name: set() for step in steps}
    for step in steps:
        for need in step.needs:
            if need in graph:
                graph[need].add(step.name)
    return _walk(steps, graph, observer, _take_away)


def _planned(step: Step) -> Change:
    with _named(step.name):
        found = look(step)
        return Change(step.name, decide(step.wanted(), found), found.detail if found else "")


def _seen(planned: Future[Change], step: str) -> Change:
    try:
        return planned.result()
    except StepFailed:
        raise
    except LabError as error:
        return Change(step, "wait", str(error))


@contextmanager
def _named(step: str) -> Iterator[None]:
    """An error that is not ours (of an AWS client, a time-out) says nothing of the step in which it happened."""
    try:
        yield
    except (LabError, Interrupted):
        raise
    except Exception as error:
        raise StepFailed(
            f"The step {step} failed",
            where=f"step {step}",
            why=f"{type(error).__name__}: {error}",
            hint="--debug shows what went over the wire",
        ) from error


def _make(step: Step, observer: Observer, report: Report) -> Change:
    found = look(step)
    op = decide(step.wanted(), found)
    if op == "keep":
        return Change(step.name, op, found.detail if found else "")
    observer.begins(step.name, op)
    detail = step.destroy(report) if op == "destroy" else step.apply(found, report)
    return Change(step.name, op, detail)


def _take_away(step: Step, observer: Observer, report: Report) -> Change:
    found = look(step)
    observer.begins(step.name, "destroy")
    try:
        detail = step.destroy(report)
    except TargetAbsent:
        detail = "absent"
    return Change(step.name, "destroy" if found else "keep", detail)


@dataclass
class _Reporter:
    """What a step is given while it works."""

    step: str
    observer: Observer
    stopped: threading.Event
    left: str = ""

    def say(self, text: str) -> None:
        self.observer.says(self.step, text)

    def part(self, part: SubResource) -> None:
        self.observer.tells(self.step, part)

    def under_way(self, text: str) -> None:
        self.left = text

    def pause(self, seconds: float) -> None:
        if self.stopped.wait(seconds):
            raise Interrupted


Work = Callable[[Step, Observer, Report], Change]


@dataclass
class _Outcome:
    step: str
    change: Change | None = None
    error: BaseException | None = None


@dataclass
class _Walker:
    """One walk under way: the threads that run, and what they brought."""

    work: Work
    observer: Observer
    outcomes: queue.Queue[_Outcome] = field(default_factory=queue.Queue)
    stopped: threading.Event = field(default_factory=threading.Event)
    reports: dict[str, _Reporter] = field(default_factory=dict)

    def begin(self, step: Step) -> None:
        report = self.reports[step.name] = _Reporter(step.name, self.observer, self.stopped)
        threading.Thread(target=self._run, args=(step, report), name=step.name, daemon=True).start()

    def _run(self, step: Step, report: _Reporter) -> None:
        begun = time.monotonic()
        outcome = _Outcome(step.name)
        try:
            with _named(step.name):
                change = self.work(step, self.observer, report)
            outcome.change = replace(change, seconds=round(time.monotonic() - begun, 3))
            report.under_way("")
        except BaseException as error:  # noqa: BLE001 - carried to the thread that waits, and raised there
            outcome.error = error
        self.outcomes.put(outcome)

    def tell_what_is_left(self) -> None:
        """What the steps began and the walk does not wait for any more."""
        for report in self.reports.values():
            if report.left:
                self.observer.leaves(report.step, report.left)


def _walk(steps: Sequence[Step], graph: dict[str, set[str]], observer: Observer, work: Work) -> list[Change]:
    by_name = {step.name: step for step in steps}
    order = TopologicalSorter(graph)
    order.prepare()
    walker = _Walker(work, observer)
    done: dict[str, Change] = {}
    errors: list[BaseException] = []
    running = 0
    try:
        while order.is_active():
            # after the first error nothing new is begun, and what waits is told to stop
            for name in order.get_ready() if not errors else ():
                walker.begin(by_name[name])
                running += 1
            if not running:
                break
            outcome = walker.outcomes.get()
            running -= 1
            if outcome.change:
                observer.ends(outcome.change)
                done[outcome.step] = outcome.change
                order.done(outcome.step)
            elif outcome.error:
                errors.append(outcome.error)
                walker.stopped.set()
                if not isinstance(outcome.error, Interrupted):
                    observer.fails(outcome.step, outcome.error)
    except KeyboardInterrupt as error:
        walker.tell_what_is_left()
        raise Interrupted from error
    finally:
        walker.stopped.set()
    if errors:
        walker.tell_what_is_left()
        raise next((error for error in errors if not isinstance(error, Interrupted)), errors[0])
    return [done[step.name] for step in steps]
