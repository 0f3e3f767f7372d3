"""The shipped policies, tried with an evaluator: they allow what CloudFormation's handlers need, and nothing beyond."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ecsconsul.deploy.template import part_names, resource_types, stack_template
from ecsconsul.targets.aws.permissions import policy
from tests.iam_evaluator import Request, is_allowed
from tests.targets.aws.policy_requests import (
    ACCOUNT,
    BOUNDARY,
    BUCKET,
    ELB_KINDS,
    LAB,
    NEW,
    OWN,
    REGION,
    USER,
    VALUES,
    VIA,
    actions_of,
    arn,
    group,
    handled_requests,
    handler_actions,
    reference,
    role,
)

NAMES = ("up-and-down", "stack", "roles", "watching", "commands", "snapshots", "load-balancer")
POLICIES = [policy(name, VALUES) for name in NAMES]
TYPES = resource_types(stack_template(part_names()))
STACK = arn("cloudformation", f"stack/{LAB}/0f1e")
WITH_BOUNDARY = {"iam:PermissionsBoundary": BOUNDARY}

# what the handlers request for properties that the template doesn't have
UNUSED = (
    "cognito-idp:", "ec2:DescribeIpamPools", "firehose:", "managed-fleets:", "s3:", "vpc-lattice:",
    "autoscaling:AttachLoadBalancer", "autoscaling:AttachTrafficSources", "autoscaling:DetachLoadBalancer",
    "autoscaling:DetachTrafficSources", "autoscaling:EnableMetricsCollection", "autoscaling:DisableMetricsCollection",
    "autoscaling:PutNotification", "autoscaling:DeleteNotification",
    "autoscaling:StartInstanceRefresh", "autoscaling:CancelInstanceRefresh",
    "elasticloadbalancing:DeregisterTargets", "elasticloadbalancing:ModifyCapacityReservation",
    "elasticloadbalancing:ModifyIpPools", "elasticloadbalancing:RegisterTargets",
    "elasticloadbalancing:SetIpAddressType",
    "iam:AttachRolePolicy", "iam:DetachRolePolicy", "iam:UpdateRoleDescription",
    "logs:CreateLogDelivery", "logs:DeleteRetentionPolicy",
    "logs:PutDataProtectionPolicy", "logs:DeleteDataProtectionPolicy", "logs:PutIndexPolicy", "logs:DeleteIndexPolicy",
    "logs:PutResourcePolicy", "logs:DeleteResourcePolicy", "logs:PutLogGroupDeletionProtection",
    "logs:PutBearerTokenAuthentication",
    # an image is a parameter's value, which CloudFormation itself resolves
    "ssm:Get*",
    # nothing may take a boundary away
    "iam:DeleteRolePermissionsBoundary",
)  # fmt: skip
# what only other resources' handlers need: a scaling group's look at the alarms of scaling policies
OF_OTHERS = {"AWS::AutoScaling::AutoScalingGroup": ("cloudwatch:",)}
# a handler's permission with a wildcard, and the only reads of a group that the template describes
WIDE = {"autoscaling:Describe*", "ec2:Describe*", "ec2:Get*", "elasticloadbalancing:Describe*"}


def allowed(action: str, resource: str = "*", /, **context: Any) -> bool:
    """Whether the shipped policies allow a request of the user; `keys` has the keys that are no Python names."""
    keys: Mapping[str, Any] = context.pop("keys", {})
    assert not context
    return is_allowed(Request(action, resource, {**USER, **keys}), POLICIES)


def through_stack(action: str, resource: str = "*", **keys: Any) -> bool:
    """Whether CloudFormation may do it on the user's behalf, for a template of their own."""
    return allowed(action, resource, keys={**VIA, **keys.pop("keys", {})})


# --- what has to work


@pytest.mark.parametrize("kind", TYPES)
def test_handlers_of_the_templates_resources_are_allowed(kind: str) -> None:
    unused = (*UNUSED, *OF_OTHERS.get(kind, ()))
    needed = {action for action in handler_actions(kind) if not action.startswith(unused)} - WIDE
    denied = [
        (request.action, request.resource)
        for action in sorted(needed)
        for request in handled_requests(kind, action)
        if not is_allowed(request, POLICIES)
    ]
    assert denied == []


