"""Finds the lab's VPC, its subnets with their routes, and the address of Amazon's DNS server in it."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ...config.aws_settings import AwsSpec
from ...errors import LabError
from ..client_errors import client_error, error_code, items_of
from .session import unless_inconclusive

EVERYWHERE = "0.0.0.0/0"
# where a route leads, by EC2's name for it: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Route.html
_TARGETS = (
    "GatewayId", "NatGatewayId", "TransitGatewayId", "VpcPeeringConnectionId", "InstanceId", "NetworkInterfaceId",
    "LocalGatewayId", "CarrierGatewayId", "EgressOnlyInternetGatewayId", "CoreNetworkArn",
)  # fmt: skip


@dataclass(frozen=True)
class Route:
    """A route to an IPv4 range, such as 0.0.0.0/0 to nat-1; inactive once its target is gone."""

    destination: str
    target: str
    active: bool = True


@dataclass(frozen=True)
class Subnet:
    """A subnet; `gives_addresses`: whether it assigns public addresses to its instances.

    `table` and `routes` are those of its route table, and are empty if AWS doesn't say.
    """

    id: str
    zone: str
    gives_addresses: bool
    public: bool = True
    table: str = ""
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True)
class Vpc:
    """A VPC, and whether it has Amazon's DNS and public DNS names; None if AWS doesn't say.

    `cidr` is its primary range, `more_cidrs` are the others.
    """

    id: str
    cidr: str
    is_default: bool
    dns_support: bool | None
    dns_hostnames: bool | None
    more_cidrs: tuple[str, ...] = ()

    @property
    def dns_ip(self) -> str:
        """Amazon's DNS server: the base of the VPC's primary CIDR range plus two.

        https://docs.aws.amazon.com/vpc/latest/userguide/AmazonDNS-concepts.html
        """
        return str(ipaddress.ip_network(self.cidr, strict=False).network_address + 2)


def find_vpc(ec2: Any, spec: AwsSpec) -> Vpc:
    """The VPC in the config, that of the subnets in the config, or the region's default one. Raises LabError."""
    found = _named_vpc(ec2, spec) or _default_vpc(ec2)
    with ThreadPoolExecutor(2) as pool:
        support, hostnames = pool.map(
            lambda name: _attribute(ec2, found["VpcId"], name), ("enableDnsSupport", "enableDnsHostnames")
        )
    more = _more_cidrs(found)
    return Vpc(found["VpcId"], found["CidrBlock"], bool(found.get("IsDefault")), support, hostnames, more)


def _more_cidrs(vpc: dict[str, Any]) -> tuple[str, ...]:
    associated = (
        one["CidrBlock"]
        for one in vpc.get("CidrBlockAssociationSet") or ()
        if one.get("CidrBlockState", {}).get("State", "associated") in ("associating", "associated")
    )
    return tuple(cidr for cidr in associated if cidr != vpc["CidrBlock"])


def _named_vpc(ec2: Any, spec: AwsSpec) -> dict[str, Any] | None:
    vpc = spec.vpc
    if vpc is None and spec.subnets:
        vpc = _described(ec2, spec.subnets, "aws.subnets")[0]["VpcId"]
    if vpc is None:
        return None
    try:
        found = ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
    except client_error() as error:
        if not error_code(error).startswith("InvalidVpc"):
            raise
        found = []
    if not found:
        raise LabError(
            f"There is no VPC {vpc} in this region",
            where="config, aws.vpc",
            why="EC2 doesn't know it; it may belong to another region or account",
            hint="choose one that `aws ec2 describe-vpcs` lists, or leave aws.vpc out to use the default VPC",
        )
    return dict(found[0])


def _default_vpc(ec2: Any) -> dict[str, Any]:
    found = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    found = [vpc for vpc in found if vpc.get("IsDefault", True)]
    if not found:
        raise LabError(
            "This region has no default VPC",
            where="config, aws.vpc",
            why="the config names no VPC, so the lab would use the default one",
            hint="set one in the config (`aws: {vpc: vpc-...}`), or run `aws ec2 create-default-vpc`",
        )
    return dict(found[0])


def _attribute(ec2: Any, vpc: str, name: str) -> bool | None:
    found = unless_inconclusive(lambda: ec2.describe_vpc_attribute(VpcId=vpc, Attribute=name)) or {}
    value = found.get(name[0].upper() + name[1:], {}).get("Value")
    return None if value is None else bool(value)


def find_subnets(ec2: Any, vpc: Vpc, spec: AwsSpec, zones: Collection[str] | None) -> list[Subnet]:
    """The subnets in the config, all public or all private, or all public ones, in zones that have the instance type.

    `zones` is None if AWS doesn't say which zones have it. Raises LabError if there is no such subnet.
    """
    chosen = named_subnets(ec2, vpc, spec.subnets, "aws.subnets") if spec.subnets else public_subnets(ec2, vpc)
    _require_one_kind(chosen)
    fitting = [one for one in chosen if zones is None or one.zone in zones]
    if not fitting:
        kind = "public" if chosen[0].public else "private"
        raise LabError(
            f"No {kind} subnet of {vpc.id} is in a zone that offers {spec.instance_type}",
            where="config, aws.instance_type",
            why=f"its subnets are in {_words(one.zone for one in chosen)}, and the type in {_words(zones or ())}",
            hint=f"set another aws.instance_type, or create a {kind} subnet in one of those zones",
        )
    return sorted(fitting, key=lambda one: (one.zone, one.id))


