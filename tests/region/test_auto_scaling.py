"""Auto Scaling groups in moto behave as AWS's: in place, over zones, and with time to drain."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from ecsconsul.region.auto_scaling import LEAVING, first_to_leave
from ecsconsul.region.moto import Moto, _backend
from tests.region.api_region import ApiRegion

_numbers = itertools.count(1)
NewGroup = Callable[..., str]


@pytest.fixture
def scaling(api: ApiRegion, moto: Moto) -> Iterator[Any]:
    """A client, while instances that leave their group wait to be terminated."""
    moto.hold_leaving()
    yield api.client("autoscaling")
    _backend("autoscaling", moto.region).holds_leaving = False


@pytest.fixture
def new_group(api: ApiRegion, moto: Moto, scaling: Any) -> Iterator[NewGroup]:
    """Creates groups of instances with a role; all are deleted afterwards."""
    data = {"ImageId": "ami-12345678", "InstanceType": "t3.micro"}
    names: list[str] = []
    _, subnets = moto.default_network()

    def create(size: int, role: str = "ecs-instance", zones: int = 3) -> str:
        name = f"group{next(_numbers)}"
        api.client("ec2").create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
        scaling.create_auto_scaling_group(
            AutoScalingGroupName=name,
            LaunchTemplate={"LaunchTemplateName": name},
            MinSize=0,
            MaxSize=6,
            DesiredCapacity=size,
            VPCZoneIdentifier=",".join(subnets[:zones]),
            Tags=[{"Key": "ecsconsul:role", "Value": role, "PropagateAtLaunch": True}],
        )
        names.append(name)
        return name

    yield create
    left = [one["AutoScalingGroupName"] for one in scaling.describe_auto_scaling_groups()["AutoScalingGroups"]]
    for name in set(names) & set(left):
        scaling.delete_auto_scaling_group(AutoScalingGroupName=name, ForceDelete=True)


def states(scaling: Any, name: str) -> dict[str, str]:
    """The lifecycle state of each instance of a group."""
    (group,) = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    return {one["InstanceId"]: one["LifecycleState"] for one in group["Instances"]}


def running(moto: Moto) -> dict[str, bool]:
    """Whether each running instance is leaving."""
    return {one.id: one.leaving for one in moto.instances()}


def test_instances_are_launched_over_the_zones(moto: Moto, new_group: NewGroup, scaling: Any) -> None:
    name = new_group(3)
    scaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=5)
    zones = {one.id: one.zone for one in moto.instances()}
    used = Counter(zones[one] for one in states(scaling, name))
    assert sorted(used.values()) == [1, 2, 2]
    (group,) = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    assert len(group["VPCZoneIdentifier"].split(",")) == len(group["AvailabilityZones"]) == 3, "as they were"


def test_instance_that_leaves_waits_until_it_is_terminated(moto: Moto, new_group: NewGroup, scaling: Any) -> None:
    name = new_group(3)
    oldest, *others = states(scaling, name)
    scaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=2)
    assert states(scaling, name) == {oldest: LEAVING, **dict.fromkeys(others, "InService")}
    assert running(moto)[oldest]
    moto.terminate(oldest)
    moto.terminate(oldest)
    assert set(states(scaling, name)) == set(others)
    assert oldest not in running(moto)
    moto.terminate(others[0])
    assert others[0] in running(moto), "only those that are leaving"


def test_instance_is_terminated_in_its_group_with_and_without_a_replacement(
    moto: Moto, new_group: NewGroup, scaling: Any
) -> None:
    name = new_group(2)
    first, second = states(scaling, name)
    for _ in "12":
        scaling.terminate_instance_in_auto_scaling_group(InstanceId=first, ShouldDecrementDesiredCapacity=True)
    assert states(scaling, name) == {first: LEAVING, second: "InService"}
    answer = scaling.terminate_instance_in_auto_scaling_group(InstanceId=second, ShouldDecrementDesiredCapacity=False)
    assert second in answer["Activity"]["Description"]
    assert Counter(states(scaling, name).values()) == {LEAVING: 2, "InService": 1}
    group = moto.group(name)
    assert group is not None
    assert (group.desired, len(group.instances)) == (1, 1)


def test_consul_servers_and_other_instances_are_terminated_at_once(
    moto: Moto, new_group: NewGroup, scaling: Any
) -> None:
    name = new_group(3, role="consul-server")
    scaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=1)
    assert list(states(scaling, name).values()) == ["InService"]
    (last,) = states(scaling, name)
    scaling.terminate_instance_in_auto_scaling_group(InstanceId=last, ShouldDecrementDesiredCapacity=True)
    assert last not in running(moto)


def test_deleted_group_terminates_all_at_once(moto: Moto, new_group: NewGroup, scaling: Any) -> None:
    name = new_group(3)
    before = set(states(scaling, name))
    scaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=2)
    scaling.delete_auto_scaling_group(AutoScalingGroupName=name, ForceDelete=True)
    assert not before & set(running(moto))
    new = new_group(1)
    assert moto.group(new)
    assert moto.group(name) is None


def test_plain_termination_is_abrupt_and_replaced(
    api: ApiRegion, moto: Moto, new_group: NewGroup, scaling: Any
) -> None:
    name = new_group(2)
    lost, kept = states(scaling, name)
    api.client("ec2").terminate_instances(InstanceIds=[lost])
    after = states(scaling, name)
    assert lost not in running(moto)
    assert kept in after
    assert list(after.values()) == ["InService", "InService"]


def test_protected_instances_stay(new_group: NewGroup, scaling: Any) -> None:
    name = new_group(2)
    first, second = states(scaling, name)
    scaling.set_instance_protection(AutoScalingGroupName=name, InstanceIds=[first], ProtectedFromScaleIn=True)
    scaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=0)
    assert states(scaling, name) == {first: "InService", second: LEAVING}


def test_region_grows_a_group_and_removes_one_instance(moto: Moto, new_group: NewGroup, scaling: Any) -> None:
    name = new_group(1)
    group = moto.group(name)
    assert group is not None
    assert (group.minimum, group.maximum, group.desired) == (0, 6, 1)
    for desired in (2, 2, 1, 7):
        moto.grow(name, desired)
    assert len(states(scaling, name)) == 2, "it neither shrinks nor exceeds its maximum"
    first, second = states(scaling, name)
    moto.remove_from_group(second)
    moto.remove_from_group("i-none")
    assert states(scaling, name) == {first: "InService", second: LEAVING}
    moto.grow("none", 3)


def test_oldest_of_the_fullest_zone_leaves_first() -> None:
    def state(name: str, zone: str, protected: bool = False) -> Any:
        return SimpleNamespace(name=name, availability_zone=zone, protected_from_scale_in=protected)

    all_ = [state("1", "a"), state("2", "b"), state("3", "b"), state("4", "b", protected=True), state("5", "a")]
    assert [one.name for one in first_to_leave(all_, 9)] == ["2", "1", "3", "5"]
    assert [one.name for one in first_to_leave(all_, 2)] == ["2", "1"]
