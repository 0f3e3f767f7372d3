"""What is looked at before anything is made in an account: all of it side by side, and all that was found at once."""

from __future__ import annotations

import re
import shutil
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from msgspec import structs

from ...config.lab import AwsSpec, Lab
from ...errors import LabError
from ..base import Finding, failed, findings
from . import instance_type as machine
from . import permissions
from .network import Subnet, Vpc, find_subnets, find_vpc
from .session import Identity, Session, code_of, refused, tells_nothing
from .stack_info import stack_info

AT_ONCE = 8
# answers with the caller's own IPv4 address and a line break
CHECK_IP = "https://checkip.amazonaws.com"
CHECK_IP_TIMEOUT = 5.0
CHECK_IP_BYTES = 64
KEYS_SHOWN = 10
_SUBNET = re.compile(r"subnet-[0-9A-Za-z-]+")

Look = Callable[[], "Finding | list[Finding]"]


class Registry(Protocol):
    """What the images' registry is asked."""

    def blockers(self) -> list[LabError]:
        """What speaks against building and pushing."""


class Preflight:
    """The looks at one lab's account; what they find out is kept for the stack's parameters."""

    def __init__(self, session: Session, lab: Lab, registry: Registry, *, check_ip: str = CHECK_IP) -> None:
        self._session = session
        self._lab = lab
        self._registry = registry
        self._check_ip = check_ip

    # what there is; each raises LabError

    @cached_property
    def architecture(self) -> str:
        """The instances': x86_64 or arm64."""
        return machine.architecture_of(self._ec2, self._spec.instance_type)

    @property
    def ami_parameter(self) -> str:
        """The SSM parameter with the instances' AMI."""
        return machine.ami_parameter(self.architecture)

    @cached_property
    def ami(self) -> str | LabError:
        """The instances' AMI, or why there is none."""
        try:
            return machine.ami(self._session.client("ssm"), self.ami_parameter)
        except LabError as error:
            return error

    @cached_property
    def vpc(self) -> Vpc:
        """The lab's VPC."""
        return find_vpc(self._ec2, self._network_spec)

    @cached_property
    def subnets(self) -> list[Subnet]:
        """Its public subnets in zones that have the instance type."""
        return find_subnets(self._ec2, self.vpc, self._network_spec, self._zones)

    @cached_property
    def ssh_cidr(self) -> str | None:
        """The range that may open SSH: the config's, with a key pair the operator's own address, else none."""
        if self._spec.ssh_cidr or not self._spec.key_name:
            return self._spec.ssh_cidr
        return f"{own_address(self._check_ip)}/32"

    @cached_property
    def _zones(self) -> set[str] | None:
        return machine.zones_with(self._ec2, self._spec.instance_type)

    @property
    def _ec2(self) -> Any:
        return self._session.client("ec2")

    @property
    def _spec(self) -> AwsSpec:
        return self._lab.aws

    @cached_property
    def _known(self) -> dict[str, str]:
        """The parameters of the stack that is there."""
        stack = stack_info(self._session.client("cloudformation"), self._lab.name)
        return stack.parameters if stack and stack.lives else {}

    @cached_property
    def _network_spec(self) -> AwsSpec:
        """Where the config leaves the network open it is that of the stack: another would replace the instances."""
        spec = self._spec
        if spec.subnets:
            return spec
        known = self._known
        # an emulator may write a list in a form of its own
        vpc, subnets = known.get("VpcId"), _SUBNET.findall(known.get("SubnetIds", ""))
        if not vpc or not subnets or spec.vpc not in (None, vpc):
            return spec
        return structs.replace(spec, vpc=vpc, subnets=tuple(subnets))

    # what is said of it

    def diagnostics(self) -> list[Finding]:
        """A finding for each thing that was looked at. Without an identity nothing else is asked of AWS."""
        here: list[tuple[str, Look]] = [("docker", self._docker), ("consul access", self._access)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            local = _begin(pool, here)
            try:
                identity = self._session.identity()
                region = self._session.region
            except LabError as error:
                return [failed("identity", error), *_ended(local)]
            who = Finding("identity", "ok", f"account {identity.account}, region {region}, as {identity.arn}")
            remote = _begin(pool, self._looks(identity, region))
            return [who, *_ended(remote), *_ended(local)]

    def _looks(self, identity: Identity, region: str) -> list[tuple[str, Look]]:
        iam = self._session.client("iam")
        return [
            ("network", self._network),
            ("instance type", self._instance_type),
            ("key pair", self._key_pair),
            ("ssh range", self._ssh_range),
            ("permissions", lambda: permissions.diagnostics(iam, identity, region, self._lab.name)),
        ]

    def _network(self) -> list[Finding]:
        vpc = self.vpc
        found = [Finding("vpc", "ok", f"{vpc.id}, {vpc.cidr}{', the default one' if vpc.is_default else ''}")]
        found.append(_dns(vpc))
        try:
            subnets = self.subnets
        except LabError as error:
            return [*found, failed("subnets", error)]
        closed = [one.id for one in subnets if not one.gives_addresses]
        if closed:
            detail = f"{', '.join(closed)} give no public addresses to instances"
            hint = "`aws ec2 modify-subnet-attribute --map-public-ip-on-launch`, or a NAT gateway and a way in"
            return [*found, Finding("subnets", "warning", detail, hint)]
        return [*found, Finding("subnets", "ok", ", ".join(f"{one.id} ({one.zone})" for one in subnets))]

    def _instance_type(self) -> list[Finding]:
        spec = self._spec
        zones = self._zones
        told = f"in {', '.join(sorted(zones))}" if zones else "in which zones is not told"
        found = [Finding("instance type", "ok", f"{spec.instance_type}, {self.architecture}, {told}")]
        if isinstance(self.ami, str):
            return [*found, Finding("ami", "ok", f"{self.ami}, by {self.ami_parameter}")]
        if self._session.endpoint():
            hint = "an emulator need not have AWS's public parameters, and boots nothing: a stand-in takes its place"
            return [*found, Finding("ami", "warning", f"there is no {self.ami_parameter}", hint)]
        return [*found, failed("ami", self.ami)]

    def _key_pair(self) -> Finding:
        from botocore.exceptions import ClientError

        name = self._spec.key_name
        if not name:
            return Finding("key pair", "ok", "none is named, so nobody can log in by SSH")
        try:
            self._ec2.describe_key_pairs(KeyNames=[name])
        except ClientError as error:
            if code_of(error) != "InvalidKeyPair.NotFound":
                raise
            return failed("key pair", self._no_key(name))
        return Finding("key pair", "ok", name)

    def _no_key(self, name: str) -> LabError:
        known = [str(key["KeyName"]) for key in self._ec2.describe_key_pairs()["KeyPairs"]]
        some = ", ".join(sorted(known)[:KEYS_SHOWN]) or "none"
        return LabError(
            f"There is no EC2 key pair {name} in this region",
            where="config, aws.key_name",
            why=f"there are: {some}",
            hint=f"`aws ec2 create-key-pair --key-name {name}` makes one",
        )

    def _ssh_range(self) -> Finding:
        cidr = self.ssh_cidr
        if cidr == "0.0.0.0/0":
            hint = "give your own address in aws.ssh_cidr, or leave it out"
            return Finding("ssh range", "warning", "the whole internet may open SSH", hint)
        let_in = self._known.get("SshCidr")
        if cidr and let_in and let_in != cidr and not self._spec.ssh_cidr:
            hint = f"`aws: {{ssh_cidr: {cidr}}}` in the config, and `ecsconsul up`"
            return Finding("ssh range", "warning", f"the stack lets {let_in} in, and you are at {cidr}", hint)
        return Finding("ssh range", "ok", f"{cidr} may open SSH" if cidr else "SSH is closed")

    def _docker(self) -> list[Finding]:
        where = self._lab.aws.registry or "ECR"
        return findings("docker", self._registry.blockers(), f"can build and push to {where}")

    def _access(self) -> Finding:
        lacking = access_lacks(self._lab)
        way = self._spec.consul_access
        if lacking:
            return Finding("consul access", "warning", f"{way}: {lacking[0]}", lacking[1])
        return Finding("consul access", "ok", way)


def own_address(url: str) -> str:
    """The IPv4 address under which this machine is seen from outside. Raises LabError."""
    import ipaddress

    try:
        with urllib.request.urlopen(url, timeout=CHECK_IP_TIMEOUT) as answer:
            text = answer.read(CHECK_IP_BYTES).decode("ascii", "replace").strip()
        return str(ipaddress.IPv4Address(text))
    except (OSError, ValueError) as error:
        raise LabError(
            "Your own address is not known, so SSH cannot be opened for it",
            where=url,
            why=str(error),
            hint="give the range in the config (`aws: {ssh_cidr: 203.0.113.7/32}`)",
        ) from error


def access_lacks(lab: Lab) -> tuple[str, str] | None:
    """What `status` and `dig` would want and do not find on the way to Consul, and a hint."""
    spec = lab.aws
    if spec.consul_access == "direct":
        return None
    program = "ssh" if spec.consul_access == "ssh" else "session-manager-plugin"
    if shutil.which(program) is None:
        return f"there is no {program} on PATH", "install it, or take another aws.consul_access"
    if spec.consul_access == "ssm":
        return None
    if not spec.key_name and not spec.ssh.host:
        hint = "name a key pair (aws.key_name), or take `consul_access: ssm`"
        return "no key pair is named, so status and dig cannot reach Consul", hint
    if spec.ssh.key and not Path(spec.ssh.key).is_file():
        return f"there is no private key {spec.ssh.key}", "correct aws.ssh.key"
    return None


def _dns(vpc: Vpc) -> Finding:
    if vpc.dns_support is None:
        hint = f"aws ec2 describe-vpc-attribute --vpc-id {vpc.id} --attribute enableDnsSupport"
        return Finding("dns", "unknown", f"Amazon's at {vpc.dns_ip}; whether it is on is not told", hint)
    if not vpc.dns_support:
        error = LabError(
            f"The VPC {vpc.id} has no DNS support",
            where=f"VPC {vpc.id}, enableDnsSupport",
            hint=f"aws ec2 modify-vpc-attribute --vpc-id {vpc.id} --enable-dns-support",
        )
        return failed("dns", error)
    if not vpc.dns_hostnames:
        hint = f"aws ec2 modify-vpc-attribute --vpc-id {vpc.id} --enable-dns-hostnames"
        return Finding("dns", "warning", f"Amazon's at {vpc.dns_ip}; instances get no public names", hint)
    return Finding("dns", "ok", f"Amazon's at {vpc.dns_ip}")


def _begin(pool: ThreadPoolExecutor, looks: Sequence[tuple[str, Look]]) -> list[tuple[str, Future[Any]]]:
    return [(name, pool.submit(look)) for name, look in looks]


def _ended(begun: Sequence[tuple[str, Future[Any]]]) -> list[Finding]:
    """What was found; a look that failed is a finding, and one that AWS forbids says nothing of what it was for."""
    from botocore.exceptions import ClientError

    found: list[Finding] = []
    for name, future in begun:
        try:
            brought = future.result()
        except LabError as error:
            brought = failed(name, error)
        except ClientError as error:
            what = f"AWS does not tell of the {name}"
            brought = (
                Finding(name, "unknown", f"{what}: {error}", refused(what, error).hint)
                if tells_nothing(error)
                else failed(name, refused(what, error))
            )
        found += brought if isinstance(brought, list) else [brought]
    return found