def test_stack_with_the_templates_types_is_created_and_updated() -> None:
    for action in ("CreateStack", "UpdateStack"):
        assert allowed(f"cloudformation:{action}", STACK, keys={"cloudformation:ResourceTypes": TYPES})


def test_groups_are_resized_without_naming_a_launch_template() -> None:
    """As CloudFormation does during a rolling update."""
    assert through_stack("autoscaling:UpdateAutoScalingGroup", group("EcsInstances"))


@pytest.mark.parametrize(
    ("action", "resource", "context"),
    [
        ("ssm:StartSession", arn("ec2", "instance/i-1"), {"ssm:resourceTag/ecsconsul:lab": LAB}),
        ("ssm:StartSession", arn("ssm", "document/AWS-StartInteractiveCommand", account=""), {}),
        ("ssm:StartSession", arn("ssm", "document/AWS-StartPortForwardingSession", account=""), {}),
        ("ssm:StartSession", arn("ssm", "document/AWS-StartPortForwardingSessionToRemoteHost", account=""), {}),
        ("ssm:TerminateSession", arn("ssm", "session/me-1"), {"ssm:resourceTag/aws:ssmmessages:session-id": "AIDAME"}),
        ("ecs:ExecuteCommand", arn("ecs", f"task/{LAB}/1"), {}),
        ("ecs:RunTask", arn("ecs", f"task-definition/{LAB}-portal:3"), {"ecs:cluster": arn("ecs", f"cluster/{LAB}")}),
        ("ecs:StopTask", arn("ecs", f"task/{LAB}/1"), {}),
        ("ecs:RegisterTaskDefinition", arn("ecs", f"task-definition/{LAB}-portal:*"), NEW),
        # the family of a lab that an earlier version made
        ("ecs:DeleteTaskDefinitions", arn("ecs", "task-definition/portal:3"), OWN),
        ("ec2:GetConsoleOutput", arn("ec2", "instance/i-1"), OWN),
        ("ssm:PutParameter", arn("ssm", f"parameter/ecsconsul/{LAB}/operator/management-token"), {}),
        ("ssm:GetParametersByPath", arn("ssm", f"parameter/ecsconsul/{LAB}/tasks"), {}),
        ("iam:PassRole", role("TaskExecutionRole"), {"iam:PassedToService": "ecs-tasks.amazonaws.com"}),
    ],
)  # fmt: skip
def test_own_resources_are_allowed(action: str, resource: str, context: dict[str, str]) -> None:
    assert allowed(action, resource, keys=context)


@pytest.mark.parametrize("action", ["GetObject", "PutObject"])
def test_snapshots_of_the_lab_alone_are_read_and_written(action: str) -> None:
    assert allowed(f"s3:{action}", f"arn:aws:s3:::{BUCKET}/{LAB}/x.snap")
    for other in (f"{BUCKET}/{LAB}-green/x.snap", f"{BUCKET}/x.snap", f"theirs/{LAB}/x.snap"):
        assert not allowed(f"s3:{action}", f"arn:aws:s3:::{other}")
    assert not allowed("s3:DeleteObject", f"arn:aws:s3:::{BUCKET}/{LAB}/x.snap")
    assert not allowed("s3:ListBucket", "arn:aws:s3:::theirs")


def test_one_off_tasks_of_other_clusters_are_denied() -> None:
    definition = arn("ecs", f"task-definition/{LAB}-portal:3")
    assert not allowed("ecs:RunTask", definition, keys={"ecs:cluster": arn("ecs", "cluster/green")})
    assert not allowed("ecs:RunTask", arn("ecs", "task-definition/x:1"), keys={"ecs:cluster": arn("ecs", "cluster/x")})
    assert not allowed("ecs:StopTask", arn("ecs", "task/green/1"))


# --- what must not work


@pytest.mark.parametrize(
    "boundary", [None, f"arn:aws:iam::{ACCOUNT}:policy/mine", "arn:aws:iam::aws:policy/AdministratorAccess"]
)
@pytest.mark.parametrize("action", ["CreateRole", "PutRolePolicy", "PutRolePermissionsBoundary"])
def test_role_beyond_the_boundary_is_denied(action: str, boundary: str | None) -> None:
    keys = {"iam:PermissionsBoundary": boundary} if boundary else {}
    for name in ("ServerRole", "InstanceRole", "TaskExecutionRole", "x"):
        assert not through_stack(f"iam:{action}", role(name), keys=keys)
    assert through_stack(f"iam:{action}", role("ServerRole"), keys=WITH_BOUNDARY)


