"""Plan and drift over a whole lab on the local region: exactly what was changed is named, and who changed it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ecsconsul.aws_tags import FINGERPRINT_TAG, LAB_TAG
from ecsconsul.config.lab import Lab, ServiceSpec
from ecsconsul.deploy import executor
from ecsconsul.deploy.drift import find_drift
from ecsconsul.deploy.lab_steps import DISCOVERY, steps_for
from ecsconsul.deploy.step import Step
from ecsconsul.errors import LabError, TargetAbsent
from ecsconsul.targets.base import ResourceDrift
from tests.deploy.world import FakeTarget, Runtime, SilentObserver

Fields = dict[str, list[tuple[str, Any, Any]]]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    for name in ("weather", "portal"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "app.py").write_text("print()")
    services = (
        ServiceSpec(name="weather", path=str(tmp_path / "weather"), tags=("http",), environment={"SCALE": "C"}),
        ServiceSpec(name="portal", path=str(tmp_path / "portal")),
    )
    return Lab(name="blue", services=services)


@pytest.fixture
def target(world: Runtime, lab: Lab) -> FakeTarget:
    """The lab after `up`."""
    target = FakeTarget(world.endpoint("region"))
    world.add_instance(lab.name, cpu=100_000, memory=100_000)
    executor.up(steps(lab, target), SilentObserver())
    return target


def steps(lab: Lab, target: FakeTarget) -> list[Step]:
    """All that need no Consul."""
    return [step for step in steps_for(lab, target) if step.name != DISCOVERY]


def planned(lab: Lab, target: FakeTarget, *, caused: bool = False) -> Fields:
    """What `plan` names; without what follows from another step's change."""
    found = {
        change.name: [(f.path, f.old, f.new) for f in change.fields if caused or not f.cause]
        for change in executor.plan(steps(lab, target))
        if change.op not in ("keep", "wait")
    }
    return {name: fields for name, fields in found.items() if fields}


def drifted(lab: Lab, target: FakeTarget) -> Fields:
    found = find_drift(steps(lab, target))
    return {one.name: [(f.path, f.old, f.new) for f in one.drift.fields] for one in found if one.way_out}


def changed(lab: Lab, name: str, **keys: Any) -> Lab:
    return replace(lab, services=tuple(replace(one, **keys) if one.name == name else one for one in lab.services))


def arn_of(target: FakeTarget, service: str) -> str:
    found = target.client("ecs").describe_services(cluster="blue", services=[service])["services"]
    return str(found[0]["serviceArn"])


def register_by_hand(target: FakeTarget, tags: list[dict[str, str]] | None = None) -> str:
    """A copy of weather's task definition with another scale."""
    ecs = target.client("ecs")
    found = ecs.describe_task_definition(taskDefinition="blue-weather")["taskDefinition"]
    (container,) = found["containerDefinitions"]
    container["environment"] = [
        {**one, "value": "F"} if one["name"] == "SCALE" else one for one in container["environment"]
    ]
    extra = {"tags": tags} if tags else {}
    made = ecs.register_task_definition(
        family="blue-weather", networkMode="bridge", containerDefinitions=[container], **extra
    )
    return str(made["taskDefinition"]["taskDefinitionArn"])


# --- plan


def test_nothing_changed_is_nothing_named(target: FakeTarget, lab: Lab) -> None:
    assert planned(lab, target, caused=True) == drifted(lab, target) == {}


def test_plan_names_exactly_what_the_config_changes(target: FakeTarget, lab: Lab, tmp_path: Path) -> None:
    """One environment variable, one tag, one count and one file."""
    new = changed(lab, "weather", environment={"SCALE": "F"}, tags=("http", "blue"))
    new = changed(new, "portal", count=2)
    (tmp_path / "portal" / "app.py").write_text("print(1)")
    found = planned(new, target)
    ((path, old, after),) = found.pop("images/portal")
    assert path == "files/app.py"
    assert old != after
    assert found == {
        "tasks/weather": [
            ("containers.weather.environment.SCALE", "C", "F"),
            ("containers.weather.environment.SERVICE_TAGS", "http", "http,blue"),
        ],
        "services/portal": [("desiredCount", 1, 2)],
    }
    assert drifted(new, target) == {}