def public_subnets(ec2: Any, vpc: Vpc) -> list[Subnet]:
    """All public subnets of the VPC. Raises LabError if there is none."""
    every, tables = _pages(ec2, "describe_subnets", "Subnets", vpc.id), _tables(ec2, vpc)
    found = [subnet for subnet in (as_subnet(one, tables) for one in every) if subnet.public]
    if not found:
        raise LabError(
            f"The VPC {vpc.id} has no public subnet",
            where=f"VPC {vpc.id}",
            why="none has a route to an internet gateway, and none assigns public addresses",
            hint="add a route for 0.0.0.0/0 to an internet gateway, set aws.vpc to another VPC, or list private subnets"
            " in aws.subnets",
        )
    return found


def named_subnets(ec2: Any, vpc: Vpc, names: tuple[str, ...], key: str) -> list[Subnet]:
    """The subnets that the config names under that key. Raises LabError if one isn't in the VPC."""
    named = _described(ec2, names, key)
    foreign = [one["SubnetId"] for one in named if one["VpcId"] != vpc.id]
    if foreign:
        raise LabError(
            f"{_words(foreign)} is not in the VPC {vpc.id}",
            where=f"config, {key}",
            why="all subnets of a lab must be in one VPC",
            hint=f"remove it from {key}, or leave aws.vpc out to use the subnets' own VPC",
        )
    tables = _tables(ec2, vpc)
    return [as_subnet(one, tables) for one in named]


def as_subnet(found: dict[str, Any], tables: Iterable[dict[str, Any]] | None) -> Subnet:
    """A subnet as EC2 describes it, with its route table."""
    table = {} if tables is None else _table_of(found, tables)
    return Subnet(
        found["SubnetId"],
        found.get("AvailabilityZone", ""),
        bool(found.get("MapPublicIpOnLaunch")),
        is_public(found, tables),
        table.get("RouteTableId", ""),
        tuple(_route(one) for one in table.get("Routes") or () if one.get("DestinationCidrBlock")),
    )


def is_public(subnet: dict[str, Any], tables: Iterable[dict[str, Any]] | None) -> bool:
    """Whether its route table (else the VPC's main one) has an internet gateway, or it assigns public addresses.

    Without route tables, it is assumed to be public.
    """
    if tables is None:
        return True
    routes = [_route(one) for one in _table_of(subnet, tables).get("Routes") or ()]
    has_gateway = any(one.destination == EVERYWHERE and one.target.startswith("igw-") for one in routes)
    return has_gateway or bool(subnet.get("MapPublicIpOnLaunch"))


def _table_of(subnet: dict[str, Any], tables: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The subnet's own route table, else the VPC's main one."""
    own, main = None, None
    for table in tables:
        for association in table.get("Associations") or ():
            if association.get("SubnetId") == subnet["SubnetId"]:
                own = table
            elif association.get("Main"):
                main = table
    return own or main or {}


def _route(found: dict[str, Any]) -> Route:
    target = next((str(found[name]) for name in _TARGETS if found.get(name)), "")
    return Route(found.get("DestinationCidrBlock") or "", target, found.get("State", "active") == "active")


def _tables(ec2: Any, vpc: Vpc) -> list[dict[str, Any]] | None:
    return unless_inconclusive(lambda: _pages(ec2, "describe_route_tables", "RouteTables", vpc.id))


def _require_one_kind(subnets: list[Subnet]) -> None:
    """Instances in private subnets get no public address, so half of the lab would be public."""
    public, private = ([one.id for one in subnets if one.public is kind] for kind in (True, False))
    if public and private:
        raise LabError(
            "aws.subnets mixes public and private subnets",
            where="config, aws.subnets",
            why=f"public: {_words(public)}; without a route to an internet gateway: {_words(private)}",
            hint="list only public or only private ones, or leave aws.subnets out to use all of the VPC's public ones",
        )


def _described(ec2: Any, names: tuple[str, ...], key: str) -> list[dict[str, Any]]:
    """The subnets with these ids, in this order. Raises LabError if one doesn't exist."""
    try:
        found = {one["SubnetId"]: one for one in ec2.describe_subnets(SubnetIds=list(names))["Subnets"]}
    except client_error() as error:
        if not error_code(error).startswith("InvalidSubnet"):
            raise
        raise _no_subnet(str(error), key) from error
    missing = [name for name in names if name not in found]
    if missing:
        raise _no_subnet(_words(missing), key)
    return [dict(found[name]) for name in names]


def _no_subnet(why: str, key: str) -> LabError:
    return LabError(
        "A subnet in the config doesn't exist",
        where=f"config, {key}",
        why=why,
        hint=f"choose those that `aws ec2 describe-subnets` lists, or leave {key} out to use all public ones",
    )


def _pages(ec2: Any, operation: str, key: str, vpc: str) -> list[dict[str, Any]]:
    found = items_of(ec2, operation, key, Filters=[{"Name": "vpc-id", "Values": [vpc]}])
    # an emulator that ignores the filter also returns other VPCs' resources
    return [one for one in found if one.get("VpcId", vpc) == vpc]


def _words(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
