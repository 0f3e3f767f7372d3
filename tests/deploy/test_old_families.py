"""Families without the lab's name, as earlier versions made them: a lab moves out of them, or is deleted from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ecsconsul.aws_tags import LAB_TAG
from ecsconsul.cli.changes import all_steps
from ecsconsul.config.lab import Lab, ServiceSpec
from ecsconsul.deploy import executor
from ecsconsul.deploy.lab_status import collect
from ecsconsul.deploy.lab_steps import poller_for
from ecsconsul.deploy.old_families import old_families
from ecsconsul.deploy.orphans import orphaned_services
from ecsconsul.deploy.step import Change, Step
from ecsconsul.deploy.step1_cluster import ClusterStep
from ecsconsul.deploy.step3_images import ImageStep
from ecsconsul.deploy.step4_task_definitions import TaskDefinitionStep
from ecsconsul.deploy.step5_services import ServiceStep
from tests.deploy.world import FakeTarget, Runtime, SilentObserver

KINDS = ("cluster", "images/", "tasks/", "services/", "families/")
APP = {"name": "app", "image": "theirs", "memory": 8}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(name="blue", services=tuple(ServiceSpec(name=n, path=str(tmp_path)) for n in ("weather", "portal")))


@pytest.fixture
def target(world: Runtime) -> FakeTarget:
    world.add_instance("blue")
    return FakeTarget(world.endpoint("region"))


class OldTaskDefinitionStep(TaskDefinitionStep):
    """As an earlier version registered it."""

    def __init__(self, lab: Lab, service: ServiceSpec, target: FakeTarget) -> None:
        super().__init__(lab, service, ImageStep(service, target, lab.base_image), target)
        self.family = service.name


def old_up(lab: Lab, target: FakeTarget) -> None:
    """What an earlier version's `up` did."""
    poller = poller_for(lab, target)
    tasks = [OldTaskDefinitionStep(lab, service, target) for service in lab.services]
    services = [ServiceStep(lab, s, task, target, poller) for s, task in zip(lab.services, tasks, strict=True)]
    images = [ImageStep(service, target, lab.base_image) for service in lab.services]
    executor.up([ClusterStep(lab, target), *images, *tasks, *services], SilentObserver())
    target.requests.clear()


def steps(lab: Lab, target: FakeTarget) -> list[Step]:
    return [step for step in all_steps(lab, target) if step.name.startswith(KINDS)]


def up(lab: Lab, target: FakeTarget) -> list[Change]:
    return executor.up(steps(lab, target), SilentObserver())


def down(lab: Lab, target: FakeTarget) -> None:
    # the cluster stays: no stack takes its instance away
    executor.down([step for step in steps(lab, target) if step.name != "cluster"], SilentObserver())


def changed(changes: Sequence[Change]) -> dict[str, str]:
    return {change.name: change.op for change in changes if change.op != "keep"}


def definitions(target: FakeTarget) -> list[str]:
    ecs = target.client("ecs")
    arns = [a for s in ("ACTIVE", "INACTIVE") for a in ecs.list_task_definitions(status=s)["taskDefinitionArns"]]
    return sorted(arn.rpartition("/")[2] for arn in arns)


def running(lab: Lab, target: FakeTarget) -> dict[str, str]:
    names = [service.name for service in lab.services]
    found = target.client("ecs").describe_services(cluster=lab.name, services=names)["services"]
    return {one["serviceName"]: one["taskDefinition"].rpartition("/")[2] for one in found if one["status"] == "ACTIVE"}


def register(target: FakeTarget, family: str, **more: Any) -> None:
    target.client("ecs").register_task_definition(family=family, containerDefinitions=[APP], **more)


def test_plan_says_what_moves(lab: Lab, target: FakeTarget) -> None:
    old_up(lab, target)
    found = {change.name: change for change in executor.plan(steps(lab, target))}
    assert changed(list(found.values())) == {
        "tasks/weather": "update", "tasks/portal": "update",
        "services/weather": "update", "services/portal": "update",
        "families/weather": "destroy", "families/portal": "destroy",
    }  # fmt: skip
    assert found["tasks/portal"].detail == "portal:1"
    assert found["families/portal"].detail == "portal:1, replaced by the family blue-portal"
    assert target.writes() == []


