"""The capacity provider of a lab whose instances follow its tasks, on moto and on the local region."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from msgspec.structs import replace

from ecsconsul.cli.changes import all_steps
from ecsconsul.config.lab import InstanceRange, Lab, ServiceSpec
from ecsconsul.deploy import executor
from ecsconsul.deploy.capacity_provider import SETTINGS, CapacityProviderStep, obsolete_provider
from ecsconsul.deploy.step import Change, decide
from ecsconsul.deploy.step1_cluster import ClusterStep
from ecsconsul.deploy.step2_stack import StackStep
from ecsconsul.errors import Interrupted, LabError, StepFailed
from tests.deploy.world import FakeTarget, RecordingReport, Runtime, SilentObserver

NAME = "lab-blue"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    service = ServiceSpec(name="weather", path=str(tmp_path))
    return Lab(name="blue", instances=InstanceRange(min=1, max=3), services=(service,))


@pytest.fixture
def made(target: FakeTarget, lab: Lab, report: RecordingReport) -> CapacityProviderStep:
    """The step, after those that it needs."""
    ClusterStep(lab, target).apply(None, report)
    StackStep(lab, target).apply(None, report)
    target.requests.clear()
    return CapacityProviderStep(lab, target)


def op(step: Any) -> str:
    return decide(step.desired(), step.inspect())


def described(target: FakeTarget) -> dict[str, Any] | None:
    found = target.client("ecs").describe_capacity_providers(capacityProviders=[NAME])["capacityProviders"]
    return found[0] if found else None


def group(target: FakeTarget) -> str:
    """The ARN of the stack's group of ECS instances."""
    groups = target.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    (arn,) = [one["AutoScalingGroupARN"] for one in groups if "EcsInstances" in one["AutoScalingGroupName"]]
    return str(arn)


def cluster(target: FakeTarget) -> dict[str, Any]:
    found: dict[str, Any] = target.client("ecs").describe_clusters(clusters=["blue"])["clusters"][0]
    return found


def fail_once(target: FakeTarget, operation: str, error: Exception) -> None:
    """The next request of that operation fails."""
    events = target.client("ecs").meta.events

    def fail(**_: Any) -> None:
        events.unregister(f"before-call.ecs.{operation}", fail)
        raise error

    events.register(f"before-call.ecs.{operation}", fail)


def refused(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "not now"}}, operation)


# --- its life


def test_absent_created_kept_deleted(made: CapacityProviderStep, target: FakeTarget, report: RecordingReport) -> None:
    assert op(made) == "create"
    assert made.apply(None, report) == "1 to 3 instances"
    assert op(made) == "keep"
    provider = described(target)
    assert provider
    assert provider["autoScalingGroupProvider"].items() >= {
        "autoScalingGroupArn": group(target), **SETTINGS
    }.items()  # fmt: skip
    assert cluster(target)["capacityProviders"] == [NAME]
    assert made.destroy(report) == "deleted"
    assert cluster(target)["capacityProviders"] == []
    assert op(made) == "create"
    assert made.destroy(report) == "absent"


def test_names_of_labs_that_ecs_would_refuse(lab: Lab) -> None:
    for name in ("ecs-lab", "aws", "fargate-1"):
        desired = CapacityProviderStep(replace(lab, name=name), FakeTarget(None)).desired()
        assert not desired["name"].startswith(("aws", "ecs", "fargate"))


def test_association_that_was_lost_is_an_update(
    made: CapacityProviderStep, target: FakeTarget, report: RecordingReport
) -> None:
    """By somebody else, or by an `up` that was killed between the two requests."""
    fail_once(target, "PutClusterCapacityProviders", Interrupted())
    with pytest.raises(Interrupted):
        made.apply(None, report)
    assert op(made) == "update"
    made.apply(made.inspect(), report)
    assert op(made) == "keep"


