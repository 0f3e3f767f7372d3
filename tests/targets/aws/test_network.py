"""The VPC and the subnets that a lab gets, in an account that moto plays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ecsconsul.config.lab import AwsSpec
from ecsconsul.errors import LabError
from ecsconsul.targets.aws.network import Vpc, find_subnets, find_vpc, is_public

Account = Callable[[str], Any]


@pytest.fixture
def ec2(account: Account) -> Any:
    return account("ec2")


def own_vpc(ec2: Any, *, gateway: bool = True) -> tuple[str, str]:
    """A VPC with one subnet, whose main route table leads to the internet or nowhere."""
    vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.7.1.0/24", AvailabilityZone="us-east-1b")["Subnet"]["SubnetId"]
    if gateway:
        out = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=out, VpcId=vpc)
        table = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"][0]
        ec2.create_route(RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0", GatewayId=out)
    return vpc, subnet


def subnets_of(ec2: Any, zones: set[str] | None = None, **spec: Any) -> list[str]:
    found = AwsSpec(**spec)
    return [one.id for one in find_subnets(ec2, find_vpc(ec2, found), found, zones)]


def test_the_default_vpc_is_taken_with_all_its_public_subnets(ec2: Any) -> None:
    vpc = find_vpc(ec2, AwsSpec())
    assert (vpc.is_default, vpc.dns_support, vpc.dns_hostnames, vpc.dns_ip) == (True, True, True, "172.31.0.2")
    found = find_subnets(ec2, vpc, AwsSpec(), None)
    assert len(found) == len(ec2.describe_subnets()["Subnets"])
    assert [one.zone for one in found] == sorted(one.zone for one in found)
    assert all(one.gives_addresses for one in found)


@pytest.mark.parametrize(
    ("cidr", "address"), [("10.0.0.0/16", "10.0.0.2"), ("192.168.4.0/24", "192.168.4.2"), ("10.7.9.9/8", "10.0.0.2")]
)
def test_amazons_dns_is_at_the_base_plus_two(cidr: str, address: str) -> None:
    assert Vpc("vpc-1", cidr, False, True, True).dns_ip == address


def test_a_vpc_of_ones_own_with_a_route_to_the_internet(ec2: Any) -> None:
    vpc, subnet = own_vpc(ec2)
    assert find_vpc(ec2, AwsSpec(vpc=vpc)).id == vpc
    assert subnets_of(ec2, vpc=vpc) == [subnet]


def test_subnets_alone_tell_their_vpc(ec2: Any) -> None:
    vpc, subnet = own_vpc(ec2)
    assert find_vpc(ec2, AwsSpec(subnets=(subnet,))).id == vpc


def test_dns_support_that_was_turned_off_is_seen(ec2: Any) -> None:
    vpc, _ = own_vpc(ec2)
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsSupport={"Value": False})
    found = find_vpc(ec2, AwsSpec(vpc=vpc))
    assert (found.dns_support, found.dns_hostnames) == (False, False)


def test_a_vpc_that_is_not_there(ec2: Any) -> None:
    with pytest.raises(LabError, match="There is no VPC vpc-0123456789abcdef0 in this region") as raised:
        find_vpc(ec2, AwsSpec(vpc="vpc-0123456789abcdef0"))
    assert raised.value.where == "config, aws.vpc"


def test_a_region_without_a_default_vpc(ec2: Any) -> None:
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    for subnet in ec2.describe_subnets()["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    ec2.delete_vpc(VpcId=vpc)
    with pytest.raises(LabError, match="no default VPC") as raised:
        find_vpc(ec2, AwsSpec())
    assert "create-default-vpc" in raised.value.hint


def test_a_vpc_without_a_way_out(ec2: Any) -> None:
    vpc, subnet = own_vpc(ec2, gateway=False)
    with pytest.raises(LabError, match=f"The VPC {vpc} has no public subnet"):
        subnets_of(ec2, vpc=vpc)
    with pytest.raises(LabError, match=f"{subnet} is not public"):
        subnets_of(ec2, subnets=(subnet,))


def test_a_subnet_that_is_not_there_or_of_another_vpc(ec2: Any) -> None:
    with pytest.raises(LabError, match="A subnet that the config names is not there"):
        find_vpc(ec2, AwsSpec(subnets=("subnet-0123456789abcdef0",)))
    _, subnet = own_vpc(ec2)
    default = find_vpc(ec2, AwsSpec())
    with pytest.raises(LabError, match=f"{subnet} is not of the VPC {default.id}"):
        find_subnets(ec2, default, AwsSpec(subnets=(subnet,)), None)


def test_only_zones_that_have_the_instance_type_count(ec2: Any) -> None:
    vpc, subnet = own_vpc(ec2)
    assert subnets_of(ec2, {"us-east-1b"}, vpc=vpc) == [subnet]
    with pytest.raises(LabError, match=r"is in a zone that has t3\.small") as raised:
        subnets_of(ec2, {"us-east-1d"}, vpc=vpc)
    assert raised.value.why == "subnets are in us-east-1b; the type is in us-east-1d"


OUT = {"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "igw-1"}
NAT = {"DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": "nat-1"}
MAIN = {"Main": True}


@pytest.mark.parametrize(
    ("tables", "public"),
    [
        ([], False),
        ([{"Associations": [MAIN], "Routes": [OUT]}], True),
        ([{"Associations": [MAIN], "Routes": [NAT]}], False),
        ([{"Associations": [MAIN], "Routes": [OUT]}, {"Associations": [{"SubnetId": "s"}], "Routes": [NAT]}], False),
        ([{"Associations": [{"SubnetId": "s"}], "Routes": [OUT]}, {"Associations": [MAIN], "Routes": [NAT]}], True),
        ([{"Associations": [{"SubnetId": "other"}], "Routes": [OUT]}], False),
        ([{"Routes": [OUT]}], False),
    ],
)
def test_a_subnets_own_route_table_counts_before_the_main_one(tables: list[dict[str, Any]], public: bool) -> None:
    assert is_public({"SubnetId": "s"}, tables) is public
    assert is_public({"SubnetId": "s", "MapPublicIpOnLaunch": True}, tables)


class Lacking:
    """EC2 of an emulator that lacks some operations."""

    def __init__(self, ec2: Any, *names: str) -> None:
        self._ec2 = ec2
        self._names = names

    def __getattr__(self, name: str) -> Any:
        return self._refuse if name in self._names else getattr(self._ec2, name)

    def get_paginator(self, name: str) -> Any:
        return self._refuse(name) if name in self._names else self._ec2.get_paginator(name)

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise ClientError({"Error": {"Code": "InvalidAction"}}, "Any")


def test_what_is_not_told_is_not_known_and_not_in_the_way(ec2: Any) -> None:
    lacking = Lacking(ec2, "describe_vpc_attribute", "describe_route_tables")
    vpc = find_vpc(lacking, AwsSpec())
    assert (vpc.dns_support, vpc.dns_hostnames) == (None, None)
    assert len(find_subnets(lacking, vpc, AwsSpec(), None)) == len(ec2.describe_subnets()["Subnets"])
