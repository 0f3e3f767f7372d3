"""The revisions of a service: where a rollback goes, which are kept, and what `up` records."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from ecsconsul.config.container_spec import ContainerSpec
from ecsconsul.config.lab import Lab, ServiceSpec
from ecsconsul.deploy import executor
from ecsconsul.deploy.revisions import Revision, history, rollback_target, superfluous
from ecsconsul.deploy.service_poller import ServicePoller
from ecsconsul.deploy.step1_cluster import ClusterStep
from ecsconsul.deploy.step3_images import ImageStep, images_of
from ecsconsul.deploy.step4_task_definitions import TaskDefinitionStep
from ecsconsul.deploy.step5_services import ServiceStep
from tests.deploy.world import FakeTarget, RecordingReport, Runtime, SilentObserver


def revision(number: int, stable: str = "", rolled_back: str = "", running: int = 0, current: bool = False) -> Revision:
    return Revision(number, f"family:{number}", "image", "", "", stable, rolled_back, running, current)


def test_rollback_goes_to_the_newest_older_one_that_was_stable() -> None:
    revisions = [revision(4, "t4"), revision(3), revision(2, "t2"), revision(1, "t1")]
    found = rollback_target(revisions, 4)
    assert found and found.number == 2


def test_second_rollback_goes_further_back() -> None:
    found = rollback_target([revision(3, "t3", "t4"), revision(2, "t5"), revision(1, "t1")], 2)
    assert found and found.number == 1


def test_rolled_back_revision_is_passed_over_until_it_is_stable_again() -> None:
    first, third = revision(1, "t1"), revision(3, "t6")
    bad, better = revision(2, "t2", "t3"), revision(2, "t4", "t3")
    assert rollback_target([third, bad, first], 3) == first
    assert rollback_target([third, better, first], 3) == better


def test_nothing_to_go_back_to() -> None:
    assert rollback_target([revision(2, "t2"), revision(1)], 2) is None


@pytest.mark.parametrize(
    ("keep", "removed"),
    [
        (10, []),
        (3, [1]),  # 2 is where a rollback goes
        (1, [1, 3]),
    ],
)
def test_superfluous_revisions(keep: int, removed: list[int]) -> None:
    revisions = [
        revision(5),
        revision(4, "t4", running=1, current=True),
        revision(3, "t3", "t5"),
        revision(2, "t2"),
        revision(1, "t1"),
    ]
    assert sorted(one.number for one in superfluous(revisions, keep)) == removed


def test_running_revision_is_never_removed() -> None:
    revisions = [revision(9), revision(8), revision(1, running=1)]
    assert [one.number for one in superfluous(revisions, 1)] == [8]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(name="blue", keep=2, services=(ServiceSpec(name="weather", path=str(tmp_path)),))


@pytest.fixture
def region(world: Runtime, lab: Lab) -> FakeTarget:
    target = FakeTarget(world.endpoint("region"))
    ClusterStep(lab, target).apply(None, RecordingReport())
    world.add_instance(lab.name, cpu=100_000, memory=100_000)
    return target


def deploy(lab: Lab, target: FakeTarget, *containers: ContainerSpec, **environment: str) -> None:
    spec = replace(lab.services[0], environment=environment, containers=containers)
    images = images_of(spec, target)
    built = [image for image in images.values() if isinstance(image, ImageStep)]
    task = TaskDefinitionStep(lab, spec, images["weather"], target, images)
    executor.up([*built, task, ServiceStep(lab, spec, task, target, ServicePoller(target, lab.name))], SilentObserver())


def known(lab: Lab, target: FakeTarget) -> list[Revision]:
    return history(target, lab, "weather", ServicePoller(target, lab.name).describe("weather"))


def test_up_records_what_became_stable_and_removes_the_rest(lab: Lab, region: FakeTarget) -> None:
    for number in range(1, 5):
        deploy(lab, region, NUMBER=str(number))
    newest, older = known(lab, region)
    assert (newest.number, newest.is_current, newest.running) == (4, True, 1)
    assert (older.number, older.is_current, older.running) == (3, False, 0)
    assert newest.stable > older.stable > ""
    assert newest.registered and newest.by
    assert newest.image.startswith("registry.example/weather:")


def test_revision_that_an_earlier_version_deployed_counts_as_stable(lab: Lab, region: FakeTarget) -> None:
    deploy(lab, region)
    (only,) = known(lab, region)
    region.client("ecs").untag_resource(resourceArn=only.arn, tagKeys=["ecsconsul:stable"])
    assert known(lab, region)[0].was_stable
    deploy(lab, region, NUMBER="2")
    found = rollback_target(known(lab, region), 2)
    assert found and found.number == 1


def test_image_of_a_dropped_container_goes_with_its_last_revision(lab: Lab, region: FakeTarget, tmp_path: Path) -> None:
    """Nothing would name it any more."""
    deploy(lab, region, ContainerSpec(name="side", path=str(tmp_path)))
    for number in range(1, 3):
        assert sorted(region.images.published) == ["weather", "weather-side"]
        deploy(lab, region, NUMBER=str(number))
    assert sorted(region.images.published) == ["weather"]


def test_other_labs_revisions_are_not_listed(lab: Lab, region: FakeTarget) -> None:
    deploy(lab, region)
    container = {"name": "weather", "image": "x", "memory": 8}
    region.client("ecs").register_task_definition(family="blue-weather", containerDefinitions=[container])
    assert [one.number for one in known(lab, region)] == [1]
