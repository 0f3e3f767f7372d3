"""What IAM is asked for each request of the tool and of CloudFormation: the resource, and the keys of the context.

The resources follow AWS's service authorization reference. `cfnlint` ships it (which actions know which resources), and
CloudFormation's resource schemas with the permissions of their handlers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cfnlint
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from ecsconsul.aws_tags import LAB_TAG
from ecsconsul.targets.aws.alarms import KINDS
from tests.aws_calls import Call
from tests.iam_evaluator import Request

ACCOUNT, REGION, LAB = "123456789012", "us-east-1", "blue"
BUCKET = "backups"
VALUES = {"Partition": "aws", "Region": REGION, "Account": ACCOUNT, "Lab": LAB, "Bucket": BUCKET}
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/ecsconsul/{LAB}-boundary"
VIA = {"aws:CalledVia": ["cloudformation.amazonaws.com"]}
OWN, NEW = {f"aws:ResourceTag/{LAB_TAG}": LAB}, {f"aws:RequestTag/{LAB_TAG}": LAB}
USER = {"aws:userid": "AIDAME", "aws:username": "me"}


def arn(service: str, resource: str, *, account: str = ACCOUNT, region: str = REGION) -> str:
    return f"arn:aws:{service}:{region}:{account}:{resource}"


def role(name: str, lab: str = LAB) -> str:
    return arn("iam", f"role/{lab}-{name}-1A2B3C", region="")


def profile(name: str) -> str:
    return arn("iam", f"instance-profile/{LAB}-{name}-1A2B3C", region="")


def group(name: str, lab: str = LAB) -> str:
    return arn("autoscaling", f"autoScalingGroup:0f1e:autoScalingGroupName/{lab}-{name}-1A2B3C")


# --- the tool's own requests, as they were recorded

# what each service calls a resource in its requests; a request that names none is about `*`
_RESOURCES: Mapping[str, Mapping[str, str]] = {
    "cloudformation": {"StackName": "stack/{}/0f1e"},
    "ec2": {"InstanceId": "instance/{}"},
    "ecr": {"repositoryName": "repository/{}"},
    "logs": {"logGroupName": "log-group:{}"},
    "ssm": {"Name": "parameter{}", "ResourceId": "parameter{}", "Path": "parameter{}"},
}
_WITHOUT_RESOURCE = {"ecs:DeregisterTaskDefinition", "ecs:DescribeTaskDefinition", "ecs:ListTaskDefinitions"}


def recorded_request(call: Call) -> Request:
    """What IAM is asked for a recorded request of the tool, about the lab's resources."""
    service, _, operation = call.action.partition(":")
    parameters = call.parameters
    resource = _ecs(operation, parameters) if service == "ecs" else _named(service, operation, parameters)
    tags = {tag.get("key", tag.get("Key")): tag.get("value", tag.get("Value")) for tag in parameters.get("tags") or ()}
    context: dict[str, Any] = {f"aws:RequestTag/{name}": text for name, text in tags.items()}
    types = [value for name, value in parameters.items() if name.startswith("ResourceTypes.member.")]
    if types:
        context["cloudformation:ResourceTypes"] = types
    if operation == "PutRolePolicy":
        context["iam:PermissionsBoundary"] = BOUNDARY
    if operation in ("GetConsoleOutput", "DeleteTaskDefinitions"):
        context |= OWN
    if operation == "TagResource" and ":task-definition/" in resource:
        # a revision that became stable, or was rolled back
        context |= OWN
    return Request(call.action, resource, context | USER)


def _named(service: str, operation: str, parameters: Mapping[str, Any]) -> str:
    if operation.startswith("Describe") and service in ("ec2", "autoscaling", "elasticloadbalancing"):
        return "*"
    for name in ("resourceArn", "ResourceARN", "CertificateArn"):
        if name in parameters:
            return str(parameters[name])
    if "Names" in parameters:
        # IAM is asked about each; one outside of the lab's folder is the one that would be refused
        strange = max(parameters["Names"], key=lambda name: not name.startswith(f"/ecsconsul/{LAB}/"))
        return arn(service, f"parameter{strange}")
    if "RoleName" in parameters:
        return arn("iam", f"role/{parameters['RoleName']}", region="")
    for name, pattern in _RESOURCES.get(service, {}).items():
        if name in parameters:
            text = str(parameters[name])
            return arn(service, pattern.format(text), account="" if text.startswith("/aws/") else ACCOUNT)
    return "*"


