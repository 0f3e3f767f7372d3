"""Finds the lab's place in the network: the VPC, its public subnets, and where Amazon's DNS answers in it."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ...config.lab import AwsSpec
from ...errors import LabError
from ..client_errors import error_code
from .session import tells_nothing

EVERYWHERE = "0.0.0.0/0"


@dataclass(frozen=True)
class Subnet:
    """A subnet that leads to the internet; `gives_addresses` tells whether instances get public ones by themselves."""

    id: str
    zone: str
    gives_addresses: bool


@dataclass(frozen=True)
class Vpc:
    """A VPC, and whether Amazon's DNS works in it, and gives public names; None where that is not told."""

    id: str
    cidr: str
    is_default: bool
    dns_support: bool | None
    dns_hostnames: bool | None

    @property
    def dns_ip(self) -> str:
        """Amazon's DNS server: the base of the VPC's (primary) range plus two.

        https://docs.aws.amazon.com/vpc/latest/userguide/AmazonDNS-concepts.html
        """
        return str(ipaddress.ip_network(self.cidr, strict=False).network_address + 2)


def find_vpc(ec2: Any, spec: AwsSpec) -> Vpc:
    """The VPC that was named, that of the subnets that were named, or the region's default one. Raises LabError."""
    found = _named_vpc(ec2, spec) or _default_vpc(ec2)
    with ThreadPoolExecutor(2) as pool:
        support, hostnames = pool.map(
            lambda name: _attribute(ec2, found["VpcId"], name), ("enableDnsSupport", "enableDnsHostnames")
        )
    return Vpc(found["VpcId"], found["CidrBlock"], bool(found.get("IsDefault")), support, hostnames)


def _named_vpc(ec2: Any, spec: AwsSpec) -> dict[str, Any] | None:
    from botocore.exceptions import ClientError

    vpc = spec.vpc or _vpc_of(ec2, spec.subnets)
    if vpc is None:
        return None
    try:
        found = ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
    except ClientError as error:
        if not error_code(error).startswith("InvalidVpc"):
            raise
        found = []
    if not found:
        raise LabError(
            f"There is no VPC {vpc} in this region",
            where="config, aws.vpc",
            hint="`aws ec2 describe-vpcs` lists those that there are; without aws.vpc the default one is taken",
        )
    return dict(found[0])


def _vpc_of(ec2: Any, subnets: tuple[str, ...]) -> str | None:
    return str(_named_subnets(ec2, subnets)[0]["VpcId"]) if subnets else None


def _default_vpc(ec2: Any) -> dict[str, Any]:
    found = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    found = [vpc for vpc in found if vpc.get("IsDefault", True)]
    if not found:
        raise LabError(
            "This region has no default VPC",
            where="config, aws.vpc",
            hint="name one in the config (`aws: {vpc: vpc-...}`), or make one: `aws ec2 create-default-vpc`",
        )
    return dict(found[0])


def _attribute(ec2: Any, vpc: str, name: str) -> bool | None:
    from botocore.exceptions import ClientError

    try:
        found = ec2.describe_vpc_attribute(VpcId=vpc, Attribute=name)
    except ClientError as error:
        if not tells_nothing(error):
            raise
        return None
    told = found.get(name[0].upper() + name[1:], {}).get("Value")
    return None if told is None else bool(told)


