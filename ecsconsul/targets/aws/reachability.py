"""What instances in private subnets must reach, and whether they can: through a default route, or VPC endpoints.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/vpc-endpoints.html and
https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html list what ECS and ECR need.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...config.lab import Lab
from ...errors import LabError
from ..client_errors import items_of
from ..commands import Finding, failed
from .network import EVERYWHERE, Subnet
from .registry_api import DOCKER_HUB, split
from .session import Identity, unless_inconclusive

# what each AWS service is for, by the end of its endpoint's name
INTERFACES: Mapping[str, str] = {
    "autoscaling": "instances report a failed boot",
    "cloudformation": "instances signal the stack",
    "ec2": "instances find the Consul servers",
    "ecr.api": "logins to ECR",
    "ecr.dkr": "images",
    "ecs": "the ECS agent joins its cluster",
    "ecs-agent": "the ECS agent gets its tasks",
    "ecs-telemetry": "the ECS agent reports its tasks",
    "logs": "logs of tasks",
    "monitoring": "metrics for alarms",
    "ssm": "Consul's secrets",
}
SESSIONS = "ssmmessages"
# A gateway endpoint. Amazon Linux's repositories have S3's dual-stack names, which interface endpoints don't answer to.
GATEWAY = "s3"
# A peering connection is none: https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-basics.html
_WAYS_OUT = ("nat-", "i-", "eni-", "tgw-", "vgw-", "vpce-", "lgw-", "arn:")
_ECR = re.compile(r"^(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?$")
# registries on the internet, which no VPC endpoint leads to
_PUBLIC_REGISTRIES = {DOCKER_HUB, "docker.io", "index.docker.io", "public.ecr.aws", "quay.io", "ghcr.io", "gcr.io"}

Endpoint = Mapping[str, Any]


def reach_diagnostics(ec2: Any, lab: Lab, vpc: str, region: str, subnets: Sequence[Subnet]) -> list[Finding]:
    """Whether instances in these private subnets reach what they need."""
    closed = [one for one in subnets if way_out(one) is None]
    if not closed:
        ways = ", ".join(sorted({str(way_out(one)) for one in subnets}))
        return [Finding("reach", "ok", f"instances reach AWS and registries through {ways}")]
    endpoints = unless_inconclusive(lambda: _endpoints(ec2, vpc))
    if endpoints is None:
        detail = f"{_ids(closed)} have no default route, and AWS doesn't list the VPC's endpoints"
        return [Finding("reach", "unknown", detail, _hint(region, closed, [*INTERFACES, GATEWAY]))]
    images = [failed("images", error) for error in [unreachable_images(lab)] if error]
    return [*_reach(endpoints, lab, region, closed), *images]


def way_out(subnet: Subnet) -> str | None:
    """The target of its default route; None if it has no active one that leads out of the VPC."""
    targets = (one.target for one in subnet.routes if one.destination == EVERYWHERE and one.active)
    return next((target for target in targets if target.startswith(_WAYS_OUT)), None)


def _endpoints(ec2: Any, vpc: str) -> list[dict[str, Any]]:
    found = items_of(ec2, "describe_vpc_endpoints", "VpcEndpoints", Filters=[{"Name": "vpc-id", "Values": [vpc]}])
    # an emulator may ignore the filter
    return [one for one in found if one.get("VpcId", vpc) == vpc]


def _reach(endpoints: Sequence[Endpoint], lab: Lab, region: str, closed: Sequence[Subnet]) -> list[Finding]:
    missing = missing_endpoints(endpoints, region, closed)
    found = [Finding("reach", "ok", f"{_ids(closed)} have no default route; instances use the VPC's endpoints")]
    if missing:
        error = LabError(
            f"Instances in {_ids(closed)} can't reach all that they need",
            where="config, aws.subnets",
            why=f"no default route leads out of the VPC, and it has no endpoints for {'; '.join(missing.values())}",
            hint=_hint(region, closed, missing),
        )
        found = [failed("reach", error)]
    if not _has_interface(endpoints, region, SESSIONS):
        needs = "`consul_access: ssm` and `exec` need" if lab.aws.consul_access == "ssm" else "`exec` needs"
        detail = f"{needs} an interface endpoint for {SESSIONS}, which the VPC doesn't have"
        found.append(Finding("sessions", "warning", detail, _hint(region, closed, [SESSIONS])))
    return found


def missing_endpoints(endpoints: Sequence[Endpoint], region: str, closed: Iterable[Subnet]) -> dict[str, str]:
    """The endpoints that the subnets lack, by service, each with what it is for."""
    missing = {
        service: f"{service} ({purpose})"
        for service, purpose in INTERFACES.items()
        if not _has_interface(endpoints, region, service)
    }
    tables = {one.table for one in closed} - _gateway_tables(endpoints, region)
    if tables:
        missing[GATEWAY] = f"{GATEWAY} in {', '.join(sorted(tables))} (image layers and packages)"
    return missing


def _has_interface(endpoints: Iterable[Endpoint], region: str, service: str) -> bool:
    """Whether there is an interface endpoint that answers at the service's own name."""
    return any(
        one.get("VpcEndpointType") == "Interface" and one.get("PrivateDnsEnabled")
        for one in _of_service(endpoints, region, service)
    )