def test_role_of_another_name_is_denied_even_with_the_boundary() -> None:
    for resource in (
        role("x"),
        role("ServerRole", "green"),
        role("ServerRole", f"{LAB}-green"),
        arn("iam", "role/admin", region=""),
    ):
        assert not through_stack("iam:CreateRole", resource, keys=WITH_BOUNDARY)
        assert not through_stack("iam:PutRolePolicy", resource, keys=WITH_BOUNDARY)


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("iam:AttachRolePolicy", role("ServerRole")),
        ("iam:DeleteRolePermissionsBoundary", role("ServerRole")),
        ("iam:CreatePolicyVersion", BOUNDARY),
        ("iam:SetDefaultPolicyVersion", BOUNDARY),
        ("iam:DeletePolicy", BOUNDARY),
        ("iam:CreatePolicy", BOUNDARY),
        ("iam:CreateUser", arn("iam", "user/x", region="")),
        ("iam:CreateAccessKey", arn("iam", "user/admin", region="")),
        ("iam:AttachUserPolicy", arn("iam", "user/me", region="")),
        ("iam:PutUserPolicy", arn("iam", "user/me", region="")),
        ("sts:AssumeRole", arn("iam", "role/admin", region="")),
        ("lambda:InvokeFunction", arn("lambda", "function:x")),
        ("ssm:SendCommand", arn("ec2", "instance/i-1")),
        ("ec2-instance-connect:SendSSHPublicKey", arn("ec2", "instance/i-1")),
        ("cloudformation:CreateChangeSet", STACK),
        ("cloudformation:SetStackPolicy", STACK),
    ],
)
def test_account_administration_is_denied(action: str, resource: str) -> None:
    assert not allowed(action, resource, keys=WITH_BOUNDARY)
    assert not through_stack(action, resource, keys={**WITH_BOUNDARY, **OWN, **NEW})


@pytest.mark.parametrize("name", ["InstanceRole", "ServerRole", "TaskExecutionRole"])
def test_roles_are_not_changed_by_hand(name: str) -> None:
    """Only CloudFormation may, but for the inline policy that lets ECS read the secrets of the config."""
    own = ("PutRolePolicy", "DeleteRolePolicy", "GetRolePolicy") if name == "TaskExecutionRole" else ()
    for action in ("CreateRole", "PutRolePolicy", "DeleteRolePolicy", "UpdateAssumeRolePolicy", "DeleteRole"):
        assert allowed(f"iam:{action}", role(name), keys=WITH_BOUNDARY) == (action in own)
    assert not allowed("iam:PutRolePolicy", role(name)), "without the boundary"


@pytest.mark.parametrize(
    "service", ["ec2.amazonaws.com", "ecs-tasks.amazonaws.com", "lambda.amazonaws.com", "cloudformation.amazonaws.com"]
)
def test_no_other_role_is_passed(service: str) -> None:
    keys = {"iam:PassedToService": service}
    for resource in (arn("iam", "role/admin", region=""), role("ServerRole", "green"), role("x")):
        assert not allowed("iam:PassRole", resource, keys=keys)
        assert not through_stack("iam:PassRole", resource, keys=keys)
    for name in ("ServerRole", "InstanceRole"):
        assert not allowed("iam:PassRole", role(name), keys=keys), "only CloudFormation passes them"
        assert through_stack("iam:PassRole", role(name), keys=keys) == (service == "ec2.amazonaws.com")
    assert allowed("iam:PassRole", role("TaskExecutionRole"), keys=keys) == (service == "ecs-tasks.amazonaws.com")


