"""The load balancer in front of the portal: its subnets, its certificate, and its parameters of the template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...config.aws_settings import LoadBalancerSpec
from ...config.lab import Lab
from ...errors import LabError
from ..client_errors import client_error, error_code
from ..commands import Finding, failed
from .network import Subnet, Vpc, named_subnets, public_subnets

# the part of the template, and its outputs
PART = "load-balancer"
DNS_NAME, TARGET_GROUP = "LoadBalancerDns", "PortalTargetGroup"
MIN_ZONES = 2
_KEY = "aws.load_balancer"


def load_balancer_subnets(ec2: Any, vpc: Vpc, spec: LoadBalancerSpec, instances: Sequence[Subnet]) -> list[Subnet]:
    """Its subnets: those in the config, else the instances' if it is internal, else public ones; one in each zone.

    Raises LabError if they don't fit: they must be in at least two zones, and in each zone of the instances.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html
    """
    key = f"{_KEY}.subnets"
    if spec.subnets:
        chosen = named_subnets(ec2, vpc, spec.subnets, key)
    elif spec.internal:
        chosen = one_in_each_zone(instances, instances)
    else:
        chosen = one_in_each_zone(public_subnets(ec2, vpc), instances)
    error = _misfit(chosen, spec, instances)
    if error:
        raise error
    return chosen


def one_in_each_zone(subnets: Sequence[Subnet], instances: Sequence[Subnet]) -> list[Subnet]:
    """A subnet in each zone of the instances, and in another zone if that is only one."""
    by_zone = {one.zone: one for one in sorted(subnets, key=lambda one: one.id, reverse=True)}
    used = {one.zone for one in instances}
    zones = sorted(by_zone, key=lambda zone: (zone not in used, zone))
    number = max(MIN_ZONES, len(used & by_zone.keys()))
    return [by_zone[zone] for zone in zones[:number]]


def _misfit(chosen: Sequence[Subnet], spec: LoadBalancerSpec, instances: Sequence[Subnet]) -> LabError | None:
    zones = [one.zone for one in chosen]
    uncovered = sorted({one.zone for one in instances} - set(zones))
    private = [one.id for one in chosen if not one.public]
    where = f"config, {_KEY}.subnets"
    if len(set(zones)) < MIN_ZONES or len(set(zones)) < len(zones):
        return LabError(
            "The load balancer needs subnets in at least two zones, one in each",
            where=where,
            why=f"it would have {', '.join(f'{one.id} in {one.zone}' for one in chosen)}",
            hint=f"list one subnet for each zone in {_KEY}.subnets; create one in a second zone if there is none",
        )
    if private and not spec.internal:
        return LabError(
            f"{', '.join(private)} can't hold a load balancer that the internet reaches",
            where=where,
            why="it has no route to an internet gateway, and assigns no public addresses",
            hint=f"list public subnets, or set `{_KEY}: {{internal: true}}`",
        )
    if uncovered:
        return LabError(
            f"Tasks in {', '.join(uncovered)} would get no requests",
            where=where,
            why="a load balancer only forwards to instances in the zones of its own subnets",
            hint=f"add a subnet in each of these zones to {_KEY}.subnets, or remove the instances' from aws.subnets",
        )
    return None


def stack_parameters(spec: LoadBalancerSpec, vpc: Vpc, subnets: Sequence[Subnet]) -> dict[str, str]:
    """The parameters that follow from the network; the instances are open to nobody then but the load balancer."""
    return {
        "PublicPort": "0",
        "LoadBalancerSubnetIds": ",".join(one.id for one in subnets),
        **({"LoadBalancerCidr": vpc.cidr} if spec.internal else {}),
    }


def portal_diagnostics(lab: Lab) -> list[Finding]:
    """A failed finding if there is no portal that the load balancer could forward to."""
    if lab.portal:
        return []
    error = LabError(
        "The load balancer has no service to forward to",
        where=f"config, {_KEY}",
        why="no service has a host_port",
        hint=f"give the portal a host_port, or remove {_KEY}",
    )
    return [failed("portal", error)]


def certificate_diagnostics(acm: Any, arn: str, region: str) -> Finding:
    """Whether the certificate is in this region, and issued."""
    theirs = arn.split(":")[3]
    if theirs != region:
        return _no_certificate(f"it is in {theirs}, and the lab in {region}", arn)
    try:
        found = acm.describe_certificate(CertificateArn=arn)["Certificate"]
    except client_error() as error:
        if error_code(error) != "ResourceNotFoundException":
            raise
        return _no_certificate("ACM doesn't know it", arn)
    status, domain = found.get("Status", ""), found.get("DomainName", "")
    if status != "ISSUED":
        return _no_certificate(f"ACM says that it is {status}", arn)
    return Finding("certificate", "ok", f"{domain}, in ACM")


def _no_certificate(why: str, arn: str) -> Finding:
    error = LabError(
        f"The load balancer can't use the certificate {arn}",
        where=f"config, {_KEY}.certificate",
        why=why,
        hint="request or import one in this region (`aws acm request-certificate`), and wait until it is ISSUED",
    )
    return failed("certificate", error)
