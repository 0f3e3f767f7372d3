"""The walk over steps of a world in memory: what is decided, in which order, side by side, and how it fails."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ecsconsul.deploy import executor as walk
from ecsconsul.deploy.executor import Interrupted, NullObserver
from ecsconsul.deploy.step import Actual, Change, Op, Report, SubResource, decide, fingerprint
from ecsconsul.errors import LabError, StepFailed, TargetAbsent, Unreachable

PATIENCE = 10.0


@dataclass
class Runtime:
    """What is there, by the name of its step, and what was done to it, in order."""

    there: dict[str, Actual] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, what: str) -> None:
        with self.lock:
            self.done.append(what)


def nothing(report: Report) -> None:
    pass


@dataclass
class Thing:
    """A step that makes one thing in the world; `work` happens while it does."""

    name: str
    world: Runtime
    needs: tuple[str, ...] = ()
    work: Callable[[Report], None] = nothing
    against: tuple[LabError, ...] = ()
    unwanted: bool = False

    def blockers(self) -> list[LabError]:
        return list(self.against)

    def wanted(self) -> Mapping[str, Any] | None:
        return None if self.unwanted else {"name": self.name}

    def found(self) -> Actual | None:
        return self.world.there.get(self.name)

    def apply(self, found: Actual | None, report: Report) -> str:
        self.world.note(f"+{self.name}")
        self.work(report)
        self.world.there[self.name] = Actual(fingerprint({"name": self.name}), True, "made")
        self.world.note(f"{self.name} is made")
        return "made"

    def destroy(self, report: Report) -> str:
        self.work(report)
        self.world.there.pop(self.name, None)
        self.world.note(f"-{self.name}")
        return "deleted"


class Watcher:
    """Keeps what an observer is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []
        self.failed: dict[str, BaseException] = {}

    def begins(self, step: str, op: str) -> None:
        self.told.append(("begins", step, op))

    def says(self, step: str, text: str) -> None:
        self.told.append(("says", step, text))

    def ends(self, change: Change) -> None:
        self.told.append(("ends", change.name, change.op))

    def tells(self, step: str, part: SubResource) -> None:
        self.told.append(("tells", step, part.name))

    def fails(self, step: str, error: BaseException) -> None:
        self.failed[step] = error

    def leaves(self, step: str, text: str) -> None:
        self.told.append(("leaves", step, text))


@pytest.fixture
def world() -> Runtime:
    return Runtime()


def chain(world: Runtime) -> list[Thing]:
    """cluster <- stack <- services, and images beside the stack, as in the lab."""
    return [
        Thing("cluster", world),
        Thing("stack", world, ("cluster",)),
        Thing("images", world, ("cluster",)),
        Thing("services", world, ("stack", "images")),
    ]


def ops(changes: list[Change]) -> dict[str, Op]:
    return {change.name: change.op for change in changes}


def as_wanted(name: str, ready: bool = True) -> Actual:
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


def test_a_fingerprint_does_not_depend_on_the_order_of_keys_but_on_every_value() -> None:
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    assert fingerprint({"a": [1, 2]}) != fingerprint({"a": [2, 1]})
    assert fingerprint({"a": 1}) != fingerprint({"a": "1"})


# --- plan


def test_plan_changes_nothing_and_keeps_the_lists_order(world: Runtime) -> None:
    world.there["stack"] = as_wanted("stack", ready=False)
    world.there["images"] = Actual(None, True, "old")
    world.there["cluster"] = as_wanted("cluster")
    changes = walk.plan(chain(world))
    assert [(c.name, c.op, c.detail) for c in changes] == [
        ("cluster", "keep", "there"),
        ("stack", "wait", "there"),
        ("images", "update", "old"),
        ("services", "create", ""),
    ]
    assert world.done == []


def test_in_a_world_that_does_not_exist_everything_is_to_be_created(world: Runtime) -> None:
    class Absent(Thing):
        def found(self) -> Actual | None:
            raise TargetAbsent("no world")

    assert ops(walk.plan([Absent("cluster", world)])) == {"cluster": "create"}
    assert ops(walk.up([Absent("cluster", world)], NullObserver())) == {"cluster": "create"}


