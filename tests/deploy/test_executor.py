"""The executor over steps in memory: decisions, order, concurrency, failures and interruption."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ecsconsul.deploy import executor
from ecsconsul.deploy.step import Actual, Change, Op, Report, SubResource, decide, fingerprint
from ecsconsul.errors import Interrupted, LabError, StepFailed, TargetAbsent, Unreachable
from tests.deploy.world import SilentObserver

TIMEOUT = 60.0


@dataclass
class Resources:
    """The existing resources by step, and the actions of the steps in order."""

    existing: dict[str, Actual] = field(default_factory=dict)
    actions: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def log(self, what: str) -> None:
        with self.lock:
            self.actions.append(what)


def nothing(report: Report) -> None:
    pass


@dataclass
class FakeStep:
    """A step that creates one resource; `work` runs meanwhile."""

    name: str
    resources: Resources
    needs: tuple[str, ...] = ()
    work: Callable[[Report], None] = nothing
    blocking: tuple[LabError, ...] = ()
    orphan: bool = False

    def blockers(self) -> list[LabError]:
        return list(self.blocking)

    def desired(self) -> Mapping[str, Any] | None:
        return None if self.orphan else {"name": self.name}

    def inspect(self) -> Actual | None:
        return self.resources.existing.get(self.name)

    def apply(self, actual: Actual | None, report: Report) -> str:
        self.resources.log(f"+{self.name}")
        self.work(report)
        self.resources.existing[self.name] = Actual(fingerprint({"name": self.name}), True, "created")
        self.resources.log(f"{self.name} is created")
        return "created"

    def destroy(self, report: Report) -> str:
        self.work(report)
        self.resources.existing.pop(self.name, None)
        self.resources.log(f"-{self.name}")
        return "deleted"


class RecordingObserver:
    """Records the calls of a run."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.errors: dict[str, BaseException] = {}

    def started(self, step: str, op: str) -> None:
        self.calls.append(("started", step, op))

    def progress(self, step: str, text: str) -> None:
        self.calls.append(("progress", step, text))

    def finished(self, change: Change) -> None:
        self.calls.append(("finished", change.name, change.op))

    def subresource(self, step: str, part: SubResource) -> None:
        self.calls.append(("subresource", step, part.name))

    def failed(self, step: str, error: BaseException) -> None:
        self.errors[step] = error

    def still_running(self, step: str, text: str) -> None:
        self.calls.append(("still_running", step, text))


@pytest.fixture
def resources() -> Resources:
    return Resources()


def chain(resources: Resources) -> list[FakeStep]:
    """cluster <- stack <- services, with images beside the stack, as in the lab."""
    return [
        FakeStep("cluster", resources),
        FakeStep("stack", resources, ("cluster",)),
        FakeStep("images", resources, ("cluster",)),
        FakeStep("services", resources, ("stack", "images")),
    ]


def ops(changes: list[Change]) -> dict[str, Op]:
    return {change.name: change.op for change in changes}


def up_to_date(name: str, ready: bool = True) -> Actual:
    return Actual(fingerprint({"name": name}), ready, "there")


def fails(error: BaseException) -> Callable[[Report], None]:
    def work(report: Report) -> None:
        raise error

    return work


# --- the one decision


WANTED = {"count": 2, "name": "weather"}
MADE_OF_IT = fingerprint({"name": "weather", "count": 2})


@pytest.mark.parametrize(
    ("wanted", "found", "op"),
    [
        (WANTED, None, "create"),
        (WANTED, Actual(MADE_OF_IT, True, ""), "keep"),
        (WANTED, Actual(MADE_OF_IT, False, ""), "wait"),
        (WANTED, Actual(fingerprint({"name": "weather", "count": 3}), True, ""), "update"),
        (WANTED, Actual(fingerprint({"name": "weather", "count": 3}), False, ""), "update"),
        (WANTED, Actual(None, True, ""), "update"),
        (None, None, "keep"),
        (None, Actual(None, False, ""), "destroy"),
        (None, Actual(MADE_OF_IT, True, ""), "destroy"),
    ],
)
def test_decide(wanted: dict[str, Any] | None, found: Actual | None, op: Op) -> None:
    assert decide(wanted, found) == op


def test_fingerprint_depends_on_values_and_not_on_key_order() -> None:
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    assert fingerprint({"a": [1, 2]}) != fingerprint({"a": [2, 1]})
    assert fingerprint({"a": 1}) != fingerprint({"a": "1"})


# --- plan


