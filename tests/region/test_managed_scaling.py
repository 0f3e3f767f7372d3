"""Groups of capacity providers grow when tasks find no place, and shrink when instances are idle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ecsconsul.consul.lab_secrets import new_secrets
from ecsconsul.region import managed_scaling
from ecsconsul.region.auto_scaling import Group
from ecsconsul.region.consul_acl import ConsulAcl
from ecsconsul.region.control_loop import ControlLoop
from ecsconsul.region.ecs.model import DRAINING, RUNNING, CapacityProvider, Service, Task
from ecsconsul.region.managed_scaling import Grow, ManagedScaling, Shrink, decide, fits_somewhere
from ecsconsul.region.runtimes.lab_dir import LabDir
from tests.region.ecs.factories import CLUSTER, container, definition, instance, new_ecs, service
from tests.region.fakes import FakeContainers, ec2_instance

Until = Callable[..., None]
# two of these don't fit on one instance
HALF = definition("weather", 1, container(memory=2100))
NOW = 1000.0
STRATEGY = [{"capacityProvider": "provider", "weight": 1}]


def group(desired: int, *instances: str, minimum: int = 1, maximum: int = 3) -> Group:
    return Group("group", minimum, maximum, desired, instances)


@pytest.mark.parametrize(
    ("of", "joined", "unplaced", "expected"),
    [
        (group(2, "i-1", "i-2"), "12", True, Grow("group", 3)),
        (group(2, "i-1", "i-2"), "12", False, None),
        (group(2, "i-1", "i-2", maximum=2), "12", True, None),
        (group(2, "i-1", "i-2"), "1", True, None),
        (group(3, "i-1", "i-2"), "12", True, None),
        (group(0, minimum=0), "", True, Grow("group", 1)),
    ],
)
def test_group_grows_by_one_after_the_last_one_has_joined(
    of: Group, joined: str, unplaced: bool, expected: Grow | None
) -> None:
    assert decide(of, [f"i-{number}" for number in joined], {}, unplaced, NOW) == expected


@pytest.mark.parametrize(
    ("of", "idle", "unplaced", "expected"),
    [
        (group(2, "i-1", "i-2"), {"i-1": 60.0}, False, Shrink("i-1")),
        (group(2, "i-1", "i-2"), {"i-1": 59.0}, False, None),
        (group(2, "i-1", "i-2"), {"i-1": 60.0, "i-2": 60.0}, False, Shrink("i-2")),
        (group(2, "i-1", "i-2"), {"i-1": 60.0}, True, Grow("group", 3)),
        (group(2, "i-1", "i-2", minimum=2), {"i-1": 60.0}, False, None),
        (group(2, "i-1", "i-2"), {"i-other": 60.0}, False, None),
    ],
)
def test_group_shrinks_by_an_instance_that_was_idle_for_long(
    of: Group, idle: dict[str, float], unplaced: bool, expected: Grow | Shrink | None
) -> None:
    since = {name: NOW - seconds for name, seconds in idle.items()}
    assert decide(of, ["i-1", "i-2"], since, unplaced, NOW) == expected


def test_task_that_is_too_big_for_any_instance_lets_nothing_grow() -> None:
    one = service()
    assert fits_somewhere(one, [])
    assert fits_somewhere(one, [instance(status=DRAINING)])
    one.primary.task_definition = definition("big", 1, container(memory=9000))
    assert not fits_somewhere(one, [instance()])


class FakeGroups:
    """One group, whose instances join the control loop when they are launched."""

    def __init__(self, loop: ControlLoop, folder: Path) -> None:
        self._loop = loop
        self._folder = folder
        self._instances: dict[str, Any] = {}
        self._launched = 0
        self.sizes: list[int] = []
        self.present = True

    def launch(self) -> None:
        self._launched += 1
        name = f"i-{self._launched}"
        self._instances[name] = ec2_instance(self._folder, name)
        self._loop.add_instance(self._instances[name], instance(name))

    def group(self, name_or_arn: str) -> Group | None:
        assert name_or_arn == "arn:group"
        return Group("group", 1, 3, len(self._instances), tuple(self._instances)) if self.present else None

    def grow(self, group: str, desired: int) -> None:
        assert (group, desired) == ("group", len(self._instances) + 1)
        self.launch()
        self.sizes.append(len(self._instances))

    def remove_from_group(self, instance_id: str) -> None:
        self._loop.remove_instance(self._instances.pop(instance_id))
        self.sizes.append(len(self._instances))


class ScalingRegion:
    """A control loop whose provider's group begins with one instance."""

    def __init__(self, lab_dir: LabDir, folder: Path) -> None:
        self.ecs = new_ecs()
        self.containers = FakeContainers()
        self.loop = ControlLoop(self.ecs, self.containers, lab_dir, ConsulAcl(new_secrets("lab")), "")
        self.groups = FakeGroups(self.loop, folder)
        self.changes = 0
        self.scaling = ManagedScaling(self.ecs, self.loop, self.groups, self._changed)
        self.groups.launch()
        self.loop.start()
        self.scaling.start()

    def _changed(self) -> None:
        self.changes += 1

    def provide(self, status: str = "ENABLED") -> CapacityProvider:
        with self.ecs.lock:
            provider = CapacityProvider("provider", "arn:provider", "arn:group", {"status": status})
            self.ecs.capacity_providers["provider"] = provider
            self.ecs.changed.set()
        return provider

    def create(self, desired: int, own: dict[str, Any] = HALF, **request: Any) -> Service:
        with self.ecs.lock:
            return self.ecs.create_service(CLUSTER, "weather", desired, own, request)

    def scale(self, service: Service, desired: int) -> None:
        with self.ecs.lock:
            self.ecs.update_service(service, desired, None, {})

    def tasks(self) -> list[Task]:
        with self.ecs.lock:
            return [task for task in self.ecs.tasks() if task.last_status == RUNNING]

    def messages(self, service: Service) -> str:
        with self.ecs.lock:
            return "\n".join(event["message"] for event in service.events)