def _ecs(operation: str, parameters: Mapping[str, Any]) -> str:
    if f"ecs:{operation}" in _WITHOUT_RESOURCE:
        return "*"
    if operation == "RegisterTaskDefinition":
        return arn("ecs", f"task-definition/{parameters['family']}:*")
    if operation == "DeleteTaskDefinitions":
        return str(parameters["taskDefinitions"][0])
    if operation == "TagResource":
        return str(parameters["resourceArn"])
    if operation.endswith(("Service", "Services")) and operation != "ListServices":
        name = parameters.get("serviceName") or parameters.get("service") or parameters["services"][0]
        return arn("ecs", f"service/{parameters['cluster']}/{name}")
    if operation.endswith("CapacityProvider"):
        return arn(
            "ecs", f"capacity-provider/{parameters.get('name') or parameters['capacityProvider'].rpartition('/')[2]}"
        )
    if operation == "ListTasks":
        return arn("ecs", f"container-instance/{parameters['cluster']}/*")
    name = parameters.get("clusterName") or next(iter(parameters.get("clusters") or ()), parameters.get("cluster"))
    about_cluster = operation.endswith(("Cluster", "Clusters")) or operation == "PutClusterCapacityProviders"
    return arn("ecs", f"cluster/{name}") if about_cluster else "*"


# --- what CloudFormation's handlers request on the caller's behalf

# what has tags in Elastic Load Balancing, each with the action that makes it
ELB_KINDS = {
    "listener/app": "CreateListener", "loadbalancer/app": "CreateLoadBalancer", "targetgroup": "CreateTargetGroup",
}  # fmt: skip

