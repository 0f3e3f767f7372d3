"""Describes what `up` is about to create and replace in an account, for the user to confirm."""

from __future__ import annotations

from collections.abc import Sequence

from ...config.lab import Lab
from .session import Identity
from .stack_info import StackInfo

# of each instance, as in the template
VOLUME_GIB = 30


def confirmation(
    lab: Lab,
    stack: StackInfo | None,
    identity: Identity,
    region: str,
    replaced: Sequence[str] = (),
    *,
    private: bool = False,
) -> str | None:
    """What `up` will create and replace, and where; None if it adds nothing that costs money and replaces nothing.

    `private`: whether the instances are in private subnets.
    """
    lives = bool(stack and stack.lives)
    grows = not (stack and lives) or _grows(lab, stack)
    if not grows and not replaced:
        return None
    where = f"in AWS account {identity.account}, region {region} (as {identity.arn}):"
    created = [f"`up` will {'add' if lives else 'create'} resources {where}", *_created(lab, private)] if grows else []
    verb = "It also replaces instances:" if grows else f"`up` will replace instances {where}"
    return "\n".join([*created, *([verb, *(f"  {line}" for line in replaced)] if replaced else [])])


def _created(lab: Lab, private: bool) -> list[str]:
    total = lab.consul.servers + lab.min_instances
    return [
        f"  {_many(lab.consul.servers, 'Consul server')}{_of_type(lab)} and {_many(lab.min_instances, 'ECS instance')},"
        f" {lab.aws.instance_type}: {total} instances,"
        f" each with a {VOLUME_GIB} GiB volume and {'no' if private else 'a'} public IPv4 address",
        f"  3 IAM roles, security groups that open {_ports(lab, private)}, a log group, an ECS cluster",
        *_load_balancer(lab),
        f"  {_many(len(lab.services), 'service')} and the Registrator; images in {lab.aws.registry or 'ECR'}",
        f"You pay for them until `ecsconsul down --target aws` has removed {lab.name} (docs/aws.md shows the prices).",
    ]


def _of_type(lab: Lab) -> str:
    """The servers' type if it is another one."""
    return "" if lab.aws.server_type == lab.aws.instance_type else f", {lab.aws.server_type},"


def _grows(lab: Lab, stack: StackInfo) -> bool:
    """Whether the lab needs more instances than the stack has, another instance type, or a load balancer."""
    known = stack.parameters
    instance_type = known.get("InstanceType")
    # a stack of an earlier version has one type for all
    server_type = known.get("ServerInstanceType", instance_type)
    if (instance_type, server_type) != (lab.aws.instance_type, lab.aws.server_type):
        return True
    if lab.aws.load_balancer and "CertificateArn" not in known:
        return True
    counts = {"InstanceCount": lab.min_instances, "ConsulServers": lab.consul.servers}
    return any(count > _number(known.get(name)) for name, count in counts.items())


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0


def _load_balancer(lab: Lab) -> list[str]:
    spec = lab.aws.load_balancer
    if spec is None:
        return []
    open_to = "the VPC" if spec.internal else "the internet"
    return [f"  an Application Load Balancer that opens ports 80 and 443 to {open_to}, with a target group"]


def _ports(lab: Lab, private: bool) -> str:
    """The ports of the instances that others than the lab may use, and who."""
    if lab.portal is None:
        return "no port to others"
    if lab.aws.load_balancer:
        return f"port {lab.portal.host_port} to the load balancer"
    if private:
        return f"port {lab.portal.host_port} to the VPC"
    ports = dict.fromkeys([80, 443, lab.portal.host_port])
    *first, last = map(str, ports)
    return f"ports {', '.join(first)} and {last} to the internet"


def _many(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
