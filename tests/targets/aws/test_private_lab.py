"""A lab in private subnets, its portal behind a load balancer: created, changed and removed in moto's account."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import structs

from ecsconsul.cli.changes import all_steps
from ecsconsul.config.aws_settings import LoadBalancerSpec
from ecsconsul.config.lab import Lab
from ecsconsul.deploy.step import decide
from ecsconsul.targets.aws.permissions import policy
from tests.aws_calls import RecordedCalls
from tests.iam_evaluator import is_allowed
from tests.targets.aws.policy_requests import VALUES, recorded_request
from tests.targets.aws.test_policies import ROLES, UP_AND_DOWN, WATCHING, down, lab_with, recorded, target_of, up
from tests.targets.aws.test_preflight import Network

__all__ = ["recorded"]

Account = Callable[[str], Any]


class World(Network):
    """A VPC with private subnets behind a NAT gateway, public ones in the same zones, and an issued certificate."""

    def __init__(self, account: Account) -> None:
        super().__init__(account("ec2"))
        self.account = account
        self.add_nat()
        self.public = {self._public(f"10.7.{number}.0/24", zone) for number, zone in ((8, "a"), (9, "b"))}
        self.certificate = account("acm").import_certificate(**self_signed("lab.example"))["CertificateArn"]

    def _public(self, cidr: str, zone: str) -> str:
        made = self._subnet(cidr, zone)
        self.ec2.modify_subnet_attribute(SubnetId=made, MapPublicIpOnLaunch={"Value": True})
        return made

    def private(self, lab: Lab, **balancer: Any) -> Lab:
        """The lab in the private subnets, with a load balancer unless there are no settings for it."""
        spec = LoadBalancerSpec(certificate=self.certificate, **balancer) if balancer else None
        return structs.replace(lab, aws=structs.replace(lab.aws, subnets=self.subnets, load_balancer=spec))

    def instances(self) -> list[dict[str, Any]]:
        found = self.ec2.describe_instances()["Reservations"]
        every = [one for reservation in found for one in reservation["Instances"]]
        return [one for one in every if one["State"]["Name"] == "running"]

    def open_to(self, source: str) -> set[int]:
        """The ports that are open to a range of addresses."""
        groups = self.ec2.describe_security_groups()["SecurityGroups"]
        rules = [rule for group in groups for rule in group["IpPermissions"]]
        return {rule["FromPort"] for rule in rules if any(one["CidrIp"] == source for one in rule["IpRanges"])}

    def joined(self) -> list[dict[str, Any]]:
        """The load balancers of the portal's service."""
        found = self.account("ecs").describe_services(cluster="blue", services=["portal"])["services"]
        return list(found[0].get("loadBalancers") or [])

    def target_group(self) -> str:
        (found,) = self.account("elbv2").describe_target_groups()["TargetGroups"]
        return str(found["TargetGroupArn"])

    def remove_target_groups(self) -> None:
        """moto keeps those of a deleted stack."""
        for one in self.account("elbv2").describe_target_groups()["TargetGroups"]:
            self.account("elbv2").delete_target_group(TargetGroupArn=one["TargetGroupArn"])


def self_signed(name: str) -> dict[str, bytes]:
    """A certificate and its key, as ACM imports them."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]), datetime.now(timezone.utc)
    made = x509.CertificateBuilder(subject, subject, key.public_key(), 1, now, now + timedelta(days=1))
    private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {
        "Certificate": made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM),
        "PrivateKey": key.private_bytes(*private),
    }


@pytest.fixture
def world(account: Account) -> World:
    account("ec2").create_key_pair(KeyName="mine")
    return World(account)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder that nothing is written to, so that its images stay the same."""
    made = tmp_path / "source"
    made.mkdir()
    return made


def pending(lab: Lab) -> dict[str, str]:
    """What `plan` would do."""
    steps = [step for step in all_steps(lab, target_of(lab)) if step.name != "discovery"]
    found = {step.name: decide(step.desired(), step.inspect()) for step in steps}
    return {name: op for name, op in found.items() if op != "keep"}


def test_private_lab_behind_a_load_balancer(world: World, recorded: RecordedCalls, source: Path) -> None:
    plain = lab_with(source)
    lab = world.private(plain, internal=False)
    target = up(lab)
    (made,) = world.account("elbv2").describe_load_balancers()["LoadBalancers"]
    assert {one["SubnetId"] for one in made["AvailabilityZones"]} == world.public
    portal = {"targetGroupArn": world.target_group(), "containerName": "portal", "containerPort": 4567}
    assert world.joined() == [portal]
    assert world.open_to("0.0.0.0/0") == {80, 443}, "of the load balancer"
    assert {one["SubnetId"] for one in world.instances()} <= set(world.subnets)
    assert all("PublicIpAddress" not in one for one in world.instances())
    assert target.portal_url() == f"https://{made['DNSName']}/"
    assert pending(lab) == {}

    writes = [call for call in recorded.calls if ":Create" in call or ":Update" in call]
    recorded.requests.clear()
    up(lab)
    assert writes
    assert [call for call in recorded.calls if ":Create" in call or ":Update" in call] == []

    assert pending(world.private(plain)) == {"stack": "update", "services/portal": "update"}
    assert pending(world.private(plain, internal=True)) == {"stack": "update"}
    assert down(lab) == []
    assert world.account("elbv2").describe_load_balancers()["LoadBalancers"] == []
    world.remove_target_groups()
    assert world.instances() == []
    policies = [UP_AND_DOWN, ROLES, WATCHING, policy("load-balancer", VALUES)]
    denied = [one for one in map(recorded_request, recorded.requests) if not is_allowed(one, policies)]
    assert denied == []


def test_private_lab_without_a_load_balancer(world: World, recorded: RecordedCalls, source: Path) -> None:
    lab = world.private(lab_with(source))
    up(lab)
    assert world.open_to("0.0.0.0/0") == set()
    assert world.open_to("10.7.0.0/16") == {8080}
    assert pending(lab) == {}
    assert down(lab) == []


def test_load_balancer_comes_to_a_public_lab(world: World, recorded: RecordedCalls, source: Path) -> None:
    plain = lab_with(source)
    public = structs.replace(plain, aws=structs.replace(plain.aws, subnets=tuple(sorted(world.public))))
    up(public)
    assert world.open_to("0.0.0.0/0") == {80, 443, 8080}
    balanced = structs.replace(
        public, aws=structs.replace(public.aws, load_balancer=LoadBalancerSpec(certificate=world.certificate))
    )
    assert pending(balanced) == {"stack": "update", "services/portal": "update"}
    up(balanced)
    assert [one["targetGroupArn"] for one in world.joined()] == [world.target_group()]
    assert pending(balanced) == {}
    assert down(balanced) == []
    world.remove_target_groups()
