"""What instances in private subnets reach, decided over what EC2 documents as its answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ecsconsul.config.aws_settings import RegistratorSpec
from ecsconsul.config.lab import Lab
from ecsconsul.targets.aws.network import Route, Subnet
from ecsconsul.targets.aws.reachability import (
    INTERFACES,
    consul_image_diagnostics,
    missing_endpoints,
    reach_diagnostics,
    unreachable_images,
    way_out,
)
from ecsconsul.targets.aws.session import Identity
from ecsconsul.targets.commands import Finding
from tests.targets.aws.conftest import ACCOUNT, lab_of

REGION = "eu-central-1"
ECR = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"


class Ec2:
    """EC2 with these VPC endpoints; None if the caller may not list them."""

    def __init__(self, endpoints: list[dict[str, Any]] | None) -> None:
        self._endpoints = endpoints

    def get_paginator(self, name: str) -> Ec2:
        assert name == "describe_vpc_endpoints"
        if self._endpoints is None:
            raise ClientError({"Error": {"Code": "UnauthorizedOperation"}}, "DescribeVpcEndpoints")
        return self

    def paginate(self, **_: Any) -> list[dict[str, Any]]:
        return [{"VpcEndpoints": self._endpoints}]


def interface(service: str, **other: Any) -> dict[str, Any]:
    """An endpoint, in the form of https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_VpcEndpoint.html."""
    return {
        "VpcId": "vpc-1",
        "VpcEndpointType": "Interface",
        "ServiceName": f"com.amazonaws.{REGION}.{service}",
        "State": "available",
        "PrivateDnsEnabled": True,
        "RouteTableIds": [],
        "SubnetIds": ["subnet-1"],
        **other,
    }


def gateway(*tables: str) -> dict[str, Any]:
    return interface("s3", VpcEndpointType="Gateway", PrivateDnsEnabled=False, RouteTableIds=list(tables))


ALL = [*map(interface, INTERFACES), interface("ssmmessages"), gateway("rtb-1")]


def private(*routes: Route, id: str = "subnet-1", table: str = "rtb-1") -> Subnet:
    return Subnet(id, f"{REGION}a", False, public=False, table=table, routes=(Route("10.0.0.0/16", "local"), *routes))


def diagnose(lab: Lab, endpoints: list[dict[str, Any]] | None, *subnets: Subnet) -> dict[str, Finding]:
    found = reach_diagnostics(Ec2(endpoints), lab, "vpc-1", REGION, subnets or [private()])
    return {one.name: one for one in found}


def in_ecr(folder: Path, **aws: Any) -> Lab:
    return lab_of(folder, consul_image=f"{ECR}/blue/consul:1.22.7", **aws)


@pytest.mark.parametrize("target", ["nat-1", "i-1", "eni-1", "tgw-1", "vgw-1", "vpce-1"])
def test_default_route_is_a_way_out(tmp_path: Path, target: str) -> None:
    found = diagnose(lab_of(tmp_path), [], private(Route("0.0.0.0/0", target)))
    assert {name: one.state for name, one in found.items()} == {"reach": "ok"}
    assert target in found["reach"].detail


@pytest.mark.parametrize(
    "routes",
    [
        (),
        (Route("0.0.0.0/0", "nat-1", active=False),),
        # a peered VPC doesn't forward to the internet
        (Route("0.0.0.0/0", "pcx-1"),),
        (Route("10.1.0.0/16", "tgw-1"),),
    ],
)
def test_no_way_out(routes: tuple[Route, ...]) -> None:
    assert way_out(private(*routes)) is None


def test_all_endpoints_are_enough(tmp_path: Path) -> None:
    found = diagnose(in_ecr(tmp_path), ALL)
    assert {name: one.state for name, one in found.items()} == {"reach": "ok"}


@pytest.mark.parametrize("service", [*INTERFACES, "s3"])
def test_each_missing_endpoint_is_named(tmp_path: Path, service: str) -> None:
    endpoints = [one for one in ALL if not one["ServiceName"].endswith(f".{REGION}.{service}")]
    assert missing_endpoints(endpoints, REGION, [private()]).keys() == {service}
    found = diagnose(in_ecr(tmp_path), endpoints)["reach"]
    assert found.state == "failed"
    assert f"{service} " in str(found.error and found.error.why)
    assert service in found.hint
    assert "NAT gateway" in found.hint


def test_endpoint_without_private_dns_or_not_yet_available_is_missing() -> None:
    for change in ({"PrivateDnsEnabled": False}, {"State": "pending"}):
        endpoints = [one for one in ALL if not one["ServiceName"].endswith(".ssm")] + [interface("ssm", **change)]
        assert missing_endpoints(endpoints, REGION, [private()]).keys() == {"ssm"}


def test_gateway_endpoint_must_be_in_each_route_table() -> None:
    """An interface endpoint for S3 doesn't answer to the dual-stack names of Amazon Linux's repositories."""
    subnets = [private(), private(id="subnet-2", table="rtb-2")]
    assert "rtb-2" in missing_endpoints(ALL, REGION, subnets)["s3"]
    instead = [one for one in ALL if one["VpcEndpointType"] != "Gateway"] + [interface("s3")]
    assert missing_endpoints(instead, REGION, subnets).keys() == {"s3"}


def test_endpoints_in_china_have_other_names() -> None:
    endpoints = [{**one, "ServiceName": f"cn.{one['ServiceName']}"} for one in ALL]
    assert missing_endpoints(endpoints, REGION, [private()]) == {}


def test_only_subnets_without_a_route_need_endpoints(tmp_path: Path) -> None:
    found = diagnose(lab_of(tmp_path), [], private(Route("0.0.0.0/0", "nat-1"), id="subnet-2"), private())["reach"]
    assert "subnet-1" in found.detail
    assert "subnet-2" not in found.detail


@pytest.mark.parametrize(("access", "words"), [("ssh", "`exec` needs"), ("ssm", "`consul_access: ssm`")])
def test_sessions_need_an_endpoint_of_their_own(tmp_path: Path, access: str, words: str) -> None:
    endpoints = [one for one in ALL if "ssmmessages" not in one["ServiceName"]]
    found = diagnose(in_ecr(tmp_path, consul_access=access), endpoints)
    assert (found["reach"].state, found["sessions"].state) == ("ok", "warning")
    assert words in found["sessions"].detail


def test_endpoints_that_may_not_be_listed_are_unknown(tmp_path: Path) -> None:
    found = diagnose(lab_of(tmp_path), None)["reach"]
    assert found.state == "unknown"
    assert "ssm" in found.hint


def test_image_of_docker_hub_is_out_of_reach_of_endpoints(tmp_path: Path) -> None:
    found = diagnose(lab_of(tmp_path), ALL)
    assert (found["reach"].state, found["images"].state) == ("ok", "failed")
    assert "the Consul image is hashicorp/consul:" in str(found["images"].error and found["images"].error.why)
    assert "blue/consul" in found["images"].hint


@pytest.mark.parametrize(
    ("aws", "named"),
    [
        ({"registry": "my_docker_hub_repo"}, "aws.registry is my_docker_hub_repo"),
        ({"registrator": RegistratorSpec(image="quay.io/x/registrator:1")}, "aws.registrator.image is quay.io/x"),
        ({"registry": "registry.example:5000/lab"}, None),
        ({}, None),
    ],
)
def test_other_registries_are_judged_too(tmp_path: Path, aws: dict[str, Any], named: str | None) -> None:
    error = unreachable_images(in_ecr(tmp_path, **aws))
    assert (error is None) if named is None else named in str(error and error.why)


@pytest.mark.parametrize(
    ("image", "state"),
    [
        (f"{ECR}/blue/consul:1.22.7", "ok"),
        (f"{ECR}/blue/consul:1.22.7@sha256:{'0' * 64}", "ok"),
        (f"{ECR}/mirror/consul:1.22.7", "failed"),
        (f"{ECR}/green/consul:1.22.7", "failed"),
        (f"{ECR.replace(REGION, 'eu-west-1')}/blue/consul:1", "failed"),
        (f"{ECR.replace(ACCOUNT, '9' * 12)}/blue/consul:1", "failed"),
        ("public.ecr.aws/hashicorp/consul:1.22.7", None),
        ("hashicorp/consul:1.22.7", None),
    ],
)
def test_roles_pull_consul_from_one_repository_of_ecr(tmp_path: Path, image: str, state: str | None) -> None:
    identity = Identity(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/me")
    found = consul_image_diagnostics(lab_of(tmp_path, consul_image=image), identity, REGION)
    assert [one.state for one in found] == ([state] if state else [])


def test_needed_services_are_those_of_the_boot_scripts() -> None:
    """The AWS CLI's commands in the scripts, without the metadata."""
    from ecsconsul.paths import templates_dir

    scripts = "".join(path.read_text() for path in templates_dir().glob("*.sh"))
    services = {"ecr": "ecr.api", "cloudwatch": "monitoring"}
    used = set(re.findall(r"aws_cli ([a-z0-9]+) ", scripts)) - {"s3", "s3api"}
    assert used
    assert {services.get(one, one) for one in used} <= INTERFACES.keys()
