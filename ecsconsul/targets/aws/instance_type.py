"""Looks up an instance type: its architecture, its AMI, and the Availability Zones that offer it."""

from __future__ import annotations

import re
from typing import Any

from ...errors import LabError
from ..client_errors import client_error, error_code, items_of

X86, ARM = "x86_64", "arm64"
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/retrieve-ecs-optimized_AMI.html
_AMI = "/aws/service/ecs/optimized-ami/amazon-linux-2023/{}recommended/image_id"
# a1, and every family whose generation is followed by a g for Graviton: t4g, m7gd, c6gn
_GRAVITON = re.compile(r"^(a1|[a-z]+\d+g[a-z]*)\.")


def ami_parameter(architecture: str) -> str:
    """The public SSM parameter that holds the current ECS-optimized Amazon Linux 2023."""
    return _AMI.format("arm64/" if architecture == ARM else "")


def architecture_of(ec2: Any, instance_type: str, key: str = "aws.instance_type") -> str:
    """x86_64 or arm64. Raises LabError, which names the config's key, if the region doesn't have the type."""
    try:
        found = ec2.describe_instance_types(InstanceTypes=[instance_type])["InstanceTypes"]
    except client_error() as error:
        if error_code(error) != "InvalidInstanceType":
            # the caller may not ask, or the emulator can't answer: go by the name
            return by_name(instance_type)
        found = None
    if found is None:
        raise LabError(
            f"There is no instance type {instance_type} in this region",
            where=f"config, {key}",
            why="EC2 doesn't offer it here, or its name is misspelled",
            hint="choose one that `aws ec2 describe-instance-types` lists; nearly every region has t3.small",
        )
    known = found[0].get("ProcessorInfo", {}).get("SupportedArchitectures", []) if found else []
    fitting = [one for one in (X86, ARM) if one in known]
    return fitting[0] if fitting else by_name(instance_type)


def by_name(instance_type: str) -> str:
    """The architecture that an instance type's name implies."""
    return ARM if _GRAVITON.match(instance_type) else X86


def zones_with(ec2: Any, instance_type: str) -> set[str] | None:
    """The Availability Zones that offer an instance type; None if AWS doesn't say."""
    request = {
        "LocationType": "availability-zone",
        "Filters": [{"Name": "instance-type", "Values": [instance_type]}],
    }
    try:
        found = items_of(ec2, "describe_instance_type_offerings", "InstanceTypeOfferings", **request)
    except client_error():
        return None
    return {offer["Location"] for offer in found} or None


def ami(ssm: Any, parameter: str) -> str:
    """The AMI in the parameter. Raises LabError if there is none."""
    try:
        return str(ssm.get_parameter(Name=parameter)["Parameter"]["Value"])
    except ssm.exceptions.ParameterNotFound as error:
        raise LabError(
            "This region has no ECS-optimized Amazon Linux 2023",
            where=f"SSM parameter {parameter}",
            why=str(error),
            hint="choose another region with --region",
        ) from error
