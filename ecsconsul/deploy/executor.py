"""Runs plan, up and down over the graph of steps. Knows the Step protocol and nothing of AWS.

Each step runs in its own thread as soon as the steps it needs are done. The threads are daemons, so Ctrl-C ends the
command even while a request is in flight.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from typing import Protocol

from ..errors import Interrupted, LabError, StepFailed, TargetAbsent
from .step import Actual, Change, Report, Step, SubResource, decide

MAX_INSPECTIONS = 8


class Observer(Protocol):
    """Follows a run. Steps call `started`, `progress` and `subresource` from their own threads.

    `still_running` comes last, when a run failed or was interrupted: it names what continues in AWS.
    """

    def started(self, step: str, op: str) -> None: ...
    def progress(self, step: str, text: str) -> None: ...
    def subresource(self, step: str, part: SubResource) -> None: ...
    def finished(self, change: Change) -> None: ...
    def failed(self, step: str, error: BaseException) -> None: ...
    def still_running(self, step: str, text: str) -> None: ...


def inspect(step: Step) -> Actual | None:
    """The actual state of a step; None also when its target doesn't exist yet."""
    try:
        return step.inspect()
    except TargetAbsent:
        return None


def blockers(steps: Iterable[Step]) -> list[LabError]:
    """Everything that prevents a run of these steps from starting."""
    return [blocker for step in steps for blocker in step.blockers()]


def plan(steps: Sequence[Step]) -> list[Change]:
    """What `up` would do, and what updates would do inside the steps, in the order of the list. Changes nothing."""
    with ThreadPoolExecutor(MAX_INSPECTIONS) as pool:
        return list(pool.map(_previewed, steps))


def inspect_all(steps: Sequence[Step]) -> list[Change]:
    """Like `plan`, but a step that can't be inspected (its registry is down) becomes a `wait` that says why.

    Raises the LabError of the first step, which all others need, and StepFailed for unexpected errors.
    """
    with ThreadPoolExecutor(MAX_INSPECTIONS) as pool:
        first, *others = [pool.submit(_planned, step) for step in steps]
        return [first.result(), *map(_planned_or_waiting, others, [step.name for step in steps[1:]])]


def up(steps: Sequence[Step], observer: Observer, *, timeout: float | None = None) -> list[Change]:
    """Bring every step to its desired state; returns the changes in the order of the list.

    Raises the first error of a step, once the steps beside it have stopped; Interrupted on Ctrl-C; StepFailed after
    `timeout` seconds, with what goes on by itself.
    """
    names = {step.name for step in steps}
    graph = {step.name: set(step.needs) & names for step in steps}
    return _run(steps, graph, observer, _apply, timeout)


def down(steps: Sequence[Step], observer: Observer) -> list[Change]:
    """Destroy every step, over the same graph reversed. Raises as `up` does."""
    graph: dict[str, set[str]] = {step.name: set() for step in steps}
    for step in steps:
        for need in step.needs:
            if need in graph:
                graph[need].add(step.name)
    return _run(steps, graph, observer, _destroy)


def _planned(step: Step) -> Change:
    with _naming(step.name):
        actual = inspect(step)
        return Change(step.name, decide(step.desired(), actual), actual.detail if actual else "")


def _previewed(step: Step) -> Change:
    with _naming(step.name):
        actual = inspect(step)
        change = Change(step.name, decide(step.desired(), actual), actual.detail if actual else "")
        if change.op != "update" or actual is None:
            return change
        try:
            return replace(change, inside=tuple(actual.preview()), fields=tuple(actual.fields()))
        except LabError as error:
            return replace(change, detail=f"{change.detail}; what changes can't be told: {error}", untold=str(error))


def _planned_or_waiting(planned: Future[Change], step: str) -> Change:
    try:
        return planned.result()
    except StepFailed:
        raise
    except LabError as error:
        return Change(step, "wait", str(error))


@contextmanager
def _naming(step: str) -> Iterator[None]:
    """Name the step in errors that aren't ours: a timeout or an AWS client's error doesn't say where it happened."""
    try:
        yield
    except (LabError, Interrupted):
        raise
    except Exception as error:
        raise StepFailed(
            f"The step {step} failed",
            where=f"step {step}",
            why=f"{type(error).__name__}: {error}",
            hint="run the command again with --debug to see the requests",
        ) from error


def _apply(step: Step, observer: Observer, report: Report) -> Change:
    # decided here and not from a plan: an earlier step may have changed what this one finds
    actual = inspect(step)
    op = decide(step.desired(), actual)
    if op == "keep":
        return Change(step.name, op, actual.detail if actual else "")
    observer.started(step.name, op)
    detail = step.destroy(report) if op == "destroy" else step.apply(actual, report)
    return Change(step.name, op, detail)