def test_plan_changes_nothing_and_keeps_the_order(resources: Resources) -> None:
    resources.existing["stack"] = up_to_date("stack", ready=False)
    resources.existing["images"] = Actual(None, True, "old")
    resources.existing["cluster"] = up_to_date("cluster")
    changes = executor.plan(chain(resources))
    assert [(c.name, c.op, c.detail) for c in changes] == [
        ("cluster", "keep", "there"),
        ("stack", "wait", "there"),
        ("images", "update", "old"),
        ("services", "create", ""),
    ]
    assert resources.actions == []


def test_everything_is_created_in_an_absent_target(resources: Resources) -> None:
    class Absent(FakeStep):
        def inspect(self) -> Actual | None:
            raise TargetAbsent("no target")

    assert ops(executor.plan([Absent("cluster", resources)])) == {"cluster": "create"}
    assert ops(executor.up([Absent("cluster", resources)], SilentObserver())) == {"cluster": "create"}


# --- up


def test_step_runs_after_the_steps_it_needs(resources: Resources) -> None:
    changes = executor.up(chain(resources), SilentObserver())
    assert [c.name for c in changes] == ["cluster", "stack", "images", "services"]
    assert set(ops(changes).values()) == {"create"}
    at = {text: number for number, text in enumerate(resources.actions)}
    assert at["cluster is created"] < min(at["+stack"], at["+images"])
    assert max(at["stack is created"], at["images is created"]) < at["+services"]


def test_second_up_changes_nothing(resources: Resources) -> None:
    executor.up(chain(resources), SilentObserver())
    resources.actions.clear()
    observer = RecordingObserver()
    assert set(ops(executor.up(chain(resources), observer)).values()) == {"keep"}
    assert resources.actions == []
    assert [call for call in observer.calls if call[0] == "started"] == []


def test_independent_steps_run_concurrently(resources: Resources) -> None:
    """Each of the two waits until the other has started; one after the other would time out."""
    together = threading.Barrier(2, timeout=TIMEOUT)
    steps = chain(resources)
    for step in steps[1:3]:
        step.work = lambda report: together.wait() and None
    executor.up(steps, SilentObserver())
    assert "services is created" in resources.actions


def test_orphan_is_destroyed(resources: Resources) -> None:
    resources.existing["old"] = up_to_date("old")
    assert ops(executor.up([FakeStep("old", resources, orphan=True)], SilentObserver())) == {"old": "destroy"}
    assert resources.existing == {}
    assert ops(executor.up([FakeStep("old", resources, orphan=True)], SilentObserver())) == {"old": "keep"}


def test_missing_need_counts_as_done(resources: Resources) -> None:
    assert ops(executor.up([FakeStep("services", resources, ("stack",))], SilentObserver())) == {"services": "create"}


def test_step_is_inspected_just_before_it_is_applied(resources: Resources) -> None:
    """A step may create what a later one needs."""
    steps = chain(resources)[:2]
    steps[0].work = lambda report: resources.existing.update(stack=up_to_date("stack"))
    assert ops(executor.up(steps, SilentObserver())) == {"cluster": "create", "stack": "keep"}


def test_observer_follows_a_step(resources: Resources) -> None:
    observer = RecordingObserver()
    executor.up([FakeStep("cluster", resources, work=lambda report: report.say("making it"))], observer)
    assert observer.calls == [
        ("started", "cluster", "create"),
        ("progress", "cluster", "making it"),
        ("finished", "cluster", "create"),
    ]


# --- failing


def test_dependents_of_a_failed_step_do_not_run(resources: Resources) -> None:
    steps = chain(resources)
    error = StepFailed("the stack ended in ROLLBACK_COMPLETE")
    steps[1].work = fails(error)
    observer = RecordingObserver()
    with pytest.raises(StepFailed) as raised:
        executor.up(steps, observer)
    assert raised.value is error
    assert "+services" not in resources.actions
    assert observer.errors == {"stack": error}


def test_failure_ends_the_waits_of_other_steps(resources: Resources) -> None:
    """The failing image ends the wait of the stack, and its error is the one that is raised."""
    waits = threading.Event()

    def wait_long(report: Report) -> None:
        waits.set()
        report.wait(TIMEOUT)
        raise AssertionError("the wait was not ended")

    def fail_then(report: Report) -> None:
        assert waits.wait(TIMEOUT)
        raise StepFailed("no Dockerfile")

    steps = chain(resources)
    steps[1].work, steps[2].work = wait_long, fail_then
    observer = RecordingObserver()
    with pytest.raises(StepFailed, match="no Dockerfile"):
        executor.up(steps, observer)
    assert list(observer.errors) == ["images"]


def test_first_error_is_raised(resources: Resources) -> None:
    first_has_failed = threading.Event()

    def fail_second(report: Report) -> None:
        assert first_has_failed.wait(TIMEOUT)
        raise StepFailed("second")

    class Watch(RecordingObserver):
        def failed(self, step: str, error: BaseException) -> None:
            super().failed(step, error)
            first_has_failed.set()

    steps = chain(resources)
    steps[1].work, steps[2].work = fails(StepFailed("first")), fail_second
    with pytest.raises(StepFailed, match="first"):
        executor.up(steps, Watch())