# --- up


def test_each_step_runs_after_those_it_needs(world: Runtime) -> None:
    changes = walk.up(chain(world), NullObserver())
    assert [c.name for c in changes] == ["cluster", "stack", "images", "services"]
    assert set(ops(changes).values()) == {"create"}
    at = {text: number for number, text in enumerate(world.done)}
    assert at["cluster is made"] < min(at["+stack"], at["+images"])
    assert max(at["stack is made"], at["images is made"]) < at["+services"]


def test_a_second_time_keeps_everything_and_acts_on_nothing(world: Runtime) -> None:
    walk.up(chain(world), NullObserver())
    world.done.clear()
    watcher = Watcher()
    assert set(ops(walk.up(chain(world), watcher)).values()) == {"keep"}
    assert world.done == []
    assert [told for told in watcher.told if told[0] == "begins"] == []


def test_what_does_not_need_each_other_runs_at_the_same_time(world: Runtime) -> None:
    """Each of the two waits for the other to have begun: one after the other, neither would end."""
    together = threading.Barrier(2, timeout=PATIENCE)
    steps = chain(world)
    for step in steps[1:3]:
        step.work = lambda report: together.wait() and None
    walk.up(steps, NullObserver())
    assert "services is made" in world.done


def test_what_is_not_wanted_any_more_is_destroyed(world: Runtime) -> None:
    world.there["old"] = as_wanted("old")
    assert ops(walk.up([Thing("old", world, unwanted=True)], NullObserver())) == {"old": "destroy"}
    assert world.there == {}
    assert ops(walk.up([Thing("old", world, unwanted=True)], NullObserver())) == {"old": "keep"}


def test_a_need_that_is_not_in_the_list_is_taken_for_done(world: Runtime) -> None:
    assert ops(walk.up([Thing("services", world, ("stack",))], NullObserver())) == {"services": "create"}


def test_it_is_decided_again_just_before_acting(world: Runtime) -> None:
    """What a step makes may be all that a later one wants."""
    steps = chain(world)[:2]
    steps[0].work = lambda report: world.there.update(stack=as_wanted("stack"))
    assert ops(walk.up(steps, NullObserver())) == {"cluster": "create", "stack": "keep"}


def test_the_observer_is_told_of_each_step_in_turn(world: Runtime) -> None:
    watcher = Watcher()
    walk.up([Thing("cluster", world, work=lambda report: report.say("making it"))], watcher)
    assert watcher.told == [
        ("begins", "cluster", "create"),
        ("says", "cluster", "making it"),
        ("ends", "cluster", "create"),
    ]


# --- failing


def test_what_needs_a_failed_step_is_not_run(world: Runtime) -> None:
    steps = chain(world)
    error = StepFailed("the stack ended in ROLLBACK_COMPLETE")
    steps[1].work = fails(error)
    watcher = Watcher()
    with pytest.raises(StepFailed) as raised:
        walk.up(steps, watcher)
    assert raised.value is error
    assert "+services" not in world.done
    assert watcher.failed == {"stack": error}


def test_a_step_beside_the_failed_one_is_told_to_stop_waiting(world: Runtime) -> None:
    """The stack would wait for its pause to end; the failing image ends it, and is what is raised."""
    waits = threading.Event()

    def wait_long(report: Report) -> None:
        waits.set()
        report.pause(PATIENCE)
        raise AssertionError("the pause was not cut short")

    def fail_then(report: Report) -> None:
        assert waits.wait(PATIENCE)
        raise StepFailed("no Dockerfile")

    steps = chain(world)
    steps[1].work, steps[2].work = wait_long, fail_then
    watcher = Watcher()
    with pytest.raises(StepFailed, match="no Dockerfile"):
        walk.up(steps, watcher)
    assert list(watcher.failed) == ["images"]