def _destroy(step: Step, observer: Observer, report: Report) -> Change:
    actual = inspect(step)
    observer.started(step.name, "destroy")
    try:
        detail = step.destroy(report)
    except TargetAbsent:
        detail = "absent"
    return Change(step.name, "destroy" if actual else "keep", detail)


@dataclass
class _Reporter:
    """The Report of one step: passes progress to the observer, and ends waits when the run stops."""

    step: str
    observer: Observer
    stop: threading.Event
    running: str = ""

    def say(self, text: str) -> None:
        self.observer.progress(self.step, text)

    def subresource(self, subresource: SubResource) -> None:
        self.observer.subresource(self.step, subresource)

    def in_progress(self, text: str) -> None:
        self.running = text

    def wait(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise Interrupted


Action = Callable[[Step, Observer, Report], Change]


@dataclass
class _Outcome:
    step: str
    change: Change | None = None
    error: BaseException | None = None


@dataclass
class _Workers:
    """The threads of one run, and the outcomes they deliver."""

    action: Action
    observer: Observer
    outcomes: queue.Queue[_Outcome] = field(default_factory=queue.Queue)
    stop: threading.Event = field(default_factory=threading.Event)
    reports: dict[str, _Reporter] = field(default_factory=dict)

    def start(self, step: Step) -> None:
        report = self.reports[step.name] = _Reporter(step.name, self.observer, self.stop)
        threading.Thread(target=self._work, args=(step, report), name=step.name, daemon=True).start()

    def _work(self, step: Step, report: _Reporter) -> None:
        started = time.monotonic()
        outcome = _Outcome(step.name)
        try:
            with _naming(step.name):
                change = self.action(step, self.observer, report)
            outcome.change = replace(change, seconds=round(time.monotonic() - started, 3))
            report.in_progress("")
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits for the outcome
            outcome.error = error
        self.outcomes.put(outcome)

    def report_still_running(self) -> None:
        """Tell the observer what continues in AWS although this run no longer waits for it."""
        for report in self.reports.values():
            if report.running:
                self.observer.still_running(report.step, report.running)


def _timed_out(timeout: float, steps: Sequence[Step], workers: _Workers, done: Collection[str]) -> StepFailed:
    """What goes on in the background, what ends with this command, and what hasn't begun."""
    begun = [report for report in workers.reports.values() if report.step not in done]
    lines = [f"{one.step}: {one.running}; goes on without this command" for one in begun if one.running]
    lines += [f"{one.step}: ends with this command" for one in begun if not one.running]
    later = [step.name for step in steps if step.name not in workers.reports]
    lines += [f"not begun: {', '.join(later)}"] if later else []
    return StepFailed(
        f"Not done within {timeout:g} s",
        where=", ".join(one.step for one in begun),
        why="\n".join(lines),
        hint="`ecsconsul status` shows how far it is, and the same command again goes on from there",
    )


def _run(
    steps: Sequence[Step], graph: dict[str, set[str]], observer: Observer, action: Action, timeout: float | None = None
) -> list[Change]:
    deadline = None if timeout is None else time.monotonic() + timeout
    by_name = {step.name: step for step in steps}
    order = TopologicalSorter(graph)
    order.prepare()
    workers = _Workers(action, observer)
    changes: dict[str, Change] = {}
    errors: list[BaseException] = []
    active = 0
    try:
        while order.is_active():
            # after the first error no step is started, and those that wait are stopped
            for name in order.get_ready() if not errors else ():
                workers.start(by_name[name])
                active += 1
            if not active:
                break
            try:
                outcome = workers.outcomes.get(timeout=deadline and max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                workers.report_still_running()
                raise _timed_out(timeout or 0.0, steps, workers, changes) from None
            active -= 1
            if outcome.change:
                observer.finished(outcome.change)
                changes[outcome.step] = outcome.change
                order.done(outcome.step)
            elif outcome.error:
                errors.append(outcome.error)
                workers.stop.set()
                if not isinstance(outcome.error, Interrupted):
                    observer.failed(outcome.step, outcome.error)
    except KeyboardInterrupt as error:
        workers.report_still_running()
        raise Interrupted from error
    finally:
        workers.stop.set()
    if errors:
        workers.report_still_running()
        raise next((error for error in errors if not isinstance(error, Interrupted)), errors[0])
    return [changes[step.name] for step in steps]