@pytest.mark.parametrize(
    "types",
    [
        None, [*TYPES, "AWS::Lambda::Function"], ["AWS::IAM::ManagedPolicy"], ["AWS::IAM::User"], ["AWS::IAM::*"],
        ["AWS::EC2::SecurityGroupEgress"],
    ],
)  # fmt: skip
def test_template_with_other_resources_is_denied(types: list[str] | None) -> None:
    for action in ("CreateStack", "UpdateStack"):
        keys = {} if types is None else {"cloudformation:ResourceTypes": types}
        assert not allowed(f"cloudformation:{action}", STACK, keys=keys)


def test_another_stack_is_denied() -> None:
    for name in ("green", f"{LAB}-green"):
        resource = arn("cloudformation", f"stack/{name}/0f1e")
        assert not allowed("cloudformation:UpdateStack", resource, keys={"cloudformation:ResourceTypes": TYPES})
        assert not allowed("cloudformation:DeleteStack", resource)


@pytest.mark.parametrize("tags", [{}, {"ssm:resourceTag/ecsconsul:lab": "green"}, {"ssm:resourceTag/Name": LAB}])
def test_session_on_another_instance_is_denied(tags: dict[str, str]) -> None:
    assert not allowed("ssm:StartSession", arn("ec2", "instance/i-1"), keys=tags)


def test_session_without_one_of_the_two_documents_is_denied() -> None:
    own = {"ssm:resourceTag/ecsconsul:lab": LAB}
    # the key is false when a session runs its default document unchecked
    assert not allowed(
        "ssm:StartSession", arn("ec2", "instance/i-1"), keys={**own, "ssm:SessionDocumentAccessCheck": "false"}
    )
    for name in ("SSM-SessionManagerRunShell", "mine"):
        assert not allowed("ssm:StartSession", arn("ssm", f"document/{name}"), keys=own)
    assert not allowed("ssm:StartSession", arn("ssm", "document/AWS-StartSSHSession", account=""))
    assert not allowed("ssm:StartSession", arn("ssm", "managed-instance/mi-1"), keys=own)
    assert not allowed("ssm:StartSession", arn("ecs", "task/green/1"))


@pytest.mark.parametrize("whose", ["AIDAYOU", "AROAYOU:me", "AIDAME2"])
def test_session_of_somebody_else_is_denied(whose: str) -> None:
    for action in ("TerminateSession", "ResumeSession"):
        session = {"ssm:resourceTag/aws:ssmmessages:session-id": whose}
        assert not allowed(f"ssm:{action}", arn("ssm", "session/you-1"), keys=session)
        assert not allowed(f"ssm:{action}", arn("ssm", "session/you-1"))
    assert not allowed("ssmmessages:OpenDataChannel", arn("ssm", f"session/{whose}-1"))
    assert allowed("ssmmessages:OpenDataChannel", arn("ssm", "session/AIDAME-1"))


THEIRS = {f"aws:ResourceTag/{name}": "green" for name in ("ecsconsul:lab", "Name")}


@pytest.mark.parametrize("lab", ["green", f"{LAB}-green", f"{LAB}green"])
@pytest.mark.parametrize(
    ("action", "service", "resource"),
    [
        ("ecs:DeleteCluster", "ecs", "cluster/{}"),
        ("ecs:ExecuteCommand", "ecs", "cluster/{}"),
        ("ecs:ExecuteCommand", "ecs", "task/{}/1"),
        ("ecs:UpdateService", "ecs", "service/{}/portal"),
        ("ecs:DeleteService", "ecs", "service/{}/portal"),
        ("ecs:DeleteTaskDefinitions", "ecs", "task-definition/{}-portal:1"),
        ("ecs:DescribeTasks", "ecs", "task/{}/1"),
        ("ssm:GetParameter", "ssm", "parameter/ecsconsul/{}/gossip-key"),
        ("ssm:PutParameter", "ssm", "parameter/ecsconsul/{}/servers/key"),
        ("ssm:GetParametersByPath", "ssm", "parameter/ecsconsul/{}/servers"),
        ("ecr:PutImage", "ecr", "repository/{}/portal"),
        ("logs:GetLogEvents", "logs", "log-group:/ecsconsul/{}:*"),
        ("logs:FilterLogEvents", "logs", "log-group:/ecsconsul/{}"),
        ("ec2:GetConsoleOutput", "ec2", "instance/{}"),
    ],
)
def test_another_labs_resources_are_denied(lab: str, action: str, service: str, resource: str) -> None:
    assert not allowed(action, arn(service, resource.format(lab)), keys=THEIRS)