def test_what_follows_from_a_change_names_its_cause(target: FakeTarget, lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "portal" / "new.py").write_text("")
    by_name = {change.name: change for change in executor.plan(steps(lab, target))}
    (image,), (task,), (service,) = (by_name[f"{kind}/portal"].fields for kind in ("images", "tasks", "services"))
    assert (image.path, image.old, image.cause) == ("files/new.py", None, "")
    assert (task.path, task.cause) == ("containers.portal.image", "images/portal")
    assert (service.path, service.old, service.new) == ("taskDefinition", "blue-portal:1", "a new revision")
    assert service.cause == "tasks/portal"


def test_files_are_compared_with_the_image_that_runs(target: FakeTarget, lab: Lab, tmp_path: Path) -> None:
    """Not with the newest image, after a return to an earlier source."""
    app = tmp_path / "portal" / "app.py"
    for text in ("print(2)", "print()"):
        app.write_text(text)
        executor.up(steps(lab, target), SilentObserver())
    (tmp_path / "portal" / "other.py").write_text("")
    assert [path for path, *_ in planned(lab, target)["images/portal"]] == ["files/other.py"]


def test_unknown_files_are_said_to_be_unknown(target: FakeTarget, lab: Lab, tmp_path: Path) -> None:
    target.images.sources.clear()
    (tmp_path / "portal" / "app.py").write_text("print(1)")
    change = next(one for one in executor.plan(steps(lab, target)) if one.name == "images/portal")
    assert change.fields == ()
    assert "can't be told: Its files aren't known" in change.detail


def test_a_second_up_and_status_ask_nothing_for_it(target: FakeTarget, lab: Lab) -> None:
    """Comparing is part of `plan` and `diff` alone."""
    new = changed(lab, "weather", environment={"SCALE": "F"}, count=2)
    target.requests.clear()
    executor.inspect_all(steps(new, target))
    looked = target.counted()
    target.requests.clear()
    executor.plan(steps(new, target))
    assert looked["ListTaskDefinitions"] == looked["GetTemplate"] == 0
    assert looked["DescribeTaskDefinition"] == 2 < target.counted()["DescribeTaskDefinition"]


# --- drift


def test_a_service_changed_by_hand_is_named_exactly(target: FakeTarget, lab: Lab) -> None:
    ecs = target.client("ecs")
    half = {"minimumHealthyPercent": 50, "maximumPercent": 200}
    ecs.update_service(cluster="blue", service="weather", desiredCount=3, deploymentConfiguration=half)
    assert drifted(lab, target) == {
        "services/weather": [("deploymentConfiguration.minimumHealthyPercent", 100, 50), ("desiredCount", 1, 3)]
    }
    assert planned(lab, target) == {
        "services/weather": [("deploymentConfiguration.minimumHealthyPercent", 50, 100), ("desiredCount", 3, 1)]
    }
    executor.up(steps(lab, target), SilentObserver())
    assert drifted(lab, target) == planned(lab, target) == {}


def test_a_task_definition_registered_and_deployed_by_hand(target: FakeTarget, lab: Lab) -> None:
    made = register_by_hand(target)
    target.client("ecs").update_service(cluster="blue", service="weather", taskDefinition=made)
    found = drifted(lab, target)
    assert found["services/weather"] == [("taskDefinition", "blue-weather:1", "blue-weather:2")]
    assert [path for path, *_ in found["tasks/weather"]] == [
        "containers.weather.environment.SCALE", f"tags.{FINGERPRINT_TAG}",
    ]  # fmt: skip
    assert found["tasks/weather"][0][1:] == ("C", "F")
    executor.up(steps(lab, target), SilentObserver())
    assert drifted(lab, target) == {}


def test_a_copy_with_the_tags_is_drift_too(target: FakeTarget, lab: Lab) -> None:
    tags = target.client("ecs").describe_task_definition(taskDefinition="blue-weather", include=["TAGS"])["tags"]
    register_by_hand(target, tags)
    assert drifted(lab, target) == {"tasks/weather": [("containers.weather.environment.SCALE", "C", "F")]}


