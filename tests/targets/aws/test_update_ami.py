"""The AMI of a lab from its first `up` to `up --update-ami`: the stack's steps, in moto's account."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from ecsconsul.cli.resource_changes import replacements
from ecsconsul.config.lab import Lab
from ecsconsul.deploy import executor
from ecsconsul.deploy.lab_steps import steps_for
from ecsconsul.deploy.step import Step
from ecsconsul.targets.aws.target import AwsTarget
from tests.aws_calls import RecordedCalls
from tests.deploy.world import SilentObserver
from tests.targets.aws.test_amis import OTHER, both, publish, published
from tests.targets.aws.test_policies import recorded
from tests.targets.aws.test_preflight import Engine

__all__ = ["recorded"]

Account = Callable[[str], Any]


def steps(lab: Lab, *, update_ami: bool = False) -> list[Step]:
    target = AwsTarget(lab, update_ami=update_ami, images=Engine())
    return [step for step in steps_for(lab, target) if step.name in ("prerequisites", "cluster", "stack")]


def pending(lab: Lab, **options: bool) -> list[str]:
    return [change.name for change in executor.plan(steps(lab, **options)) if change.op != "keep"]


def amis_of(account: Account) -> dict[str, str]:
    (stack,) = account("cloudformation").describe_stacks(StackName="blue")["Stacks"]
    found = {one["ParameterKey"]: one["ParameterValue"] for one in stack["Parameters"]}
    return {name: found[name] for name in ("InstanceAmi", "ServerAmi")}


@pytest.fixture
def lab(lab: Lab) -> Lab:
    """Its registry refuses connections, so that the image has no digest."""
    return structs.replace(lab, aws=structs.replace(lab.aws, consul_image="127.0.0.1:9/consul:1"))


def test_ami_changes_only_when_asked_for(account: Account, lab: Lab) -> None:
    first = published(account)
    assert pending(lab) == ["prerequisites", "cluster", "stack"]
    executor.up(steps(lab), SilentObserver())
    assert (pending(lab), amis_of(account)) == ([], both(first))

    # AWS publishes another one: no reason for a change, and no part of another change
    publish(OTHER)
    assert pending(lab) == []
    more = structs.replace(lab, instances=3)
    assert replacements(steps(more)) == []
    executor.up(steps(more), SilentObserver())
    assert (pending(more), amis_of(account)) == ([], both(first))

    assert pending(more, update_ami=True) == ["stack"]
    because = f"changes: ImageId {first} → {OTHER}"
    assert replacements(steps(more, update_ami=True)) == [
        f"ConsulServer: 1 instance is replaced, because ConsulServerTemplate {because}",
        f"EcsInstances: 3 instances are replaced one by one, because EcsInstanceTemplate {because}",
    ]
    executor.up(steps(more, update_ami=True), SilentObserver())
    assert (pending(more), pending(more, update_ami=True), amis_of(account)) == ([], [], both(OTHER))


# the network and the AMI of the stack that is updated, then the comparison
REQUESTS = {
    "cloudformation:DescribeStacks", "cloudformation:GetTemplate", "autoscaling:DescribeAutoScalingGroups",
    "ec2:DescribeInstanceTypeOfferings", "ec2:DescribeInstanceTypes", "ec2:DescribeRouteTables", "ec2:DescribeSubnets",
    "ec2:DescribeVpcAttribute", "ec2:DescribeVpcs",
}  # fmt: skip


def test_plan_of_an_update_asks_little_and_one_without_nothing_more(lab: Lab, recorded: RecordedCalls) -> None:
    executor.up(steps(lab), SilentObserver())
    recorded.requests.clear()
    executor.plan(steps(lab)[2:])
    assert recorded.calls == {"cloudformation:DescribeStacks"}
    executor.plan(steps(structs.replace(lab, instances=3))[2:])
    assert recorded.calls <= REQUESTS
    assert len(recorded.calls) > 5