@pytest.mark.parametrize("lab", ["green", f"{LAB}-green"])
def test_another_labs_resources_are_denied_to_a_template_too(lab: str) -> None:
    for action in ("UpdateAutoScalingGroup", "DeleteAutoScalingGroup", "TerminateInstanceInAutoScalingGroup"):
        assert not through_stack(f"autoscaling:{action}", group("EcsInstances", lab), keys=THEIRS)
    for action in ("AuthorizeSecurityGroupIngress", "DeleteSecurityGroup"):
        assert not through_stack(f"ec2:{action}", arn("ec2", "security-group/sg-1"), keys=THEIRS)
    for action in ("CreateLaunchTemplateVersion", "DeleteLaunchTemplate"):
        assert not through_stack(f"ec2:{action}", arn("ec2", "launch-template/lt-1"), keys=THEIRS)
    assert not through_stack("ec2:RunInstances", arn("ec2", "security-group/sg-1"), keys=THEIRS)
    assert not through_stack("logs:DeleteLogGroup", arn("logs", f"log-group:/ecsconsul/{lab}"))


def test_alarms_of_the_template_only_notify() -> None:
    """An alarm could also stop or terminate any instance of the account."""
    put, topic = "cloudwatch:PutMetricAlarm", arn("sns", "on-call")
    mine = arn("cloudwatch", f"alarm:{LAB}-no-leader")
    assert through_stack(put, mine)
    assert through_stack(put, mine, keys={"cloudwatch:AlarmActions": [topic, topic]})
    for action in (
        f"arn:aws:automate:{REGION}:ec2:terminate",
        arn("swf", "action/actions/AWS_EC2.InstanceId.Stop/1.0"),
    ):
        assert not through_stack(put, mine, keys={"cloudwatch:AlarmActions": [topic, action]})
    assert not allowed(put, mine)


@pytest.mark.parametrize("name", ["theirs", "green-no-leader", f"{LAB}-green-no-leader", f"{LAB}-theirs"])
def test_alarms_of_others_are_denied(name: str) -> None:
    for action in ("PutMetricAlarm", "DeleteAlarms", "TagResource"):
        assert not through_stack(f"cloudwatch:{action}", arn("cloudwatch", f"alarm:{name}"))


def test_other_families_are_denied() -> None:
    assert not allowed("ecs:RegisterTaskDefinition", arn("ecs", "task-definition/portal:*"), keys=NEW)
    assert not allowed("ecs:RegisterTaskDefinition", arn("ecs", f"task-definition/{LAB}-portal:*"))
    for tags in ({}, THEIRS):
        assert not allowed("ecs:DeleteTaskDefinitions", arn("ecs", "task-definition/portal:1"), keys=tags)
    # a tag would make somebody else's definition the lab's, and then it could be deleted
    for keys in (NEW, {**NEW, "ecs:CreateAction": "CreateService"}):
        assert not allowed("ecs:TagResource", arn("ecs", f"task-definition/{LAB}-portal:1"), keys=keys)
    assert allowed("ecs:TagResource", arn("ecs", f"task-definition/{LAB}-portal:1"), keys=OWN)
    assert not allowed("ecs:TagResource", arn("ecs", f"task-definition/{LAB}-portal:1"), keys=THEIRS)


def test_new_task_definitions_get_the_labs_tag() -> None:
    tag, mine = "ecs:TagResource", arn("ecs", f"task-definition/{LAB}-portal:*")
    creation = {"ecs:CreateAction": "RegisterTaskDefinition"}
    assert allowed(tag, mine, keys={**NEW, **creation})
    assert not allowed(tag, mine, keys={"aws:RequestTag/ecsconsul:lab": "green", **creation})
    assert not allowed(tag, arn("ecs", "task-definition/portal:*"), keys={**NEW, **creation})