def test_the_first_error_is_the_root(world: Runtime) -> None:
    first_has_failed = threading.Event()

    def fail_second(report: Report) -> None:
        assert first_has_failed.wait(PATIENCE)
        raise StepFailed("second")

    class Watch(Watcher):
        def fails(self, step: str, error: BaseException) -> None:
            super().fails(step, error)
            first_has_failed.set()

    steps = chain(world)
    steps[1].work, steps[2].work = fails(StepFailed("first")), fail_second
    with pytest.raises(StepFailed, match="first"):
        walk.up(steps, Watch())


def test_an_error_that_is_not_ours_is_told_with_its_step(world: Runtime) -> None:
    """A time-out, or an error of an AWS client, says nothing of where it happened."""
    cause = TimeoutError("not after 60 s")
    steps = chain(world)
    steps[1].work = fails(cause)
    with pytest.raises(StepFailed) as raised:
        walk.up(steps, NullObserver())
    assert (raised.value.where, raised.value.why) == ("step stack", "TimeoutError: not after 60 s")
    assert raised.value.__cause__ is cause


def test_an_error_while_planning_is_told_with_its_step(world: Runtime) -> None:
    class Broken(Thing):
        def found(self) -> Actual | None:
            raise ValueError("that is no answer")

    with pytest.raises(StepFailed) as raised:
        walk.plan([Thing("cluster", world), Broken("stack", world)])
    assert (raised.value.where, raised.value.why) == ("step stack", "ValueError: that is no answer")


class Silent(Thing):
    """Nobody answers what is there."""

    def found(self) -> Actual | None:
        raise Unreachable("The registry does not answer", where="r.example", why="time-out")


def test_a_sight_tells_of_a_step_that_finds_no_answer_and_of_all_others(world: Runtime) -> None:
    world.there = {"cluster": as_wanted("cluster"), "services": as_wanted("services")}
    changes = walk.inspect_all([Thing("cluster", world), Silent("images", world), Thing("services", world)])
    assert ops(changes) == {"cluster": "keep", "images": "wait", "services": "keep"}
    assert changes[1].detail == "The registry does not answer (r.example): time-out"


def test_nothing_is_seen_without_the_first_step(world: Runtime) -> None:
    with pytest.raises(Unreachable):
        walk.inspect_all([Silent("ground", world), Thing("cluster", world)])


def test_what_nobody_foresaw_is_an_error_of_a_sight_too(world: Runtime) -> None:
    class Broken(Thing):
        def found(self) -> Actual | None:
            raise ValueError("that is no answer")

    with pytest.raises(StepFailed):
        walk.inspect_all([Thing("cluster", world), Broken("stack", world)])


def test_an_observer_that_cannot_tell_ends_the_walk(world: Runtime) -> None:
    """Its stream may be closed (`ecsconsul up 2>&1 | head -1`; rich exits then): the walk ends, and does not hang."""

    class Closed(NullObserver):
        def ends(self, change: Change) -> None:
            raise SystemExit(1)

        def fails(self, step: str, error: BaseException) -> None:
            raise SystemExit(1)

    raised: list[BaseException] = []

    def go() -> None:
        try:
            walk.up(chain(world), Closed())
        except SystemExit as error:
            raised.append(error)

    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert len(raised) == 1
    assert "+stack" not in world.done


# --- what goes on without the walk


def begins_and(then: Callable[[Report], None]) -> Callable[[Report], None]:
    def work(report: Report) -> None:
        report.under_way("stack blue: CREATE_IN_PROGRESS")
        then(report)

    return work


def left(watcher: Watcher) -> list[tuple[str, ...]]:
    return [told[1:] for told in watcher.told if told[0] == "leaves"]


def test_what_a_failed_walk_leaves_under_way_is_told(world: Runtime) -> None:
    """The image fails while the stack is created: AWS goes on with it."""
    begun = threading.Event()

    def wait_long(report: Report) -> None:
        begun.set()
        report.pause(PATIENCE)

    def fail_then(report: Report) -> None:
        assert begun.wait(PATIENCE)
        raise StepFailed("no Dockerfile")

    steps = chain(world)
    steps[1].work, steps[2].work = begins_and(wait_long), fail_then
    watcher = Watcher()
    with pytest.raises(StepFailed):
        walk.up(steps, watcher)
    assert left(watcher) == [("stack", "stack blue: CREATE_IN_PROGRESS")]