@pytest.fixture
def region(lab_dir: LabDir, tmp_path: Path) -> Iterator[ScalingRegion]:
    region = ScalingRegion(lab_dir, tmp_path)
    yield region
    region.scaling.close()
    region.containers.close()
    region.loop.close()


def test_task_without_a_place_lets_the_group_grow_up_to_its_maximum(region: ScalingRegion, until: Until) -> None:
    region.provide()
    service = region.create(3, capacityProviderStrategy=STRATEGY)
    until(lambda: len(region.tasks()) == 3)
    until(lambda: region.groups.sizes == [2, 3])
    assert "unable to place" not in region.messages(service), "the tasks only had to wait"
    until(lambda: region.changes == 2)
    region.scale(service, 4)
    until(lambda: "unable to place" in region.messages(service))
    assert region.groups.sizes == [2, 3]


def test_idle_instances_leave_down_to_the_minimum(
    region: ScalingRegion, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    region.provide()
    service = region.create(3, capacityProviderStrategy=STRATEGY)
    until(lambda: len(region.tasks()) == 3)
    until(lambda: region.groups.sizes == [2, 3])
    region.scale(service, 1)
    until(lambda: len(region.tasks()) == 1)
    assert region.groups.sizes == [2, 3], "not at once"
    monkeypatch.setattr(managed_scaling, "IDLE_SECONDS", 0.3)
    # any change: the thread sleeps until the end of the minute that it knows of
    region.ecs.changed.set()
    until(lambda: region.groups.sizes == [2, 3, 2, 1])
    assert len(region.tasks()) == 1
    region.scale(service, 0)
    until(lambda: not region.tasks())
    assert region.groups.sizes == [2, 3, 2, 1]


@pytest.mark.parametrize(
    ("status", "request_"), [("DISABLED", {"capacityProviderStrategy": STRATEGY}), ("ENABLED", {"launchType": "EC2"})]
)
def test_only_managed_groups_grow_for_services_of_their_provider(
    region: ScalingRegion, until: Until, status: str, request_: dict[str, Any]
) -> None:
    region.provide(status)
    service = region.create(2, **request_)
    until(lambda: "unable to place" in region.messages(service))
    assert region.groups.sizes == []


def test_group_grows_as_soon_as_it_is_managed(region: ScalingRegion, until: Until) -> None:
    provider = region.provide("DISABLED")
    service = region.create(2, capacityProviderStrategy=STRATEGY)
    until(lambda: "unable to place" in region.messages(service))
    with region.ecs.lock:
        provider.managed_scaling["status"] = "ENABLED"
        region.ecs.changed.set()
    until(lambda: len(region.tasks()) == 2)


def test_deleted_group_is_ignored(region: ScalingRegion, until: Until) -> None:
    region.groups.present = False
    region.provide()
    service = region.create(2, capacityProviderStrategy=STRATEGY)
    until(lambda: "unable to place" in region.messages(service))


def test_task_that_never_fits_is_reported(region: ScalingRegion, until: Until) -> None:
    region.provide()
    big = definition("big", 1, container(memory=9000))
    service = region.create(1, big, capacityProviderStrategy=STRATEGY)
    until(lambda: "unable to place" in region.messages(service))
    assert region.groups.sizes == []
