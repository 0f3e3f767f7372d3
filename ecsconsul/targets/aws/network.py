"""Finds the lab's VPC, its public subnets, and the address of Amazon's DNS server in it."""

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


@dataclass(frozen=True)
class Subnet:
    """A public subnet; `gives_addresses`: whether it assigns public addresses to its instances."""

    id: str
    zone: str
    gives_addresses: bool


@dataclass(frozen=True)
class Vpc:
    """A VPC, and whether it has Amazon's DNS and public DNS names; None if AWS doesn't say."""

    id: str
    cidr: str
    is_default: bool
    dns_support: bool | None
    dns_hostnames: bool | None

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
    return Vpc(found["VpcId"], found["CidrBlock"], bool(found.get("IsDefault")), support, hostnames)


def _named_vpc(ec2: Any, spec: AwsSpec) -> dict[str, Any] | None:
    vpc = spec.vpc
    if vpc is None and spec.subnets:
        vpc = _named_subnets(ec2, spec.subnets)[0]["VpcId"]
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
    """The public subnets in the config, or all of the VPC's, in zones that have the instance type.

    `zones` is None if AWS doesn't say which zones have it. Raises LabError if there is no such subnet.
    """
    every = _pages(ec2, "describe_subnets", "Subnets", vpc.id)
    named = _named_subnets(ec2, spec.subnets)
    _require_same_vpc(named, vpc)
    tables = unless_inconclusive(lambda: _pages(ec2, "describe_route_tables", "RouteTables", vpc.id))
    public = [_subnet(one) for one in (named or every) if is_public(one, tables)]
    _require_public(named, public)
    if not public:
        raise LabError(
            f"The VPC {vpc.id} has no public subnet",
            where=f"VPC {vpc.id}",
            why="none has a route to an internet gateway, and none assigns public addresses",
            hint="add a route for 0.0.0.0/0 to an internet gateway, or set aws.vpc to another VPC",
        )
    fitting = [one for one in public if zones is None or one.zone in zones]
    if not fitting:
        raise LabError(
            f"No public subnet of {vpc.id} is in a zone that offers {spec.instance_type}",
            where="config, aws.instance_type",
            why=f"its subnets are in {_words(one.zone for one in public)}, and the type in {_words(zones or ())}",
            hint="set another aws.instance_type, or create a public subnet in one of those zones",
        )
    return sorted(fitting, key=lambda one: (one.zone, one.id))


def is_public(subnet: dict[str, Any], tables: Iterable[dict[str, Any]] | None) -> bool:
    """Whether its route table (else the VPC's main one) has an internet gateway, or it assigns public addresses.

    Without route tables, it is assumed to be public.
    """
    if tables is None:
        return True
    own, main = None, None
    for table in tables:
        for association in table.get("Associations") or ():
            if association.get("SubnetId") == subnet["SubnetId"]:
                own = table
            elif association.get("Main"):
                main = table
    routes = (own or main or {}).get("Routes") or ()
    has_gateway = any(
        route.get("DestinationCidrBlock") == EVERYWHERE and str(route.get("GatewayId", "")).startswith("igw-")
        for route in routes
    )
    return has_gateway or bool(subnet.get("MapPublicIpOnLaunch"))


def _named_subnets(ec2: Any, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """The subnets with these ids, in this order. Raises LabError if one doesn't exist."""
    if not names:
        return []
    try:
        found = {one["SubnetId"]: one for one in ec2.describe_subnets(SubnetIds=list(names))["Subnets"]}
    except client_error() as error:
        if not error_code(error).startswith("InvalidSubnet"):
            raise
        raise _no_subnet(str(error)) from error
    missing = [name for name in names if name not in found]
    if missing:
        raise _no_subnet(_words(missing))
    return [dict(found[name]) for name in names]


def _no_subnet(why: str) -> LabError:
    return LabError(
        "A subnet in the config doesn't exist",
        where="config, aws.subnets",
        why=why,
        hint="choose those that `aws ec2 describe-subnets` lists, or leave aws.subnets out to use all public ones",
    )


def _require_same_vpc(named: list[dict[str, Any]], vpc: Vpc) -> None:
    foreign = [one["SubnetId"] for one in named if one["VpcId"] != vpc.id]
    if foreign:
        raise LabError(
            f"{_words(foreign)} is not in the VPC {vpc.id}",
            where="config, aws.subnets",
            why="all subnets of a lab must be in one VPC",
            hint="remove it from aws.subnets, or leave aws.vpc out to use the subnets' own VPC",
        )


def _require_public(named: list[dict[str, Any]], public: list[Subnet]) -> None:
    private = [one["SubnetId"] for one in named if one["SubnetId"] not in {p.id for p in public}]
    if private:
        raise LabError(
            f"{_words(private)} is not public",
            where="config, aws.subnets",
            why="it has no route to an internet gateway, and assigns no public addresses",
            hint="list only public subnets, or leave aws.subnets out to use all of the VPC's public ones",
        )


def _subnet(found: dict[str, Any]) -> Subnet:
    return Subnet(found["SubnetId"], found.get("AvailabilityZone", ""), bool(found.get("MapPublicIpOnLaunch")))


def _pages(ec2: Any, operation: str, key: str, vpc: str) -> list[dict[str, Any]]:
    found = items_of(ec2, operation, key, Filters=[{"Name": "vpc-id", "Values": [vpc]}])
    # an emulator that ignores the filter also returns other VPCs' resources
    return [one for one in found if one.get("VpcId", vpc) == vpc]


def _words(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