def test_the_config_s_change_is_told_from_that_of_others(target: FakeTarget, lab: Lab) -> None:
    new = changed(lab, "weather", environment={"SCALE": "K"})
    assert drifted(new, target) == {}
    changed_steps = {one.name for one in find_drift(steps(new, target)) if one.drift.config_changed}
    assert changed_steps == {"tasks/weather", "services/weather"}
    # what others registered is compared with what `up` had registered, not with the config
    register_by_hand(target)
    assert drifted(new, target)["tasks/weather"][0] == ("containers.weather.environment.SCALE", "C", "F")


@pytest.mark.parametrize("tag", [FINGERPRINT_TAG, LAB_TAG])
def test_a_removed_tag_is_named(target: FakeTarget, lab: Lab, tag: str) -> None:
    target.client("ecs").untag_resource(resourceArn=arn_of(target, "portal"), tagKeys=[tag])
    found = drifted(lab, target)
    assert found.keys() == {"services/portal"}
    ((path, _, after),) = found["services/portal"]
    assert (path, after) == (f"tags.{tag}", None)


def test_a_service_deleted_by_hand_is_missing(target: FakeTarget, lab: Lab) -> None:
    target.client("ecs").delete_service(cluster="blue", service="weather", force=True)
    assert drifted(lab, target) == {"services/weather": []}
    (missing,) = (one for one in find_drift(steps(lab, target)) if one.state == "missing")
    assert "creates it again" in missing.way_out


def test_a_service_new_in_the_config_is_not_missing(target: FakeTarget, lab: Lab, tmp_path: Path) -> None:
    new = replace(lab, services=(*lab.services, ServiceSpec(name="more", path=str(tmp_path / "portal"))))
    assert drifted(new, target) == {}


def test_deleted_images_are_missing(target: FakeTarget, lab: Lab) -> None:
    target.images.delete("portal")
    assert drifted(lab, target) == {"images/portal": []}


def test_a_group_resized_by_hand(target: FakeTarget, lab: Lab) -> None:
    autoscaling = target.client("autoscaling")
    groups = autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]
    name = next(one["AutoScalingGroupName"] for one in groups if one["DesiredCapacity"] == lab.min_instances)
    maximum = next(one["MaxSize"] for one in groups if one["AutoScalingGroupName"] == name)
    autoscaling.update_auto_scaling_group(AutoScalingGroupName=name, MaxSize=maximum + 2)
    found = drifted(lab, target)
    assert found == {"stack": [("EcsInstances.MaxSize", str(maximum), str(maximum + 2))]}


def test_what_cloudformation_detects_is_named_once(target: FakeTarget, lab: Lab) -> None:
    target.drifted = [
        ResourceDrift("EcsSecurityGroup", "SecurityGroupIngress.0.CidrIp", "10.0.0.0/8", "0.0.0.0/0"),
        ResourceDrift("EcsSecurityGroup", "SecurityGroupIngress.0.CidrIp", "10.0.0.0/8", "0.0.0.0/0"),
        ResourceDrift("EcsInstanceTemplate", "LaunchTemplateData.UserData", "x" * 999, "y\nz"),
        ResourceDrift("LogGroup", "", "there", None),
    ]
    assert drifted(lab, target)["stack"] == [
        ("EcsInstanceTemplate.LaunchTemplateData.UserData", "(changed)", "(changed)"),
        ("EcsSecurityGroup.SecurityGroupIngress.0.CidrIp", "10.0.0.0/8", "0.0.0.0/0"),
        ("LogGroup", "there", None),
    ]


def test_a_detection_that_is_refused_hides_nothing_else(target: FakeTarget, lab: Lab) -> None:
    target.undetected = LabError("CloudFormation can't detect it", why="AccessDenied")
    target.client("ecs").update_service(cluster="blue", service="weather", desiredCount=3)
    assert drifted(lab, target).keys() == {"services/weather"}
    (untold,) = (one.drift.untold for one in find_drift(steps(lab, target)) if one.drift.untold)
    assert "AccessDenied" in untold


def test_without_a_lab_there_is_nothing_to_compare(lab: Lab) -> None:
    with pytest.raises(TargetAbsent, match="no lab to compare"):
        find_drift(steps(lab, FakeTarget(None)))


def test_finding_drift_writes_nothing(target: FakeTarget, lab: Lab) -> None:
    register_by_hand(target)
    target.requests.clear()
    find_drift(steps(lab, target))
    assert target.writes() == []