def _gateway_tables(endpoints: Iterable[Endpoint], region: str) -> set[str]:
    # the kind that CreateVpcEndpoint makes by default, which some emulators leave out
    kinds = ((one.get("VpcEndpointType", "Gateway"), one) for one in _of_service(endpoints, region, GATEWAY))
    gateways = [one for kind, one in kinds if kind == "Gateway"]
    return {table for one in gateways for table in one.get("RouteTableIds") or ()}


def _of_service(endpoints: Iterable[Endpoint], region: str, service: str) -> list[Endpoint]:
    # com.amazonaws.REGION.SERVICE, or cn.com.amazonaws.REGION.SERVICE
    return [
        one
        for one in endpoints
        if str(one["ServiceName"]).endswith(f".{region}.{service}")
        and str(one.get("State", "available")).lower() == "available"
    ]


def unreachable_images(lab: Lab) -> LabError | None:
    """The error for images that only the internet has; None if there are none."""
    spec = lab.aws
    images = {
        "the Consul image": lab.consul_image,
        "aws.registry": f"{spec.registry}/image" if spec.registry else "",
        "aws.registrator.image": spec.registrator.image or "",
    }
    public = {name: image for name, image in images.items() if image and split(image)[0] in _PUBLIC_REGISTRIES}
    if not public:
        return None
    return LabError(
        "Instances without a way to the internet can't pull all images",
        where="config, aws.subnets",
        why=", ".join(f"{name} is {image.removesuffix('/image')}" for name, image in public.items()),
        hint=f"copy the Consul image to the ECR repository {lab.name}/consul and set aws.consul_image to it, and leave"
        " aws.registry and aws.registrator out; or add a default route to a NAT gateway",
    )


def consul_image_diagnostics(lab: Lab, identity: Identity, region: str) -> list[Finding]:
    """Whether the roles of the instances may pull a Consul image that is in ECR: they read one repository for it."""
    host, rest = split(lab.consul_image)
    ecr = _ECR.match(host)
    if ecr is None:
        return []
    # as the roles in templates/consul-lab.yaml say
    repository = re.split("[:@]", rest)[0]
    if (ecr[1], ecr[2], repository) == (identity.account, region, f"{lab.name}/consul"):
        return [Finding("consul image", "ok", lab.consul_image)]
    error = LabError(
        f"Instances may not pull {lab.consul_image}",
        where="config, aws.consul_image",
        why=f"of ECR, their roles may pull the Consul image from the repository {lab.name}/consul of the account"
        f" {identity.account} in {region} only",
        hint=f"copy the image to that repository: `aws ecr create-repository --repository-name {lab.name}/consul`",
    )
    return [failed("consul image", error)]


def _hint(region: str, closed: Sequence[Subnet], services: Iterable[str]) -> str:
    interfaces = [one for one in services if one != GATEWAY]
    wanted = [f"interface endpoints with private DNS for {', '.join(interfaces)}"] if interfaces else []
    if GATEWAY in services:
        tables = ", ".join(sorted({one.table for one in closed} - {""})) or "the subnets' route table"
        wanted.append(f"a gateway endpoint for s3 in {tables}")
    return f"create in {region} {' and '.join(wanted)}; or add a default route to a NAT gateway"


def _ids(subnets: Iterable[Subnet]) -> str:
    return ", ".join(one.id for one in subnets)