def test_foreign_error_names_its_step(resources: Resources) -> None:
    """A timeout or an AWS client's error doesn't say where it happened."""
    cause = TimeoutError("timed out after 60 s")
    steps = chain(resources)
    steps[1].work = fails(cause)
    with pytest.raises(StepFailed) as raised:
        executor.up(steps, SilentObserver())
    assert (raised.value.where, raised.value.why) == ("step stack", "TimeoutError: timed out after 60 s")
    assert raised.value.__cause__ is cause


def test_foreign_error_in_a_plan_names_its_step(resources: Resources) -> None:
    class Broken(FakeStep):
        def inspect(self) -> Actual | None:
            raise ValueError("that is no answer")

    with pytest.raises(StepFailed) as raised:
        executor.plan([FakeStep("cluster", resources), Broken("stack", resources)])
    assert (raised.value.where, raised.value.why) == ("step stack", "ValueError: that is no answer")


class Silent(FakeStep):
    """A step whose registry is down."""

    def inspect(self) -> Actual | None:
        raise Unreachable("The registry does not answer", where="r.example", why="time-out")


def test_inspect_all_reports_a_step_that_cannot_be_inspected(resources: Resources) -> None:
    resources.existing = {"cluster": up_to_date("cluster"), "services": up_to_date("services")}
    changes = executor.inspect_all(
        [FakeStep("cluster", resources), Silent("images", resources), FakeStep("services", resources)]
    )
    assert ops(changes) == {"cluster": "keep", "images": "wait", "services": "keep"}
    assert changes[1].detail == "The registry does not answer (r.example): time-out"


def test_inspect_all_needs_the_first_step(resources: Resources) -> None:
    with pytest.raises(Unreachable):
        executor.inspect_all([Silent("prerequisites", resources), FakeStep("cluster", resources)])


def test_inspect_all_raises_foreign_errors(resources: Resources) -> None:
    class Broken(FakeStep):
        def inspect(self) -> Actual | None:
            raise ValueError("that is no answer")

    with pytest.raises(StepFailed):
        executor.inspect_all([FakeStep("cluster", resources), Broken("stack", resources)])


def test_broken_observer_ends_the_run(resources: Resources) -> None:
    """Its stream may be closed (`ecsconsul up 2>&1 | head -1`; rich exits then): the run must end and not hang."""

    class Closed(SilentObserver):
        def finished(self, change: Change) -> None:
            raise SystemExit(1)

        def failed(self, step: str, error: BaseException) -> None:
            raise SystemExit(1)

    raised: list[BaseException] = []

    def go() -> None:
        try:
            executor.up(chain(resources), Closed())
        except SystemExit as error:
            raised.append(error)

    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    assert len(raised) == 1
    assert "+stack" not in resources.actions


# --- what keeps running in AWS


def begins_and(then: Callable[[Report], None]) -> Callable[[Report], None]:
    def work(report: Report) -> None:
        report.in_progress("stack blue: CREATE_IN_PROGRESS")
        then(report)

    return work


def left(observer: RecordingObserver) -> list[tuple[str, ...]]:
    return [call[1:] for call in observer.calls if call[0] == "still_running"]


def test_failed_run_reports_what_is_still_running(resources: Resources) -> None:
    """The image fails while AWS creates the stack."""
    begun = threading.Event()

    def wait_long(report: Report) -> None:
        begun.set()
        report.wait(TIMEOUT)

    def fail_then(report: Report) -> None:
        assert begun.wait(TIMEOUT)
        raise StepFailed("no Dockerfile")

    steps = chain(resources)
    steps[1].work, steps[2].work = begins_and(wait_long), fail_then
    observer = RecordingObserver()
    with pytest.raises(StepFailed):
        executor.up(steps, observer)
    assert left(observer) == [("stack", "stack blue: CREATE_IN_PROGRESS")]


def test_timeout_says_what_goes_on_and_what_has_not_begun() -> None:
    limit = 0.5
    # a busy machine may need more time until both have begun
    while not (timed_out := up_that_waits(limit)).begun and limit < TIMEOUT:
        limit *= 4
    assert timed_out.failure.what == f"Not done within {limit:g} s"
    assert timed_out.failure.why.splitlines() == [
        "stack: stack blue: CREATE_IN_PROGRESS; goes on without this command",
        "images: ends with this command",
        "not begun: services",
    ]
    assert timed_out.left == [("stack", "stack blue: CREATE_IN_PROGRESS")]


