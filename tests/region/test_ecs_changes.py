"""The region's ECS as those see it who follow it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ecsconsul.observe.states import EcsState
from ecsconsul.region.ecs_changes import EcsChanges
from ecsconsul.region.runtimes.lab_dir import LabDir
from tests.region.test_control_loop import LoopRegion

Until = Callable[..., None]
TIMEOUT = 60.0


@pytest.fixture
def region(lab_dir: LabDir, tmp_path: Path) -> Iterator[LoopRegion]:
    region = LoopRegion(lab_dir, tmp_path)
    yield region
    region.runtime.close()
    region.loop.close()


@pytest.fixture
def changes(region: LoopRegion) -> EcsChanges:
    return EcsChanges(region.ecs, region.loop)


def test_change_is_told_to_who_waits(region: LoopRegion, changes: EcsChanges) -> None:
    known, pace = changes.state(-1, TIMEOUT)
    assert (known.tasks, known.services, pace) == ((), (), 0.0)
    found: list[EcsState] = []
    waiting = threading.Thread(target=lambda: found.append(changes.state(known.version, TIMEOUT)[0]))
    waiting.start()
    region.create(desired=1)
    waiting.join(TIMEOUT)
    assert [one.name for one in found[0].services] == ["weather"]
    assert found[0].version > known.version


def test_tasks_and_services_are_told(region: LoopRegion, changes: EcsChanges, until: Until) -> None:
    service = region.create(desired=2)
    until(lambda: len(region.tasks()) == 2 and changes.state(-1, 0.0)[0].services[0].running == 2)
    region.end(region.tasks()[0], code=3)
    until(lambda: any(task.status == "STOPPED" for task in changes.state(-1, 0.0)[0].tasks))
    state, _ = changes.state(-1, 0.0)
    [seen] = state.services
    assert (seen.name, seen.desired, seen.revision) == ("weather", 2, "weather:1")
    assert [event.text for event in seen.events] == [event["message"] for event in list(service.events)[:20]]
    [stopped] = [task for task in state.tasks if task.status == "STOPPED"]
    assert (stopped.exit_codes, stopped.stop_code) == ("exit code 3", "EssentialContainerExited")
    assert state.own_clock


def test_version_stays_while_nothing_changes(changes: EcsChanges) -> None:
    known, _ = changes.state(-1, 0.0)
    assert changes.state(known.version, 0.05)[0] is known


def test_closing_wakes_who_waits(changes: EcsChanges) -> None:
    known, _ = changes.state(-1, 0.0)
    waiting = threading.Thread(target=lambda: changes.state(known.version, TIMEOUT))
    waiting.start()
    changes.close()
    waiting.join(TIMEOUT)
    assert not waiting.is_alive()
