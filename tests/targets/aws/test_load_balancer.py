"""The load balancer's subnets and certificate, in an account that moto simulates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from ecsconsul.config.aws_settings import LoadBalancerSpec
from ecsconsul.config.lab import Lab
from ecsconsul.errors import LabError
from ecsconsul.targets.aws.load_balancer import (
    certificate_diagnostics,
    load_balancer_subnets,
    one_in_each_zone,
    portal_diagnostics,
    stack_parameters,
)
from ecsconsul.targets.aws.network import Subnet, Vpc
from tests.deploy.world import REGION
from tests.targets.aws.conftest import ACCOUNT

Account = Callable[[str], Any]
ARN = f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/11111111-2222-3333-4444-555555555555"
VPC = Vpc("vpc-1", "10.7.0.0/16", False, True, True)


def subnet(id: str, *, public: bool = True) -> Subnet:
    """`a1` is in the zone `a`."""
    return Subnet(id, id[0], public, public)


PUBLIC = [subnet(id) for id in ("a1", "a2", "b1", "c1")]


@pytest.mark.parametrize(
    ("instances", "chosen"),
    [
        (["a2"], ["a1", "b1"]),
        (["b1", "c1"], ["b1", "c1"]),
        (["a1", "a2", "b1", "c1"], ["a1", "b1", "c1"]),
        (["c1"], ["c1", "a1"]),
    ],
)
def test_each_zone_of_the_instances_has_one_subnet_and_there_are_two(instances: list[str], chosen: list[str]) -> None:
    assert [one.id for one in one_in_each_zone(PUBLIC, [subnet(id) for id in instances])] == chosen


class Network:
    """A VPC with public subnets in two zones and private ones in the same two."""

    def __init__(self, ec2: Any) -> None:
        self.ec2 = ec2
        self.vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
        self.public = [self._subnet(1, "a", public=True), self._subnet(2, "b", public=True)]
        self.private = [self._subnet(3, "a", public=False), self._subnet(4, "b", public=False)]

    def _subnet(self, number: int, zone: str, *, public: bool) -> str:
        where = {"CidrBlock": f"10.7.{number}.0/24", "AvailabilityZone": f"{REGION}{zone}"}
        made = str(self.ec2.create_subnet(VpcId=self.vpc, **where)["Subnet"]["SubnetId"])
        self.ec2.modify_subnet_attribute(SubnetId=made, MapPublicIpOnLaunch={"Value": public})
        return made

    def chosen(self, *zones: str, **spec: Any) -> list[str]:
        instances = [Subnet(f"{zone}1", f"{REGION}{zone}", False, public=False) for zone in zones]
        vpc = Vpc(self.vpc, VPC.cidr, False, True, True)
        found = load_balancer_subnets(self.ec2, vpc, LoadBalancerSpec(certificate=ARN, **spec), instances)
        return [one.id for one in found]


@pytest.fixture
def network(account: Account) -> Network:
    return Network(account("ec2"))


def test_default_subnets(network: Network) -> None:
    assert network.chosen("a", "b") == network.public
    assert network.chosen("a", "b", internal=True) == ["a1", "b1"], "those of the instances"
    assert network.chosen("b") == network.public[::-1]


def test_configured_subnets_are_checked(network: Network) -> None:
    assert network.chosen("a", subnets=tuple(network.public)) == network.public
    assert network.chosen("a", subnets=tuple(network.private), internal=True) == network.private
    with pytest.raises(LabError, match="can't hold a load balancer that the internet reaches"):
        network.chosen("a", subnets=(network.public[0], network.private[1]))
    for subnets in ((network.public[0],), (network.public[0], network.private[0])):
        with pytest.raises(LabError, match="in at least two zones, one in each"):
            network.chosen("a", subnets=subnets)
    with pytest.raises(LabError, match="Tasks in us-east-1c would get no requests"):
        network.chosen("a", "c", subnets=tuple(network.public))
    with pytest.raises(LabError, match="doesn't exist") as raised:
        network.chosen("a", subnets=("subnet-0123456789abcdef0",))
    assert raised.value.where == "config, aws.load_balancer.subnets"


def test_internal_load_balancer_needs_instances_in_two_zones(network: Network) -> None:
    with pytest.raises(LabError, match="in at least two zones"):
        network.chosen("a", internal=True)


def test_instances_are_closed_to_the_internet() -> None:
    spec, subnets = LoadBalancerSpec(certificate=ARN), [subnet("a1"), subnet("b1")]
    assert stack_parameters(spec, VPC, subnets) == {"PublicPort": "0", "LoadBalancerSubnetIds": "a1,b1"}
    internal = stack_parameters(structs.replace(spec, internal=True), VPC, subnets)
    assert internal["LoadBalancerCidr"] == "10.7.0.0/16"


def test_portal_is_needed(lab: Lab) -> None:
    assert portal_diagnostics(lab) == []
    (found,) = portal_diagnostics(structs.replace(lab, services=lab.services[:1]))
    assert (found.state, "host_port" in found.hint) == ("failed", True)


class Acm:
    """ACM with one certificate."""

    def __init__(self, status: str) -> None:
        self._status = status

    def describe_certificate(self, *, CertificateArn: str) -> dict[str, Any]:
        return {"Certificate": {"DomainName": "lab.example", "Status": self._status}}


def test_issued_certificate_is_named() -> None:
    found = certificate_diagnostics(Acm("ISSUED"), ARN, REGION)
    assert (found.state, found.detail) == ("ok", "lab.example, in ACM")


@pytest.mark.parametrize("status", ["PENDING_VALIDATION", "EXPIRED", "REVOKED"])
def test_certificate_that_is_not_issued_fails(status: str) -> None:
    found = certificate_diagnostics(Acm(status), ARN, REGION)
    assert found.state == "failed"
    assert status in str(found.error and found.error.why)


def test_certificate_of_another_region_or_account_fails(account: Account) -> None:
    found = certificate_diagnostics(Acm("ISSUED"), ARN, "eu-west-1")
    assert (found.state, "it is in us-east-1" in found.detail) == ("failed", True)
    found = certificate_diagnostics(account("acm"), ARN, REGION)
    assert (found.state, "ACM doesn't know it" in found.detail) == ("failed", True)
