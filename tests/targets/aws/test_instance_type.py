"""Architecture, AMI and zones of instance types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ecsconsul.errors import LabError
from ecsconsul.targets.aws.instance_type import ami, ami_parameter, architecture_of, by_name, zones_with

Account = Callable[[str], Any]


@pytest.mark.parametrize(("kind", "architecture"), [("t3.small", "x86_64"), ("t4g.small", "arm64")])
def test_architecture_comes_from_ec2(account: Account, kind: str, architecture: str) -> None:
    assert architecture_of(account("ec2"), kind) == architecture
    assert ami(account("ssm"), ami_parameter(architecture)).startswith("ami-")


def test_unknown_type_is_reported(account: Account) -> None:
    with pytest.raises(LabError, match=r"There is no instance type t9\.small"):
        architecture_of(account("ec2"), "t9.small")


@pytest.mark.parametrize(
    ("kind", "architecture"),
    [
        ("t3.small", "x86_64"), ("m5zn.large", "x86_64"), ("g5.xlarge", "x86_64"), ("mac1.metal", "x86_64"),
        ("t4g.micro", "arm64"), ("c6gn.large", "arm64"), ("m7gd.large", "arm64"), ("a1.large", "arm64"),
        ("x2gd.large", "arm64"),
    ],
)  # fmt: skip
def test_denied_lookup_falls_back_to_the_name(kind: str, architecture: str) -> None:
    class DenyingEc2:
        def describe_instance_types(self, **_: Any) -> Any:
            raise ClientError({"Error": {"Code": "UnauthorizedOperation"}}, "DescribeInstanceTypes")

    assert by_name(kind) == architecture
    assert architecture_of(DenyingEc2(), kind) == architecture


def test_ami_parameters_are_the_documented_ones() -> None:
    prefix = "/aws/service/ecs/optimized-ami/amazon-linux-2023/"
    assert ami_parameter("x86_64") == f"{prefix}recommended/image_id"
    assert ami_parameter("arm64") == f"{prefix}arm64/recommended/image_id"


def test_region_without_the_ami_is_reported(account: Account) -> None:
    with pytest.raises(LabError, match="This region has no ECS-optimized") as raised:
        ami(account("ssm"), "/aws/service/nothing")
    assert "/aws/service/nothing" in raised.value.where


def test_zones_that_offer_a_type(account: Account) -> None:
    found = zones_with(account("ec2"), "t3.small")
    assert found is not None
    assert "us-east-1a" in found
    assert zones_with(account("ec2"), "t9.small") is None