class TimedOut(NamedTuple):
    """How an `up` ended whose time was over, and whether all that can begin had begun."""

    begun: bool
    failure: StepFailed
    left: list[tuple[str, ...]]


def up_that_waits(limit: float) -> TimedOut:
    """An `up` of at most `limit` seconds; its stack and images take longer."""
    began: set[str] = set()

    def wait_as(name: str) -> Callable[[Report], None]:
        def work(report: Report) -> None:
            began.add(name)
            report.wait(10 * TIMEOUT)

        return work

    steps = chain(Resources())
    steps[1].work, steps[2].work = begins_and(wait_as("stack")), wait_as("images")
    observer = RecordingObserver()
    with pytest.raises(StepFailed) as raised:
        executor.up(steps, observer, timeout=limit)
    return TimedOut(began == {"stack", "images"}, raised.value, left(observer))


def test_finished_step_is_not_still_running(resources: Resources) -> None:
    steps = chain(resources)
    steps[1].work, steps[3].work = begins_and(nothing), fails(StepFailed("crashes"))
    observer = RecordingObserver()
    with pytest.raises(StepFailed):
        executor.up(steps, observer)
    assert left(observer) == []


def test_observer_sees_subresources(resources: Resources) -> None:
    observer = RecordingObserver()
    part = SubResource("ConsulServer", "runs", "CREATE_IN_PROGRESS")
    executor.up([FakeStep("stack", resources, work=lambda report: report.subresource(part))], observer)
    assert ("subresource", "stack", "ConsulServer") in observer.calls


# --- down


def test_down_reverses_the_graph(resources: Resources) -> None:
    executor.up(chain(resources), SilentObserver())
    resources.actions.clear()
    changes = executor.down(chain(resources), SilentObserver())
    assert set(ops(changes).values()) == {"destroy"}
    assert resources.actions[0] == "-services"
    assert resources.actions[-1] == "-cluster"
    assert resources.existing == {}


def test_second_down_changes_nothing(resources: Resources) -> None:
    assert set(ops(executor.down(chain(resources), SilentObserver())).values()) == {"keep"}


def test_down_in_an_absent_target_finds_nothing(resources: Resources) -> None:
    class Absent(FakeStep):
        def inspect(self) -> Actual | None:
            raise TargetAbsent("no target")

        def destroy(self, report: Report) -> str:
            raise TargetAbsent("no target")

    (change,) = executor.down([Absent("cluster", resources)], SilentObserver())
    assert (change.op, change.detail) == ("keep", "absent")


def test_down_keeps_what_a_failed_step_needs(resources: Resources) -> None:
    executor.up(chain(resources), SilentObserver())
    steps = chain(resources)
    steps[3].work = fails(StepFailed("the service does not drain"))
    with pytest.raises(StepFailed, match="does not drain"):
        executor.down(steps, SilentObserver())
    assert set(resources.existing) == {"cluster", "stack", "images", "services"}


# --- blockers


def test_blockers_of_all_steps_are_collected(resources: Resources) -> None:
    port, folder = LabError("port taken"), LabError("folder missing")
    steps = [
        FakeStep("prerequisites", resources, blocking=(port,)),
        FakeStep("cluster", resources),
        FakeStep("x", resources, blocking=(folder,)),
    ]
    assert executor.blockers(steps) == [port, folder]
    assert resources.actions == []


# --- Ctrl-C


WAITING = """
import sys, threading
sys.path.insert(0, {tests!r})
from tests.deploy.test_executor import Resources, chain
from tests.deploy.world import SilentObserver
from ecsconsul.deploy import executor
from ecsconsul.errors import Interrupted

class Observer(SilentObserver):
    def still_running(self, step, text):
        print(step, "still running:", text, flush=True)

def work(report):
    report.in_progress("CREATE_IN_PROGRESS")
    print("waiting", flush=True)
    threading.Event().wait({seconds})   # a request that gets no response and can't be interrupted

steps = chain(Resources())
steps[0].work = work
try:
    executor.up(steps, Observer())
except Interrupted:
    print("interrupted", flush=True)
"""


def test_ctrl_c_ends_a_run_during_a_request() -> None:
    root = Path(__file__).parents[2]
    script = WAITING.format(tests=str(root), seconds=3 * TIMEOUT)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "waiting\n"
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=TIMEOUT)
        finally:
            process.kill()
    assert (output, process.returncode) == ("cluster still running: CREATE_IN_PROGRESS\ninterrupted\n", 0)


def test_interrupted_step_is_not_reported_as_failed(resources: Resources) -> None:
    observer = RecordingObserver()
    steps = [FakeStep("cluster", resources, work=fails(Interrupted()))]
    with pytest.raises(Interrupted):
        executor.up(steps, observer)
    assert observer.errors == {}