def test_up_moves_the_lab(lab: Lab, target: FakeTarget) -> None:
    old_up(lab, target)
    register(target, "portal")
    register(target, "weather", tags=[{"key": LAB_TAG, "value": "green"}])
    up(lab, target)
    assert running(lab, target) == {"weather": "blue-weather:1", "portal": "blue-portal:1"}
    assert definitions(target) == ["blue-portal:1", "blue-weather:1", "portal:2", "weather:2"], "others' are left alone"
    target.requests.clear()
    assert changed(up(lab, target)) == {}
    assert target.writes() == []


def test_old_definition_stays_until_its_service_has_moved(lab: Lab, target: FakeTarget) -> None:
    """A failed rollout goes back to it."""
    old_up(lab, target)
    changes = [change.name for change in up(lab, target)]
    assert changes[-2:] == ["families/weather", "families/portal"]
    writes = target.writes()
    assert writes.index("DeregisterTaskDefinition") > writes.index("UpdateService")
    assert old_families(lab, target) == []
    for step in (step for step in steps(lab, target) if step.name.startswith("families/")):
        assert step.needs == (step.name.replace("families/", "services/"),)


def test_interrupted_move_is_continued(lab: Lab, target: FakeTarget) -> None:
    """The services have moved, and the old families are still there."""
    old_up(lab, target)
    executor.up([s for s in steps(lab, target) if not s.name.startswith("families/")], SilentObserver())
    assert changed(executor.plan(steps(lab, target))) == {"families/weather": "destroy", "families/portal": "destroy"}
    up(lab, target)
    assert definitions(target) == ["blue-portal:1", "blue-weather:1"]


def test_down_of_a_lab_that_never_moved(lab: Lab, target: FakeTarget) -> None:
    old_up(lab, target)
    register(target, "portal")
    down(lab, target)
    assert definitions(target) == ["portal:2"]


def test_deregistered_definitions_of_an_old_family_are_deleted(lab: Lab, target: FakeTarget) -> None:
    """An earlier `down` was killed between deregistering and deleting: nothing is active, and no step names it."""
    old_up(lab, target)
    for name in ("weather", "portal"):
        target.client("ecs").deregister_task_definition(taskDefinition=f"{name}:1")
    assert old_families(lab, target) == []
    down(lab, target)
    assert definitions(target) == []


def test_orphan_with_an_old_family_is_deleted(lab: Lab, target: FakeTarget) -> None:
    old_up(lab, target)
    smaller = replace(lab, services=lab.services[:1])
    assert [step.name for step in orphaned_services(smaller, target)] == ["services/portal"]
    up(smaller, target)
    assert definitions(target) == ["blue-weather:1"]


def test_somebody_elses_family_is_no_step(lab: Lab, target: FakeTarget) -> None:
    register(target, "portal")
    register(target, "weather", tags=[{"key": LAB_TAG, "value": "green"}])
    assert old_families(lab, target) == []
    up(lab, target)
    down(lab, target)
    assert definitions(target) == ["portal:1", "weather:1"]


def test_new_family_may_have_the_name_of_an_old_one(lab: Lab, target: FakeTarget) -> None:
    """Service blue-weather's old family is weather's new one."""
    both = replace(lab, services=(lab.services[0], replace(lab.services[1], name="blue-weather")))
    old_up(both, target)
    up(both, target)
    assert running(both, target) == {"weather": "blue-weather:2", "blue-weather": "blue-blue-weather:1"}
    assert definitions(target) == ["blue-blue-weather:1", "blue-weather:2"]
    assert changed(executor.plan(steps(both, target))) == {}


def test_lab_that_has_moved_costs_one_request(lab: Lab, target: FakeTarget) -> None:
    up(lab, target)
    target.requests.clear()
    assert old_families(lab, target) == []
    assert target.requests == ["ListTaskDefinitionFamilies"]


def test_status_of_a_lab_that_has_not_moved(lab: Lab, target: FakeTarget) -> None:
    old_up(lab, target)
    found = {step["name"]: step for step in collect(lab, target)["steps"]}
    assert (found["tasks/portal"]["op"], found["tasks/portal"]["detail"]) == ("update", "portal:1")
