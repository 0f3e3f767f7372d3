"""Finding a lab's VPC and subnets, in an account that moto simulates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ecsconsul.config.aws_settings import AwsSpec
from ecsconsul.errors import LabError
from ecsconsul.targets.aws.network import Route, Subnet, Vpc, as_subnet, find_subnets, find_vpc, is_public

Account = Callable[[str], Any]


@pytest.fixture
def ec2(account: Account) -> Any:
    return account("ec2")


def own_vpc(ec2: Any, *, gateway: bool = True) -> tuple[str, str]:
    """A VPC with one subnet, and a route to an internet gateway if `gateway` is set."""
    vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.7.1.0/24", AvailabilityZone="us-east-1b")["Subnet"]["SubnetId"]
    if gateway:
        igw = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=igw, VpcId=vpc)
        table = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"][0]
        ec2.create_route(RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0", GatewayId=igw)
    return vpc, subnet


def subnets_of(ec2: Any, zones: set[str] | None = None, **spec: Any) -> list[str]:
    found = AwsSpec(**spec)
    return [one.id for one in find_subnets(ec2, find_vpc(ec2, found), found, zones)]


def test_default_vpc_is_used_with_all_public_subnets(ec2: Any) -> None:
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


def test_configured_vpc_with_an_internet_gateway_is_used(ec2: Any) -> None:
    vpc, subnet = own_vpc(ec2)
    assert find_vpc(ec2, AwsSpec(vpc=vpc)).id == vpc
    assert subnets_of(ec2, vpc=vpc) == [subnet]


def test_configured_subnets_determine_the_vpc(ec2: Any) -> None:
    vpc, subnet = own_vpc(ec2)
    assert find_vpc(ec2, AwsSpec(subnets=(subnet,))).id == vpc


def test_disabled_dns_support_is_detected(ec2: Any) -> None:
    vpc, _ = own_vpc(ec2)
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsSupport={"Value": False})
    found = find_vpc(ec2, AwsSpec(vpc=vpc))
    assert (found.dns_support, found.dns_hostnames) == (False, False)


def test_missing_vpc_is_reported(ec2: Any) -> None:
    with pytest.raises(LabError, match="There is no VPC vpc-0123456789abcdef0 in this region") as raised:
        find_vpc(ec2, AwsSpec(vpc="vpc-0123456789abcdef0"))
    assert raised.value.where == "config, aws.vpc"


def test_region_without_default_vpc_is_reported(ec2: Any) -> None:
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    for subnet in ec2.describe_subnets()["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    ec2.delete_vpc(VpcId=vpc)
    with pytest.raises(LabError, match="no default VPC") as raised:
        find_vpc(ec2, AwsSpec())
    assert "create-default-vpc" in raised.value.hint


def test_vpc_without_public_subnet_is_reported(ec2: Any) -> None:
    vpc, _ = own_vpc(ec2, gateway=False)
    with pytest.raises(LabError, match=f"The VPC {vpc} has no public subnet"):
        subnets_of(ec2, vpc=vpc)


def test_private_subnets_are_used_when_the_config_names_them(ec2: Any) -> None:
    _, subnet = own_vpc(ec2, gateway=False)
    spec = AwsSpec(subnets=(subnet,))
    (found,) = find_subnets(ec2, find_vpc(ec2, spec), spec, None)
    assert (found.id, found.public, found.gives_addresses) == (subnet, False, False)
    assert found.table.startswith("rtb-")
    with pytest.raises(LabError, match=r"No private subnet of .* is in a zone"):
        subnets_of(ec2, {"us-east-1d"}, subnets=(subnet,))


def test_public_subnets_beside_private_ones_are_an_error(ec2: Any) -> None:
    vpc, private = own_vpc(ec2, gateway=False)
    public = ec2.create_subnet(VpcId=vpc, CidrBlock="10.7.2.0/24")["Subnet"]["SubnetId"]
    ec2.modify_subnet_attribute(SubnetId=public, MapPublicIpOnLaunch={"Value": True})
    assert subnets_of(ec2, vpc=vpc) == [public], "the default"
    with pytest.raises(LabError, match="mixes public and private subnets") as raised:
        subnets_of(ec2, subnets=(private, public))
    assert raised.value.why == f"public: {public}; without a route to an internet gateway: {private}"


def test_every_range_of_the_vpc_is_known(ec2: Any) -> None:
    vpc, _ = own_vpc(ec2)
    ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock="10.8.0.0/16")
    gone = ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock="10.9.0.0/16")["CidrBlockAssociation"]
    ec2.disassociate_vpc_cidr_block(AssociationId=gone["AssociationId"])
    found = find_vpc(ec2, AwsSpec(vpc=vpc))
    assert (found.cidr, found.more_cidrs) == ("10.7.0.0/16", ("10.8.0.0/16",))


def test_missing_or_foreign_subnet_is_reported(ec2: Any) -> None:
    with pytest.raises(LabError, match="A subnet in the config doesn't exist"):
        find_vpc(ec2, AwsSpec(subnets=("subnet-0123456789abcdef0",)))
    _, subnet = own_vpc(ec2)
    default = find_vpc(ec2, AwsSpec())
    with pytest.raises(LabError, match=f"{subnet} is not in the VPC {default.id}"):
        find_subnets(ec2, default, AwsSpec(subnets=(subnet,)), None)


def test_subnets_in_zones_without_the_instance_type_are_left_out(ec2: Any) -> None:
    vpc, subnet = own_vpc(ec2)
    assert subnets_of(ec2, {"us-east-1b"}, vpc=vpc) == [subnet]
    with pytest.raises(LabError, match=r"is in a zone that offers t3\.small") as raised:
        subnets_of(ec2, {"us-east-1d"}, vpc=vpc)
    assert raised.value.why == "its subnets are in us-east-1b, and the type in us-east-1d"


IGW = {"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "igw-1"}
NAT = {"DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": "nat-1"}
MAIN = {"Main": True}


@pytest.mark.parametrize(
    ("tables", "public"),
    [
        ([], False),
        ([{"Associations": [MAIN], "Routes": [IGW]}], True),
        ([{"Associations": [MAIN], "Routes": [NAT]}], False),
        (
            [{"Associations": [MAIN], "Routes": [IGW]}, {"Associations": [{"SubnetId": "s"}], "Routes": [NAT]}],
            False,
        ),
        ([{"Associations": [{"SubnetId": "s"}], "Routes": [IGW]}, {"Associations": [MAIN], "Routes": [NAT]}], True),
        ([{"Associations": [{"SubnetId": "other"}], "Routes": [IGW]}], False),
        ([{"Routes": [IGW]}], False),
    ],
)
def test_own_route_table_overrides_the_main_one(tables: list[dict[str, Any]], public: bool) -> None:
    assert is_public({"SubnetId": "s"}, tables) is public
    assert is_public({"SubnetId": "s", "MapPublicIpOnLaunch": True}, tables)


def test_subnet_has_the_routes_of_its_table() -> None:
    """As DescribeRouteTables answers: a route has its target under one of many names."""
    routes = [
        {"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local", "State": "active"},
        {"DestinationCidrBlock": "172.16.0.0/12", "TransitGatewayId": "tgw-1", "State": "active"},
        {"DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": "nat-1", "State": "blackhole"},
        {"DestinationIpv6CidrBlock": "::/0", "EgressOnlyInternetGatewayId": "eigw-1", "State": "active"},
        {"DestinationPrefixListId": "pl-63a5400a", "GatewayId": "vpce-1", "State": "active"},
    ]
    table = {"RouteTableId": "rtb-1", "Associations": [{"SubnetId": "s"}], "Routes": routes}
    found = as_subnet({"SubnetId": "s", "AvailabilityZone": "us-east-1a"}, [table])
    assert found == Subnet(
        "s",
        "us-east-1a",
        False,
        public=False,
        table="rtb-1",
        routes=(
            Route("10.0.0.0/16", "local"),
            Route("172.16.0.0/12", "tgw-1"),
            Route("0.0.0.0/0", "nat-1", active=False),
        ),
    )


class PartialEc2:
    """EC2 of an emulator that lacks some operations."""

    def __init__(self, ec2: Any, *missing: str) -> None:
        self._ec2 = ec2
        self._missing = missing

    def __getattr__(self, name: str) -> Any:
        return self._refuse if name in self._missing else getattr(self._ec2, name)

    def get_paginator(self, name: str) -> Any:
        return self._refuse(name) if name in self._missing else self._ec2.get_paginator(name)

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise ClientError({"Error": {"Code": "InvalidAction"}}, "Any")


def test_unsupported_operations_do_not_stop_the_search(ec2: Any) -> None:
    partial = PartialEc2(ec2, "describe_vpc_attribute", "describe_route_tables")
    vpc = find_vpc(partial, AwsSpec())
    assert (vpc.dns_support, vpc.dns_hostnames) == (None, None)
    assert len(find_subnets(partial, vpc, AwsSpec(), None)) == len(ec2.describe_subnets()["Subnets"])
