"""The stack's parameters: those from the config, and those that a stack has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..aws_tags import as_mapping
from ..config.lab import Lab

# whether Consul demands tokens and TLS, or only accepts them
SECURITY, ENFORCED, TRANSITION = "ConsulSecurity", "enforced", "transition"
_ITEM = re.compile(r"[^\s,'\[\]]+")
# which secrets the instances booted with
GENERATION = "SecretsGeneration"


def lab_parameters(lab: Lab) -> dict[str, str]:
    """The parameters that follow from the config alone; part of the stack's fingerprint."""
    aws, snapshots = lab.aws, lab.consul.snapshots
    return {
        "LabName": lab.name,
        "EcsClusterName": lab.name,
        "InstanceCount": str(lab.min_instances),
        "InstanceMax": str(lab.max_instances),
        "ConsulServers": str(lab.consul.servers),
        "InstanceType": aws.instance_type,
        "ServerInstanceType": aws.server_type,
        "ConsulImage": lab.consul_image,
        **({"KeyName": aws.key_name} if aws.key_name else {}),
        **({"SshCidr": aws.ssh_cidr} if aws.ssh_cidr else {}),
        **({"VpcId": aws.vpc} if aws.vpc else {}),
        **({"SubnetIds": ",".join(aws.subnets)} if aws.subnets else {}),
        "DockerBridge": aws.docker_bridge,
        "LogRetentionDays": str(aws.logs.retention_days),
        **({"LogKmsKey": aws.logs.kms_key} if aws.logs.kms_key else {}),
        **({"AlarmTopic": aws.alarms.topic} if aws.alarms.topic else {}),
        **portal_parameters(lab),
        **({"SnapshotBucket": snapshots.bucket} if snapshots and snapshots.bucket else {}),
        **({"PermissionsBoundary": aws.permissions_boundary} if aws.permissions_boundary else {}),
    }


def portal_parameters(lab: Lab) -> dict[str, str]:
    """The parameters of the portal's port and of its load balancer. Without a portal, no port is open to the internet.

    The load balancer asks what Consul asks; where that isn't a path, any page will do.
    """
    portal, balancer = lab.portal, lab.aws.load_balancer
    if portal is None:
        return {"PublicPort": "0"}
    ports = {"PublicPort": str(portal.host_port), "PortalPort": str(portal.host_port)}
    if balancer is None:
        return ports
    path = portal.check.http if portal.check else None
    return {
        **ports,
        "CertificateArn": balancer.certificate,
        "LoadBalancerScheme": "internal" if balancer.internal else "internet-facing",
        **({"LoadBalancerSubnetIds": ",".join(balancer.subnets)} if balancer.subnets else {}),
        **({"HealthCheckPath": path, "HealthCheckCodes": "200-299"} if path else {}),
    }


def parameters_of(stack: Mapping[str, Any]) -> dict[str, str]:
    """The parameters of a stack as CloudFormation describes it."""
    return as_mapping(stack.get("Parameters"), key="ParameterKey", value="ParameterValue")


def comparable(parameters: Mapping[str, str]) -> dict[str, str]:
    """The same with lists as CloudFormation describes them, a,b; an emulator may write them as ['a', 'b']."""
    lists = {name: _ITEM.findall(value) for name, value in parameters.items() if value.startswith("[")}
    return {**parameters, **{name: ",".join(items) for name, items in lists.items()}}


def resolved_parameters(stack: Mapping[str, Any]) -> dict[str, str]:
    """The same with the values that its resources have: for one that names an SSM parameter, what that contained.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_Parameter.html
    """
    resolved = [one for one in stack.get("Parameters") or () if one.get("ResolvedValue")]
    return {**parameters_of(stack), **as_mapping(resolved, key="ParameterKey", value="ResolvedValue")}


def outputs_of(stack: Mapping[str, Any]) -> dict[str, str]:
    """The outputs of a stack as CloudFormation describes it."""
    return as_mapping(stack.get("Outputs"), key="OutputKey", value="OutputValue")


def kept_parameters(stack: Mapping[str, Any] | None) -> dict[str, str]:
    """The parameters that an update keeps as they are; what they say is not in the config.

    A new lab demands tokens and TLS; one of a version without them accepts them first, and only ConsulSecurityStep ends
    that. `rotate` sets the generation of the secrets.
    """
    if stack is None:
        return {SECURITY: ENFORCED}
    known = parameters_of(stack)
    generation = {GENERATION: known[GENERATION]} if known.get(GENERATION) else {}
    return {SECURITY: known.get(SECURITY, TRANSITION), **generation}
