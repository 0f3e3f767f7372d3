"""Instances whose boot failed, as moto's EC2 lists them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from ecsconsul.deploy.failed_boots import failed_boots


@pytest.fixture
def ec2() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client("ec2", region_name="eu-central-1")


def launch(ec2: Any, **tags: str) -> str:
    given = [{"Key": f"ecsconsul:{name.replace('_', '-')}", "Value": text} for name, text in tags.items()]
    image = ec2.describe_images()["Images"][0]["ImageId"]
    specification = [{"ResourceType": "instance", "Tags": given}]
    found = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=specification)
    return str(found["Instances"][0]["InstanceId"])


def test_only_the_labs_failed_instances_are_listed_also_when_terminated(ec2: Any) -> None:
    reason = "gave up: has_image FAILED at line 300"
    first = launch(ec2, lab="blue", role="consul-server", boot_failure=reason)
    second = launch(ec2, lab="blue", role="ecs-instance", boot_failure="x")
    launch(ec2, lab="blue", role="ecs-instance")
    launch(ec2, lab="green", role="ecs-instance", boot_failure="theirs")
    ec2.terminate_instances(InstanceIds=[first])
    found = {one["instance"]: one for one in failed_boots(ec2, "blue")}
    assert found == {
        first: {"instance": first, "role": "consul-server", "state": "terminated", "reason": reason},
        second: {"instance": second, "role": "ecs-instance", "state": "running", "reason": "x"},
    }
