"""What `up` is about to make in an account, in words that can be agreed to."""

from __future__ import annotations

from ...config.lab import Lab
from .session import Identity
from .stack_info import StackInfo

# each instance's, from the template
VOLUME_GIB = 30


def confirmation(lab: Lab, stack: StackInfo | None, identity: Identity, region: str) -> str | None:
    """What will be made, where; None when nothing that costs is added to what is there."""
    if stack and stack.lives and not _grows(lab, stack):
        return None
    verb = "will make more" if stack else "will make"
    machines = lab.consul.servers + lab.instances
    lines = [
        f"`up` {verb} in AWS account {identity.account}, region {region} (as {identity.arn}):",
        f"  {_many(lab.consul.servers, 'Consul server')} and {_many(lab.instances, 'ECS instance')},"
        f" {lab.aws.instance_type}: {machines} instances,"
        f" each with a volume of {VOLUME_GIB} GiB and a public IPv4 address",
        f"  an IAM role, security groups open to the internet at {_ports(lab)}, a log group, an ECS cluster",
        f"  {_many(len(lab.services), 'service')} and the Registrator; their images in {lab.aws.registry or 'ECR'}",
        f"It costs money until `ecsconsul down --target aws` has taken {lab.name} away (docs/aws.md says how much).",
    ]
    return "\n".join(lines)


def _grows(lab: Lab, stack: StackInfo) -> bool:
    """Whether more instances, or others, are wanted than the stack was made with."""
    known = stack.parameters
    more = lab.instances > _number(known.get("InstanceCount")) or lab.consul.servers > _number(
        known.get("ConsulServers")
    )
    return more or known.get("InstanceType") != lab.aws.instance_type


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0


def _ports(lab: Lab) -> str:
    ports = dict.fromkeys([80, 443, *([lab.portal.host_port] if lab.portal else [])])
    *first, last = map(str, ports)
    return f"{', '.join(first)} and {last}"


def _many(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
