"""Checks an account before anything is created in it: runs all checks in parallel and reports all findings at once."""

from __future__ import annotations

import re
import shutil
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

from msgspec import structs

from ...config.aws_settings import AwsSpec
from ...config.lab import Lab
from ...errors import LabError
from ..client_errors import client_error, error_code
from ..commands import Finding, failed, findings
from . import instance_type as instance_types
from . import load_balancer, permissions
from .amis import INSTANCES, SERVERS, Amis
from .docker_bridge import bridge_diagnostics
from .network import Subnet, Vpc, find_subnets, find_vpc
from .reachability import consul_image_diagnostics, reach_diagnostics
from .registry import RegistryImages
from .session import Identity, Session, is_inconclusive, refused
from .snapshots import diagnostics as bucket_diagnostics
from .stack_info import StackInfo, stack_info

MAX_PARALLEL = 8
# answers with the caller's IPv4 address and a line break
CHECK_IP = "https://checkip.amazonaws.com"
CHECK_IP_TIMEOUT = 5.0
CHECK_IP_BYTES = 64
KEYS_SHOWN = 10
_SUBNET = re.compile(r"subnet-[0-9A-Za-z-]+")

Check = Callable[[], "Finding | list[Finding]"]


class Preflight:
    """The checks of one lab's account. Their results also become the stack's parameters."""

    def __init__(
        self,
        session: Session,
        lab: Lab,
        registry: RegistryImages,
        *,
        check_ip: str = CHECK_IP,
        update_ami: bool = False,
    ) -> None:
        self._session = session
        self._lab = lab
        self._registry = registry
        self._check_ip = check_ip
        self.amis = Amis(session, lab.aws, lambda: self._stack, renew=update_ami)

    # the account's resources; each property raises LabError

    @property
    def architecture(self) -> str:
        """The ECS instances' architecture: x86_64 or arm64."""
        return self.amis.architecture(INSTANCES)

    @cached_property
    def vpc(self) -> Vpc:
        """The lab's VPC."""
        return find_vpc(self._ec2, self._network_spec)

    @cached_property
    def subnets(self) -> list[Subnet]:
        """The instances' subnets, in zones that have the instance types: all public or all private."""
        return find_subnets(self._ec2, self.vpc, self._network_spec, self._zones)

    @property
    def is_private(self) -> bool:
        """Whether the instances have no public addresses."""
        return not self.subnets[0].public

    def access_parameters(self) -> dict[str, str]:
        """The stack's parameters that say who reaches the portal, unless it's the internet."""
        spec = self._spec.load_balancer
        if spec:
            subnets = load_balancer.load_balancer_subnets(self._ec2, self.vpc, spec, self.subnets)
            return load_balancer.stack_parameters(spec, self.vpc, subnets)
        return {"PublicPort": "0", "VpcCidr": self.vpc.cidr} if self.is_private else {}

    @cached_property
    def ssh_cidr(self) -> str | None:
        """The range that may use SSH: the config's, else the user's own address if there is a key pair, else none."""
        if self._spec.ssh_cidr or not self._spec.key_name:
            return self._spec.ssh_cidr
        return f"{own_address(self._check_ip)}/32"

    @cached_property
    def _zones(self) -> set[str] | None:
        types = {self._spec.instance_type, self._spec.server_type}
        found = [zones for one in types if (zones := instance_types.zones_with(self._ec2, one))]
        return set.intersection(*found) if found else None

    @property
    def _ec2(self) -> Any:
        return self._session.client("ec2")

    @property
    def _spec(self) -> AwsSpec:
        return self._lab.aws

    @cached_property
    def _stack(self) -> StackInfo | None:
        return stack_info(self._session.client("cloudformation"), self._lab.name)

    @property
    def _known(self) -> dict[str, str]:
        """The parameters of the existing stack."""
        return self._stack.parameters if self._stack and self._stack.lives else {}

    @cached_property
    def _network_spec(self) -> AwsSpec:
        """The config's network, else the existing stack's: a different network would replace the instances."""
        spec = self._spec
        if spec.subnets:
            return spec
        known = self._known
        # emulators format lists differently
        vpc, subnets = known.get("VpcId"), _SUBNET.findall(known.get("SubnetIds", ""))
        if not vpc or not subnets or spec.vpc not in (None, vpc):
            return spec
        return structs.replace(spec, vpc=vpc, subnets=tuple(subnets))

    # findings

    def diagnostics(self) -> list[Finding]:
        """A finding for each check. Without a valid identity, AWS isn't asked anything else."""
        local_checks: list[tuple[str, Check]] = [("docker", self._docker), ("consul access", self._access)]
        with ThreadPoolExecutor(MAX_PARALLEL) as pool:
            local = _start(pool, local_checks)
            try:
                identity = self._session.identity()
                region = self._session.region
            except LabError as error:
                return [failed("identity", error), *_results(local)]
            caller = Finding("identity", "ok", f"account {identity.account}, region {region}, as {identity.arn}")
            remote = _start(pool, self._remote_checks(identity, region))
            return [caller, *_results(remote), *_results(local)]

    def _remote_checks(self, identity: Identity, region: str) -> list[tuple[str, Check]]:
        iam, lab, boundary = self._session.client("iam"), self._lab.name, self._spec.permissions_boundary
        snapshots = self._lab.consul.snapshots
        bucket = (snapshots.bucket if snapshots else None) or ""
        needed = (
            *permissions.UP_AND_DOWN,
            *([permissions.LOAD_BALANCER] if self._spec.load_balancer else []),
            *([permissions.SNAPSHOTS] if bucket else []),
        )
        return [
            ("network", lambda: self._network(identity, region)),
            ("instance type", self._instance_type),
            ("key pair", self._key_pair),
            ("ssh range", self._ssh_range),
            ("permissions", lambda: permissions.diagnostics(iam, identity, region, lab, boundary, needed, bucket)),
            ("permissions boundary", lambda: permissions.boundary_diagnostics(iam, boundary)),
            *self._load_balancer_checks(region),
            *([("snapshots", lambda: bucket_diagnostics(self._session.client("s3"), bucket))] if bucket else []),
        ]

    def _load_balancer_checks(self, region: str) -> list[tuple[str, Check]]:
        spec = self._spec.load_balancer
        if spec is None:
            return []
        acm = self._session.client("acm")
        return [("certificate", lambda: load_balancer.certificate_diagnostics(acm, spec.certificate, region))]

    def _network(self, identity: Identity, region: str) -> list[Finding]:
        vpc = self.vpc
        found = [Finding("vpc", "ok", f"{vpc.id}, {vpc.cidr}{', the default VPC' if vpc.is_default else ''}")]
        found.append(_dns(vpc))
        try:
            subnets = self.subnets
        except LabError as error:
            return [*found, failed("subnets", error)]
        return [
            *found,
            *(self._private(subnets, region) if self.is_private else [_public(subnets)]),
            *consul_image_diagnostics(self._lab, identity, region),
            bridge_diagnostics(self._spec.docker_bridge, vpc, subnets),
            *self._load_balancer(),
        ]

    def _private(self, subnets: list[Subnet], region: str) -> list[Finding]:
        names = ", ".join(f"{one.id} ({one.zone})" for one in subnets)
        found = [Finding("subnets", "ok", f"{names}, private: instances have no public addresses")]
        if self._spec.consul_access == "ssh" and not self._spec.ssh.host:
            detail = "ssh from here reaches no server in a private subnet, unless you're connected to the VPC"
            hint = "set `consul_access: ssm`, or set aws.ssh.host to a host that leads there through a bastion"
            found.append(Finding("ssh to servers", "warning", detail, hint))
        return [*found, *reach_diagnostics(self._ec2, self._lab, self.vpc.id, region, subnets)]

    def _load_balancer(self) -> list[Finding]:
        spec = self._spec.load_balancer
        if spec is None:
            return []
        portal = load_balancer.portal_diagnostics(self._lab)
        try:
            subnets = load_balancer.load_balancer_subnets(self._ec2, self.vpc, spec, self.subnets)
        except LabError as error:
            return [*portal, failed("load balancer", error)]
        names = ", ".join(f"{one.id} ({one.zone})" for one in subnets)
        return [*portal, Finding("load balancer", "ok", f"{'internal' if spec.internal else 'public'}, in {names}")]

    def _instance_type(self) -> list[Finding]:
        spec, zones = self._spec, self._zones
        where = f"in {', '.join(sorted(zones))}" if zones else "zones unknown"
        found = [Finding("instance type", "ok", f"{spec.instance_type}, {self.architecture}, {where}")]
        if spec.server_type != spec.instance_type:
            architecture = self.amis.architecture(SERVERS)
            found.append(Finding("server instance type", "ok", f"{spec.server_type}, {architecture}, {where}"))
        return [*found, *self.amis.findings()]

    def _key_pair(self) -> Finding:
        name = self._spec.key_name
        if not name:
            return Finding("key pair", "ok", "none set, so nobody can log in through SSH")
        try:
            self._ec2.describe_key_pairs(KeyNames=[name])
        except client_error() as error:
            if error_code(error) != "InvalidKeyPair.NotFound":
                raise
            return failed("key pair", self._no_key(name))
        return Finding("key pair", "ok", name)

    def _no_key(self, name: str) -> LabError:
        known = [str(key["KeyName"]) for key in self._ec2.describe_key_pairs()["KeyPairs"]]
        some = ", ".join(sorted(known)[:KEYS_SHOWN]) or "none"
        return LabError(
            f"There is no EC2 key pair {name} in this region",
            where="config, aws.key_name",
            why=f"the region has: {some}",
            hint=f"set aws.key_name to one of them, or run `aws ec2 create-key-pair --key-name {name}`",
        )

    def _ssh_range(self) -> Finding:
        cidr = self.ssh_cidr
        if cidr == "0.0.0.0/0":
            hint = "set aws.ssh_cidr to your own address, or leave it out"
            return Finding("ssh range", "warning", "the whole internet may use SSH", hint)
        allowed = self._known.get("SshCidr")
        if cidr and allowed and allowed != cidr and not self._spec.ssh_cidr:
            hint = f"set `aws: {{ssh_cidr: {cidr}}}` in the config and run `ecsconsul up`"
            return Finding("ssh range", "warning", f"the stack allows {allowed}, but your address is {cidr}", hint)
        return Finding("ssh range", "ok", f"{cidr} may use SSH" if cidr else "SSH is closed")

    def _docker(self) -> list[Finding]:
        where = self._lab.aws.registry or "ECR"
        return findings("docker", self._registry.blockers(), f"can build, and push to {where}")

    def _access(self) -> Finding:
        missing = missing_for_access(self._lab)
        access = self._spec.consul_access
        if missing:
            return Finding("consul access", "warning", f"{access}: {missing[0]}", missing[1])
        return Finding("consul access", "ok", access)