def test_providers_of_others_stay(made: CapacityProviderStep, target: FakeTarget, report: RecordingReport) -> None:
    ecs = target.client("ecs")
    ecs.create_capacity_provider(name="theirs", autoScalingGroupProvider={"autoScalingGroupArn": group(target)})
    theirs = {"capacityProvider": "theirs", "weight": 1}
    request = {"capacityProviders": ["theirs"], "defaultCapacityProviderStrategy": [theirs]}
    ecs.put_cluster_capacity_providers(cluster="blue", **request)
    made.apply(None, report)
    assert set(cluster(target)["capacityProviders"]) == {"theirs", NAME}
    made.destroy(report)
    assert cluster(target)["capacityProviders"] == ["theirs"]
    assert cluster(target)["defaultCapacityProviderStrategy"] == [theirs]


def test_foreign_provider_is_refused(made: CapacityProviderStep, target: FakeTarget, report: RecordingReport) -> None:
    made.apply(None, report)
    arn = (described(target) or {})["capacityProviderArn"]
    target.client("ecs").untag_resource(resourceArn=arn, tagKeys=["ecsconsul:lab"])
    target.requests.clear()
    for refuse in (made.inspect, lambda: made.destroy(report)):
        with pytest.raises(LabError, match="this lab did not make it"):
            refuse()
    assert target.writes() == []


def test_provider_of_another_group_is_replaced(
    made: CapacityProviderStep, target: FakeTarget, lab: Lab, report: RecordingReport
) -> None:
    """The stack was deleted without it, and made again."""
    made.apply(None, report)
    before = (described(target) or {})["autoScalingGroupProvider"]["autoScalingGroupArn"]
    stack = StackStep(lab, target)
    stack.destroy(report)
    stack.apply(None, report)
    assert op(made) == "update"
    made.apply(made.inspect(), report)
    assert op(made) == "keep"
    assert (described(target) or {})["autoScalingGroupProvider"]["autoScalingGroupArn"] != before


def test_no_stack_is_an_error(target: FakeTarget, lab: Lab, report: RecordingReport) -> None:
    ClusterStep(lab, target).apply(None, report)
    step = CapacityProviderStep(lab, target)
    assert op(step) == "create"
    with pytest.raises(StepFailed, match="has no Auto Scaling group"):
        step.apply(None, report)


# --- when ECS isn't ready


@pytest.mark.parametrize("code", ["UpdateInProgressException", "ResourceInUseException"])
def test_busy_cluster_is_asked_again(
    made: CapacityProviderStep, target: FakeTarget, report: RecordingReport, code: str
) -> None:
    fail_once(target, "PutClusterCapacityProviders", refused(code, "PutClusterCapacityProviders"))
    made.apply(None, report)
    assert op(made) == "keep"


def test_provider_that_stays_in_use_goes_with_the_cluster(
    made: CapacityProviderStep, target: FakeTarget, lab: Lab, report: RecordingReport
) -> None:
    """A dead instance can't report its tasks as stopped, and goes with the stack, which comes later."""
    made.apply(None, report)
    refusal = refused("ResourceInUseException", "PutClusterCapacityProviders")

    def refuse(**_: Any) -> None:
        raise refusal

    target.client("ecs").meta.events.register("before-call.ecs.PutClusterCapacityProviders", refuse)
    assert made.destroy(report) == "still in use; it goes with the cluster"
    assert described(target)
    StackStep(lab, target).destroy(report)
    for _ in range(2):
        ClusterStep(lab, target).destroy(report)
        assert described(target) is None


# --- with services, on the local region


