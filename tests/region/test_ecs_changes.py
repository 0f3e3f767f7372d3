"""The region's ECS as those see it who follow it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ecsconsul.errors import LabError, Unreachable
from ecsconsul.observe.states import EcsState
from ecsconsul.region.ecs_changes import EcsChanges
from ecsconsul.region.runtimes.lab_dir import AccessKey, LabDir
from ecsconsul.targets.aws.ecs_state import ecs_state
from ecsconsul.targets.local.region_state import region_state
from tests.region.api_region import ApiRegion
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
    with region.ecs.lock:
        state, _ = changes.state(-1, 0.0)
        messages = [event["message"] for event in service.events]
    [seen] = state.services
    assert (seen.name, seen.desired, seen.revision) == ("weather", 2, "weather:1")
    assert [event.text for event in seen.events] == messages[:20]
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


# what a client gets of a region, by its own request and by AWS's


@pytest.fixture(scope="module")
def weather(api: ApiRegion, tmp_path_factory: pytest.TempPathFactory) -> ApiRegion:
    """A region with a service of two tasks."""
    ecs = api.client("ecs")
    ecs.create_cluster(clusterName="seen")
    api.add_instance(tmp_path_factory.mktemp("instance"), "seen", "i-1")
    container = {"name": "app", "image": "steady", "memory": 20, "cpu": 10, "portMappings": [{"containerPort": 80}]}
    ecs.register_task_definition(family="weather", containerDefinitions=[container])
    ecs.create_service(cluster="seen", serviceName="weather", taskDefinition="weather", desiredCount=2)
    return api


def known(state: EcsState) -> tuple[object, ...]:
    """What both ways must agree on; AWS's rounds times and rejects events that are older."""
    tasks = sorted((t.id, t.service, t.node, t.status, t.revision, t.exit_codes) for t in state.tasks)
    containers = sorted((c.name, c.status, c.ports, c.cpu, c.memory) for t in state.tasks for c in t.containers)
    services = [(s.name, s.desired, s.running, s.revision, s.rollout) for s in state.services]
    return tasks, containers, services, [event.text for s in state.services for event in s.events]


def test_both_targets_see_the_same(weather: ApiRegion, until: Until) -> None:
    def own() -> EcsState:
        return region_state(weather.endpoint, weather.moto.region, weather.key, -1, 0.0)

    until(lambda: [one.running for one in own().services] == [2])
    first = own().tasks[0]
    weather.runtime.containers[first.id, "app"].end(3)
    until(lambda: any(task.status == "STOPPED" for task in own().tasks) and own().services[0].running == 2)
    ecs = weather.client("ecs")
    by_aws, pace = ecs_state(ecs, "seen", -1)
    assert known(by_aws) == known(own())
    assert pace >= 3.0
    assert (by_aws.own_clock, own().own_clock) == (False, True)
    assert ecs_state(ecs, "seen", -1)[0].version == by_aws.version
    stopped = next(task for task in by_aws.tasks if task.id == first.id)
    [same] = [task for task in own().tasks if task.id == first.id]
    assert stopped.stopped == pytest.approx(same.stopped, abs=0.01)


def test_client_waits_for_the_next_state(weather: ApiRegion) -> None:
    now = region_state(weather.endpoint, weather.moto.region, weather.key, -1, 0.0)
    found: list[EcsState] = []

    def wait() -> None:
        version = now.version
        while not found or [one.desired for one in found[-1].services] != [1]:
            found.append(region_state(weather.endpoint, weather.moto.region, weather.key, version, 10.0))
            version = found[-1].version

    waiting = threading.Thread(target=wait)
    waiting.start()
    weather.client("ecs").update_service(cluster="seen", service="weather", desiredCount=1)
    waiting.join(TIMEOUT)
    assert not waiting.is_alive()


def test_who_has_not_the_key_is_refused(api: ApiRegion) -> None:
    with pytest.raises(Unreachable, match=r"403|400"):
        region_state(api.endpoint, api.moto.region, AccessKey.random(), -1, 0.0)


def test_cluster_that_does_not_exist_is_an_error(api: ApiRegion) -> None:
    with pytest.raises(LabError, match="ECS does not answer"):
        ecs_state(api.client("ecs"), "absent", -1)