def test_tags_of_others_are_not_changed() -> None:
    """What has the lab's tag may be deleted, so no tag may be given to or taken from somebody else's resource."""
    for resource in ("security-group/sg-1", "launch-template/lt-1"):
        for tags in ({}, THEIRS):
            assert not through_stack("ec2:CreateTags", arn("ec2", resource), keys=tags)
            assert not through_stack("ec2:DeleteTags", arn("ec2", resource), keys=tags)
    for resource in ("vpc/vpc-1", "subnet/subnet-1", "image/ami-1"):
        assert not through_stack("ec2:CreateTags", arn("ec2", resource), keys={**NEW, **OWN})
        assert not through_stack("ec2:DeleteTags", arn("ec2", resource), keys=OWN)
    assert not through_stack("ec2:CreateLaunchTemplate", arn("ec2", "launch-template/*"))


def test_roles_and_profiles_of_others_are_not_changed() -> None:
    for action in ("DeleteRole", "DeleteRolePolicy", "UpdateAssumeRolePolicy", "UpdateRole", "TagRole"):
        for resource in (arn("iam", "role/admin", region=""), role("ServerRole", "green"), role("x")):
            assert not through_stack(f"iam:{action}", resource, keys=WITH_BOUNDARY)
    for action in ("AddRoleToInstanceProfile", "RemoveRoleFromInstanceProfile", "DeleteInstanceProfile"):
        for name in ("admin", "green-ServerProfile-1A2B3C", f"{LAB}-x-1A2B3C"):
            assert not through_stack(f"iam:{action}", arn("iam", f"instance-profile/{name}", region=""))


def test_load_balancers_of_others_are_not_changed() -> None:
    """A tag on somebody else's would make it the lab's."""
    for kind, action in ELB_KINDS.items():
        resource = arn("elasticloadbalancing", f"{kind}/theirs/1")
        for tags in ({}, THEIRS):
            assert not through_stack("elasticloadbalancing:AddTags", resource, keys={**NEW, **tags})
            assert not through_stack("elasticloadbalancing:RemoveTags", resource, keys=tags)
            assert not through_stack(f"elasticloadbalancing:{action}", resource, keys=tags)
        creation = {"elasticloadbalancing:CreateAction": action}
        assert not through_stack("elasticloadbalancing:AddTags", resource, keys={**THEIRS, **creation})
    for action in ("DeleteLoadBalancer", "SetSubnets", "SetSecurityGroups", "CreateListener"):
        balancer = arn("elasticloadbalancing", "loadbalancer/app/theirs/1")
        assert not through_stack(f"elasticloadbalancing:{action}", balancer, keys=THEIRS)
        assert not allowed(f"elasticloadbalancing:{action}", balancer, keys=OWN), "by hand"


def test_service_linked_roles_are_those_of_three_services() -> None:
    for service in ("autoscaling", "ecs", "elasticloadbalancing", "support"):
        resource = arn("iam", f"role/aws-service-role/{service}.amazonaws.com/AWSServiceRole", region="")
        keys = {"iam:AWSServiceName": f"{service}.amazonaws.com"}
        assert allowed("iam:CreateServiceLinkedRole", resource, keys=keys) == (service != "support")
    keys = {"iam:AWSServiceName": "ecs.amazonaws.com"}
    assert not allowed("iam:CreateServiceLinkedRole", arn("iam", "role/admin", region=""), keys=keys)


def test_policies_of_others_are_not_read() -> None:
    for name in ("mine", "ecsconsul/green-boundary"):
        assert not allowed("iam:GetPolicy", arn("iam", f"policy/{name}", region=""))
    assert allowed("iam:GetPolicy", BOUNDARY)


def test_launch_template_versions_are_fixed() -> None:
    """With `$Latest`, Auto Scaling would launch later versions without asking whether the user may pass their role."""
    create = "autoscaling:CreateAutoScalingGroup"
    assert not through_stack(
        create, group("EcsInstances"), keys={"autoscaling:LaunchTemplateVersionSpecified": "false"}
    )
    assert not through_stack(create, group("EcsInstances"), keys={"autoscaling:LaunchConfigurationName": "theirs"})


def test_stack_actions_need_cloudformation() -> None:
    statements = [
        statement
        for name in ("stack", "roles", "watching", "load-balancer")
        for statement in policy(name, VALUES)["Statement"]
        # `up` and `down` ask for these themselves
        if statement["Sid"] not in ("TagsOfAlarms", "AccessToSecrets", "AllowSecretsWithinBoundary")
    ]
    for action, statement in actions_of(statements):
        via = statement.get("Condition", {}).get("ForAnyValue:StringEquals")
        by_hand = action in ("acm:DescribeCertificate", "iam:CreateServiceLinkedRole")
        assert via == {"aws:CalledVia": ["cloudformation.amazonaws.com"]} or by_hand