# which resource an action is about, beyond the one that a handler makes: the first whose beginning fits
_HANDLED: Mapping[str, list[tuple[str, Mapping[str, Any]]]] = {
    "ec2:CreateLaunchTemplate": [(arn("ec2", "launch-template/*"), NEW)],
    "ec2:CreateLaunchTemplateVersion": [(arn("ec2", "launch-template/lt-1"), OWN)],
    "ec2:DeleteLaunchTemplate": [(arn("ec2", "launch-template/lt-1"), OWN)],
    "ec2:CreateSecurityGroup": [(arn("ec2", "security-group/*"), NEW), (arn("ec2", "vpc/vpc-1"), {})],
    # a group's rules may be made before its tags
    "ec2:AuthorizeSecurityGroupIngress": [(arn("ec2", "security-group/sg-1"), tags) for tags in ({}, OWN)],
    "ec2:RunInstances": [
        *((arn("ec2", f"{kind}/1"), {}) for kind in ("instance", "key-pair", "network-interface", "subnet", "volume")),
        (arn("ec2", "image/ami-1", account=""), {}),
        (arn("ec2", "launch-template/lt-1"), OWN),
        (arn("ec2", "security-group/sg-1"), OWN),
    ],
    "ec2:CreateTags": [
        *((arn("ec2", f"{kind}/1"), NEW) for kind in ("instance", "launch-template", "security-group", "volume")),
        (arn("ec2", "security-group/sg-1"), {**OWN, "aws:RequestTag/ecsconsul:fingerprint": "0f1e"}),
    ],
    "ec2:DeleteTags": [(arn("ec2", "security-group/sg-1"), OWN)],
    "elasticloadbalancing:CreateLoadBalancer": [(arn("elasticloadbalancing", "loadbalancer/app/blue/1"), NEW)],
    "elasticloadbalancing:CreateTargetGroup": [(arn("elasticloadbalancing", "targetgroup/blue/1"), NEW)],
    "elasticloadbalancing:CreateListener": [(arn("elasticloadbalancing", "loadbalancer/app/blue/1"), OWN)],
    "elasticloadbalancing:AddTags": [
        *(
            (arn("elasticloadbalancing", f"{kind}/blue/1"), {**NEW, "elasticloadbalancing:CreateAction": action})
            for kind, action in ELB_KINDS.items()
        ),
        *((arn("elasticloadbalancing", f"{kind}/blue/1"), OWN) for kind in ELB_KINDS),
    ],
    "iam:PassRole": [
        (role(name), {"iam:PassedToService": "ec2.amazonaws.com"}) for name in ("ServerRole", "InstanceRole")
    ],
    "iam:CreateServiceLinkedRole": [
        (
            arn("iam", "role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling", region=""),
            {"iam:AWSServiceName": "autoscaling.amazonaws.com"},
        )
    ],
}  # fmt: skip
_OF_TYPE: Mapping[str, list[tuple[str, Mapping[str, Any]]]] = {
    "AWS::AutoScaling::AutoScalingGroup": [
        (group(name), {"autoscaling:LaunchTemplateVersionSpecified": "true"})
        for name in ("ConsulServer", "ConsulPeers", "EcsInstances")
    ],
    "AWS::CloudWatch::Alarm": [
        (arn("cloudwatch", f"alarm:{LAB}-{kind}"), {"cloudwatch:AlarmActions": [arn("sns", "on-call")]})
        for kind in KINDS
    ],
    "AWS::EC2::LaunchTemplate": [(arn("ec2", "launch-template/lt-1"), OWN)],
    "AWS::EC2::SecurityGroup": [(arn("ec2", "security-group/sg-1"), OWN)],
    "AWS::EC2::SecurityGroupIngress": [(arn("ec2", "security-group/sg-1"), OWN)],
    "AWS::ElasticLoadBalancingV2::Listener": [(arn("elasticloadbalancing", "listener/app/blue/1/2"), OWN)],
    "AWS::ElasticLoadBalancingV2::LoadBalancer": [(arn("elasticloadbalancing", "loadbalancer/app/blue/1"), OWN)],
    "AWS::ElasticLoadBalancingV2::TargetGroup": [(arn("elasticloadbalancing", "targetgroup/blue/1"), OWN)],
    "AWS::IAM::InstanceProfile": [(profile(name), {}) for name in ("InstanceProfile", "ServerProfile")],
    "AWS::IAM::Role": [
        (role(name), {"iam:PermissionsBoundary": BOUNDARY})
        for name in ("InstanceRole", "ServerRole", "TaskExecutionRole")
    ],
    "AWS::Logs::LogGroup": [(arn("logs", f"log-group:/ecsconsul/{LAB}{end}"), {}) for end in ("", ":*")],
}


def handler_actions(kind: str) -> set[str]:
    """The actions of the handlers that create, read, update and delete a resource. Some have a wildcard."""
    handlers = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, kind).schema["handlers"]
    return {action for name in ("create", "read", "update", "delete") for action in handlers[name]["permissions"]}


def handled_requests(kind: str, action: str) -> list[Request]:
    """What IAM is asked when a handler of that resource type requests an action."""
    # the reference calls no resource what one may only list
    known = reference(action.partition(":")[0])["Actions"].get(action.partition(":")[2].lower(), {}).get("Resources")
    about = _HANDLED.get(action) or (_OF_TYPE[kind] if known else [("*", {})])
    return [Request(action, resource, {**VIA, **USER, **context}) for resource, context in about]


# --- the service authorization reference


def reference(service: str) -> Mapping[str, Any]:
    """A service's actions and resources, in lower case."""
    return dict(_REFERENCE[service])


def _read_reference() -> dict[str, Any]:
    path = Path(cfnlint.__path__[0]) / "data" / "AdditionalSpecs" / "Policies.json"
    return dict(json.loads(path.read_text()))


_REFERENCE = _read_reference()


def actions_of(statements: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each action of each statement."""
    for statement in statements:
        actions = statement["Action"]
        yield from ((action, statement) for action in ([actions] if isinstance(actions, str) else actions))