class Watch(SilentObserver):
    """The changes, in the order in which they ended."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def finished(self, change: Change) -> None:
        if change.name.startswith(("services", "capacity-provider", "stack", "cluster")):
            self.names.append(change.name)


def steps(lab: Lab, target: FakeTarget) -> list[Any]:
    # an emulator has no Consul
    return [step for step in all_steps(lab, target) if step.name != "discovery"]  # type: ignore[arg-type]


def up(world: Runtime, lab: Lab, target: FakeTarget) -> list[str]:
    if not world.ecs.instances_of("blue"):
        world.add_instance("blue", cpu=100_000, memory=100_000)
    watch = Watch()
    executor.up(steps(lab, target), watch)
    return watch.names


def service(target: FakeTarget) -> dict[str, Any]:
    found: dict[str, Any] = target.client("ecs").describe_services(cluster="blue", services=["weather"])["services"][0]
    return found


def test_services_run_on_the_provider(world: Runtime, region: FakeTarget, lab: Lab) -> None:
    assert up(world, lab, region)[1:] == ["stack", "capacity-provider", "services/weather"]
    assert service(region)["capacityProviderStrategy"] == [{"capacityProvider": NAME, "weight": 1}]
    assert service(region)["runningCount"] == 1
    region.requests.clear()
    up(world, lab, region)
    assert region.writes() == []


def test_service_has_a_launch_type_to_go_back_to(world: Runtime, region: FakeTarget, lab: Lab) -> None:
    requests: list[dict[str, Any]] = []
    region.client("ecs").meta.events.register(
        "provide-client-params.ecs.CreateService", lambda params, **_: requests.append(params)
    )
    up(world, lab, region)
    (created,) = requests
    assert (created["launchType"], created["desiredCount"]) == ("EC2", 0)
    assert "capacityProviderStrategy" not in created


@pytest.mark.parametrize("count", [0, 1])
def test_killed_between_creation_and_update_is_resumed(
    world: Runtime, region: FakeTarget, lab: Lab, count: int
) -> None:
    lab = lab.with_counts({"weather": count})
    fail_once(region, "UpdateService", Interrupted())
    with pytest.raises(Interrupted):
        up(world, lab, region)
    assert {change.name: change.op for change in executor.plan(steps(lab, region))}["services/weather"] == "update"
    up(world, lab, region)
    assert service(region)["capacityProviderStrategy"]
    assert service(region)["runningCount"] == count


def test_lab_of_a_fixed_size_grows_and_is_fixed_again(world: Runtime, region: FakeTarget, lab: Lab) -> None:
    """Each time with a new deployment, without which ECS refuses the change."""
    fixed = replace(lab, instances=1)
    up(world, fixed, region)
    deployments = [service(region)["deployments"][0]["id"]]
    assert "capacity-provider" in up(world, lab, region)
    deployments.append(service(region)["deployments"][0]["id"])
    planned = {change.name: change.op for change in executor.plan(steps(fixed, region))}
    assert planned["capacity-provider/EcsInstances"] == "destroy"
    assert planned["capacity-provider"] == "keep"
    names = up(world, fixed, region)
    assert names.index("services/weather") < names.index("capacity-provider/EcsInstances")
    deployments.append(service(region)["deployments"][0]["id"])
    assert not service(region).get("capacityProviderStrategy")
    assert len({*deployments}) == 3
    assert described(region) is None
    assert obsolete_provider(fixed, region, []) == []


@pytest.mark.parametrize("instances", [InstanceRange(min=1, max=3), 1])
def test_down_removes_it_after_the_services(
    world: Runtime, region: FakeTarget, lab: Lab, instances: InstanceRange | int
) -> None:
    """Also with a config that wants none any more, which no `up` has seen."""
    up(world, lab, region)
    world.ecs.remove_instance("i-1")
    watch = Watch()
    executor.down(steps(replace(lab, instances=instances), region), watch)
    assert [name for name in watch.names if "/Ecs" not in name] == [
        "services/weather", "capacity-provider", "stack", "cluster"
    ]  # fmt: skip
    assert described(region) is None


def test_down_removes_it_after_an_orphan(world: Runtime, region: FakeTarget, lab: Lab) -> None:
    up(world, lab, region)
    world.ecs.remove_instance("i-1")
    watch = Watch()
    executor.down(steps(replace(lab, services=()), region), watch)
    assert watch.names == ["services/weather", "capacity-provider", "stack", "cluster"]
    assert described(region) is None