def own_address(url: str) -> str:
    """This machine's public IPv4 address. Raises LabError."""
    import ipaddress

    try:
        with urllib.request.urlopen(url, timeout=CHECK_IP_TIMEOUT) as answer:
            text = answer.read(CHECK_IP_BYTES).decode("ascii", "replace").strip()
        return str(ipaddress.IPv4Address(text))
    except (OSError, ValueError) as error:
        raise LabError(
            "Your public address can't be determined, so SSH can't be opened for it",
            where=url,
            why=str(error),
            hint="set it in the config, for example `aws: {ssh_cidr: 203.0.113.7/32}`",
        ) from error


def missing_for_access(lab: Lab) -> tuple[str, str] | None:
    """What `status` and `dig` need to reach Consul and don't have, and a hint; None if nothing is missing."""
    spec = lab.aws
    if spec.consul_access == "direct":
        return None
    program = "ssh" if spec.consul_access == "ssh" else "session-manager-plugin"
    if shutil.which(program) is None:
        return f"there is no {program} on PATH", "install it, or set aws.consul_access to another way"
    if spec.consul_access == "ssm":
        return None
    if not spec.key_name and not spec.ssh.host:
        hint = "set aws.key_name to a key pair, or set `consul_access: ssm`"
        return "no key pair is set, so `status` and `dig` can't reach Consul", hint
    if spec.ssh.key and not Path(spec.ssh.key).is_file():
        return f"there is no private key {spec.ssh.key}", "set aws.ssh.key to the private key's path"
    return None