def find_subnets(ec2: Any, vpc: Vpc, spec: AwsSpec, zones: Collection[str] | None) -> list[Subnet]:
    """The public subnets that were named, or all of the VPC; in zones that have the instance type.

    `zones` is None where it is not known which zones have it. Raises LabError when there is none.
    """
    all_of_it = _pages(ec2, "describe_subnets", "Subnets", vpc.id)
    named = _named_subnets(ec2, spec.subnets)
    _refuse_strangers(named, vpc)
    tables = _route_tables(ec2, vpc)
    public = [_subnet(one) for one in (named or all_of_it) if is_public(one, tables)]
    _refuse_private(named, public)
    if not public:
        raise LabError(
            f"The VPC {vpc.id} has no public subnet",
            where=f"VPC {vpc.id}",
            why="none has a route to an internet gateway, and none gives its instances public addresses",
            hint="give one a route 0.0.0.0/0 to an internet gateway, or name another VPC (aws.vpc)",
        )
    fitting = [one for one in public if zones is None or one.zone in zones]
    if not fitting:
        raise LabError(
            f"No public subnet of {vpc.id} is in a zone that has {spec.instance_type}",
            where="config, aws.instance_type",
            why=f"subnets are in {_words(one.zone for one in public)}; the type is in {_words(zones or ())}",
            hint="take another aws.instance_type, or make a subnet in one of those zones",
        )
    return sorted(fitting, key=lambda one: (one.zone, one.id))


def _route_tables(ec2: Any, vpc: Vpc) -> list[dict[str, Any]] | None:
    """The VPC's; None where they are not told."""
    from botocore.exceptions import ClientError

    try:
        return _pages(ec2, "describe_route_tables", "RouteTables", vpc.id)
    except ClientError as error:
        if not tells_nothing(error):
            raise
        return None


def is_public(subnet: dict[str, Any], tables: Iterable[dict[str, Any]] | None) -> bool:
    """Whether its own route table, or else the VPC's main one, leads to an internet gateway, or it says so itself.

    Where route tables are not told, it is believed.
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
    leads_out = any(
        route.get("DestinationCidrBlock") == EVERYWHERE and str(route.get("GatewayId", "")).startswith("igw-")
        for route in routes
    )
    return leads_out or bool(subnet.get("MapPublicIpOnLaunch"))


def _named_subnets(ec2: Any, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Those that were named, in this order. Raises LabError when one is not there."""
    from botocore.exceptions import ClientError

    if not names:
        return []
    try:
        found = {one["SubnetId"]: one for one in ec2.describe_subnets(SubnetIds=list(names))["Subnets"]}
    except ClientError as error:
        if not error_code(error).startswith("InvalidSubnet"):
            raise
        raise _no_subnet(str(error)) from error
    missing = [name for name in names if name not in found]
    if missing:
        raise _no_subnet(_words(missing))
    return [dict(found[name]) for name in names]


def _no_subnet(why: str) -> LabError:
    return LabError(
        "A subnet that the config names is not there",
        where="config, aws.subnets",
        why=why,
        hint="`aws ec2 describe-subnets` lists those that there are; without aws.subnets all public ones are taken",
    )


def _refuse_strangers(named: list[dict[str, Any]], vpc: Vpc) -> None:
    strangers = [one["SubnetId"] for one in named if one["VpcId"] != vpc.id]
    if strangers:
        raise LabError(
            f"{_words(strangers)} is not of the VPC {vpc.id}",
            where="config, aws.subnets",
            hint="all subnets must be of aws.vpc; leave aws.vpc out to take that of the subnets",
        )


def _refuse_private(named: list[dict[str, Any]], public: list[Subnet]) -> None:
    private = [one["SubnetId"] for one in named if one["SubnetId"] not in {p.id for p in public}]
    if private:
        raise LabError(
            f"{_words(private)} is not public",
            where="config, aws.subnets",
            why="there is no route to an internet gateway, and instances get no public address",
            hint="name public subnets only, or none, to take all public ones of the VPC",
        )


def _subnet(found: dict[str, Any]) -> Subnet:
    return Subnet(found["SubnetId"], found.get("AvailabilityZone", ""), bool(found.get("MapPublicIpOnLaunch")))


def _pages(ec2: Any, operation: str, key: str, vpc: str) -> list[dict[str, Any]]:
    pages = ec2.get_paginator(operation).paginate(Filters=[{"Name": "vpc-id", "Values": [vpc]}])
    # a filter that is not heeded must not bring subnets of another VPC
    return [one for page in pages for one in page[key] if one.get("VpcId", vpc) == vpc]


def _words(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