# --- the boundary


def role_policy(*actions: str) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}]}


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("iam:CreateUser", arn("iam", "user/x", region="")),
        ("iam:PutRolePolicy", role("ServerRole")),
        ("iam:CreatePolicyVersion", BOUNDARY),
        ("iam:DeleteRolePermissionsBoundary", role("ServerRole")),
        ("sts:AssumeRole", arn("iam", "role/admin", region="")),
        ("ssm:StartSession", arn("ec2", "instance/i-1")),
        ("ssm:GetParameter", arn("ssm", "parameter/ecsconsul/green/gossip-key")),
        ("ssm:GetParameter", arn("ssm", f"parameter/ecsconsul/{LAB}/operator/management-token")),
        ("ec2:TerminateInstances", arn("ec2", "instance/i-1")),
        ("s3:GetObject", "arn:aws:s3:::theirs/secret"),
        ("cloudwatch:DeleteAlarms", arn("cloudwatch", f"alarm:{LAB}-no-leader")),
        ("s3:GetObject", f"arn:aws:s3:::theirs/{LAB}-green/x.snap"),
        ("s3:PutBucketPolicy", f"arn:aws:s3:::{BUCKET}"),
        ("s3:ListBucket", f"arn:aws:s3:::{BUCKET}"),
    ],
)
def test_role_that_may_do_anything_is_held_by_the_boundary(action: str, resource: str) -> None:
    request = Request(action, resource, {"aws:RequestedRegion": "us-east-1"})
    for mine in (role_policy("*"), role_policy("iam:*", "sts:*", "ssm:*", "ec2:*", "s3:*", "cloudwatch:*")):
        assert is_allowed(request, [mine])
        assert not is_allowed(request, [mine], policy("boundary", VALUES))


def test_roles_publish_metrics_in_the_labs_namespace_only() -> None:
    for namespace, expected in (("ecsconsul", True), ("AWS/EC2", False), ("theirs", False)):
        context = {"aws:RequestedRegion": REGION, "cloudwatch:namespace": namespace}
        request = Request("cloudwatch:PutMetricData", "*", context)
        assert is_allowed(request, [role_policy("*")], policy("boundary", VALUES)) is expected


def test_servers_snapshots_stay_within_the_boundary_and_the_account() -> None:
    mine = role_policy("s3:*")
    for account, expected in ((ACCOUNT, True), ("210987654321", False)):
        context = {"aws:ResourceAccount": account, "s3:prefix": f"{LAB}/"}
        for action in ("GetObject", "PutObject", "DeleteObject"):
            request = Request(f"s3:{action}", f"arn:aws:s3:::{BUCKET}/{LAB}/x.snap", context)
            assert is_allowed(request, [mine], policy("boundary", VALUES)) is expected
        listed = Request("s3:ListBucket", f"arn:aws:s3:::{BUCKET}", context)
        assert is_allowed(listed, [mine], policy("boundary", VALUES)) is expected


# --- the policies themselves


@pytest.mark.parametrize("name", [*NAMES, "boundary"])
def test_policies_follow_the_service_authorization_reference(name: str) -> None:
    """An action that knows no resource matches only `*`, and one that AWS doesn't know allows nothing."""
    for action, statement in actions_of(policy(name, VALUES)["Statement"]):
        service, _, operation = action.partition(":")
        known = reference(service)["Actions"]
        assert operation.lower() in known, action
        # AWS's sample policies limit this one to a session, although the reference has no resource for it
        if not known[operation.lower()].get("Resources") and action != "ssmmessages:OpenDataChannel":
            assert statement["Resource"] == "*", action


def test_policies_name_the_templates_types() -> None:
    (statement,) = [one for one in policy("up-and-down")["Statement"] if one["Sid"] == "StackOfKnownTypes"]
    assert statement["Condition"]["ForAllValues:StringEquals"]["cloudformation:ResourceTypes"] == TYPES