def test_what_was_waited_for_to_its_end_is_not_left(world: Runtime) -> None:
    steps = chain(world)
    steps[1].work, steps[3].work = begins_and(nothing), fails(StepFailed("crashes"))
    watcher = Watcher()
    with pytest.raises(StepFailed):
        walk.up(steps, watcher)
    assert left(watcher) == []


def test_the_observer_is_told_of_parts(world: Runtime) -> None:
    watcher = Watcher()
    part = SubResource("ConsulServer", "runs", "CREATE_IN_PROGRESS")
    walk.up([Thing("stack", world, work=lambda report: report.part(part))], watcher)
    assert ("tells", "stack", "ConsulServer") in watcher.told


# --- down


def test_down_is_the_same_graph_backwards(world: Runtime) -> None:
    walk.up(chain(world), NullObserver())
    world.done.clear()
    changes = walk.down(chain(world), NullObserver())
    assert set(ops(changes).values()) == {"destroy"}
    assert world.done[0] == "-services"
    assert world.done[-1] == "-cluster"
    assert world.there == {}


def test_down_twice_is_fine(world: Runtime) -> None:
    assert set(ops(walk.down(chain(world), NullObserver())).values()) == {"keep"}


def test_down_in_a_world_that_does_not_exist_finds_nothing(world: Runtime) -> None:
    class Absent(Thing):
        def found(self) -> Actual | None:
            raise TargetAbsent("no world")

        def destroy(self, report: Report) -> str:
            raise TargetAbsent("no world")

    (change,) = walk.down([Absent("cluster", world)], NullObserver())
    assert (change.op, change.detail) == ("keep", "absent")


def test_down_does_not_take_away_what_a_thing_that_stays_stands_on(world: Runtime) -> None:
    walk.up(chain(world), NullObserver())
    steps = chain(world)
    steps[3].work = fails(StepFailed("the service does not drain"))
    with pytest.raises(StepFailed, match="does not drain"):
        walk.down(steps, NullObserver())
    assert set(world.there) == {"cluster", "stack", "images", "services"}


# --- objections


def test_all_objections_are_told_at_once(world: Runtime) -> None:
    port, folder = LabError("port taken"), LabError("folder missing")
    steps = [Thing("ground", world, against=(port,)), Thing("cluster", world), Thing("x", world, against=(folder,))]
    assert walk.blockers(steps) == [port, folder]
    assert world.done == []


# --- Ctrl-C


WAITING = """
import sys, threading
sys.path.insert(0, {tests!r})
from tests.deploy.test_executor import Thing, World, chain
from ecsconsul.deploy import executor as walk

class Watcher(walk.NullObserver):
    def leaves(self, step, text):
        print(step, "leaves", text, flush=True)

def work(report):
    report.under_way("it goes on")
    print("waiting", flush=True)
    threading.Event().wait({seconds})   # a request that does not answer, and hears of no interruption

steps = chain(World())
steps[0].work = work
try:
    walk.up(steps, Watcher())
except walk.Interrupted:
    print("interrupted", flush=True)
"""


def test_ctrl_c_ends_the_wait_whatever_a_request_is_still_doing() -> None:
    root = Path(__file__).parents[2]
    script = WAITING.format(tests=str(root), seconds=3 * PATIENCE)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "waiting\n"
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert (said, process.returncode) == ("cluster leaves it goes on\ninterrupted\n", 0)


def test_a_step_that_pauses_when_the_user_stops_is_not_a_failure(world: Runtime) -> None:
    watcher = Watcher()
    steps = [Thing("cluster", world, work=fails(Interrupted()))]
    with pytest.raises(Interrupted):
        walk.up(steps, watcher)
    assert watcher.failed == {}
