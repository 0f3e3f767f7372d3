"""Describes what `up` is about to create and replace in an account, for the user to confirm."""

from __future__ import annotations

from collections.abc import Sequence

from ...config.lab import Lab
from .session import Identity
from .stack_info import StackInfo

# of each instance, as in the template
VOLUME_GIB = 30


def confirmation(
    lab: Lab, stack: StackInfo | None, identity: Identity, region: str, replaced: Sequence[str] = ()
) -> str | None:
    """What `up` will create and replace, and where; None if it adds nothing that costs money and replaces nothing."""
    lives = bool(stack and stack.lives)
    grows = not (stack and lives) or _grows(lab, stack)
    if not grows and not replaced:
        return None
    where = f"in AWS account {identity.account}, region {region} (as {identity.arn}):"
    created = [f"`up` will {'add' if lives else 'create'} resources {where}", *_created(lab)] if grows else []
    verb = "It also replaces instances:" if grows else f"`up` will replace instances {where}"
    return "\n".join([*created, *([verb, *(f"  {line}" for line in replaced)] if replaced else [])])


def _created(lab: Lab) -> list[str]:
    total = lab.consul.servers + lab.min_instances
    return [
        f"  {_many(lab.consul.servers, 'Consul server')}{_of_type(lab)} and {_many(lab.min_instances, 'ECS instance')},"
        f" {lab.aws.instance_type}: {total} instances,"
        f" each with a {VOLUME_GIB} GiB volume and a public IPv4 address",
        f"  3 IAM roles, security groups that open ports {_ports(lab)} to the internet, a log group, an ECS cluster",
        f"  {_many(len(lab.services), 'service')} and the Registrator; images in {lab.aws.registry or 'ECR'}",
        f"You pay for them until `ecsconsul down --target aws` has removed {lab.name} (docs/aws.md shows the prices).",
    ]


def _of_type(lab: Lab) -> str:
    """The servers' type if it is another one."""
    return "" if lab.aws.server_type == lab.aws.instance_type else f", {lab.aws.server_type},"


def _grows(lab: Lab, stack: StackInfo) -> bool:
    """Whether the lab needs more instances than the stack has, or another instance type."""
    known = stack.parameters
    instance_type = known.get("InstanceType")
    # a stack of an earlier version has one type for all
    server_type = known.get("ServerInstanceType", instance_type)
    if (instance_type, server_type) != (lab.aws.instance_type, lab.aws.server_type):
        return True
    counts = {"InstanceCount": lab.min_instances, "ConsulServers": lab.consul.servers}
    return any(count > _number(known.get(name)) for name, count in counts.items())


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0


def _ports(lab: Lab) -> str:
    ports = dict.fromkeys([80, 443, *([lab.portal.host_port] if lab.portal else [])])
    *first, last = map(str, ports)
    return f"{', '.join(first)} and {last}"


def _many(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