def _public(subnets: list[Subnet]) -> Finding:
    closed = [one.id for one in subnets if not one.gives_addresses]
    if closed:
        detail = f"{', '.join(closed)} assign no public addresses"
        hint = "run `aws ec2 modify-subnet-attribute --map-public-ip-on-launch`, or use only private subnets"
        return Finding("subnets", "warning", detail, hint)
    return Finding("subnets", "ok", ", ".join(f"{one.id} ({one.zone})" for one in subnets))


def _dns(vpc: Vpc) -> Finding:
    if vpc.dns_support is None:
        hint = f"run `aws ec2 describe-vpc-attribute --vpc-id {vpc.id} --attribute enableDnsSupport`"
        return Finding("dns", "unknown", f"Amazon's at {vpc.dns_ip}; AWS doesn't say whether it is on", hint)
    if not vpc.dns_support:
        error = LabError(
            f"The VPC {vpc.id} has no DNS support",
            where=f"VPC {vpc.id}",
            why="its attribute enableDnsSupport is off",
            hint=f"run `aws ec2 modify-vpc-attribute --vpc-id {vpc.id} --enable-dns-support`",
        )
        return failed("dns", error)
    if not vpc.dns_hostnames:
        hint = f"run `aws ec2 modify-vpc-attribute --vpc-id {vpc.id} --enable-dns-hostnames`"
        return Finding("dns", "warning", f"Amazon's at {vpc.dns_ip}; instances get no public names", hint)
    return Finding("dns", "ok", f"Amazon's at {vpc.dns_ip}")


def _start(pool: ThreadPoolExecutor, checks: Sequence[tuple[str, Check]]) -> list[tuple[str, Future[Any]]]:
    return [(name, pool.submit(check)) for name, check in checks]


def _results(started: Sequence[tuple[str, Future[Any]]]) -> list[Finding]:
    """The findings. A check that fails is a finding too; one that AWS denies leaves its subject unknown."""
    found: list[Finding] = []
    for name, future in started:
        try:
            result = future.result()
        except LabError as error:
            result = failed(name, error)
        except client_error() as error:
            what = f"AWS doesn't describe the {name}"
            result = failed(name, refused(what, error))
            if is_inconclusive(error):
                result = Finding(name, "unknown", f"{what}: {error}", result.hint)
        found += result if isinstance(result, list) else [result]
    return found
