"""The stack's template: valid, secure, and created, updated and deleted on moto's CloudFormation."""

from __future__ import annotations

import ast
import itertools
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from cfnlint import decode
from cfnlint.api import lint_all
from moto import mock_aws

from ecsconsul.paths import templates_dir
from ecsconsul.targets.aws.permissions import policy
from tests.iam_evaluator import Request, is_allowed
from tests.require import require
from tests.templates.stack import CLUSTER, LAB, REGION, TEXT, Stack, tags_of

ARM_AMI = "/aws/service/ecs/optimized-ami/amazon-linux-2023/arm64/recommended/image_id"
CONSUL_PORTS = {8300, 8301, 8302, 8500, 8501, 8600}

# Actions without a resource in AWS's service authorization reference or, for Session Manager, in AWS's minimal policy.
ACTIONS_WITHOUT_RESOURCE = {
    "ec2:DescribeInstances",
    "ecr:GetAuthorizationToken",
    "ecs:DiscoverPollEndpoint",
    "ssm:UpdateInstanceInformation",
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
}


@pytest.fixture(scope="module")
def region() -> Iterator[Stack]:
    with mock_aws():
        yield Stack()


@pytest.fixture
def stack(region: Stack) -> Iterator[Stack]:
    yield region
    region.delete()


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    template, mistakes = decode.decode_str(TEXT)
    assert not mistakes
    return dict(template)


def _resources(document: Mapping[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    found = {name: body for name, body in document["Resources"].items() if body["Type"] == kind}
    assert found, f"the template has no {kind}"
    return found


def _statements(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    roles = _resources(document, "AWS::IAM::Role").values()
    policies = [policy for role in roles for policy in role["Properties"]["Policies"]]
    return [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]


def _actions(statement: Mapping[str, Any]) -> list[str]:
    actions = statement["Action"]
    return [actions] if isinstance(actions, str) else list(actions)


# ---------------------------------------------------------------- the text


def test_cfn_lint_finds_nothing() -> None:
    # I is cfn-lint's informational level, which its command line leaves out by default too
    assert [str(match) for match in lint_all(TEXT) if not match.rule.id.startswith("I")] == []


def test_template_has_no_ami_id_and_no_launch_configuration(document: Mapping[str, Any]) -> None:
    assert "ami-" not in TEXT
    kinds = {body["Type"] for body in document["Resources"].values()}
    assert "AWS::AutoScaling::LaunchConfiguration" not in kinds


def test_every_group_waits_for_signals_and_tags_its_resource_name(document: Mapping[str, Any]) -> None:
    waiting = {name: body for name, body in document["Resources"].items() if "CreationPolicy" in body}
    assert set(waiting) == {"ConsulServer", "ConsulPeers", "EcsInstances"}
    for name, body in waiting.items():
        assert tags_of(body["Properties"])["ecsconsul:resource"] == name


def test_rolling_updates_replace_one_instance_at_a_time(document: Mapping[str, Any]) -> None:
    for name, body in _resources(document, "AWS::AutoScaling::AutoScalingGroup").items():
        rolling = body["UpdatePolicy"]["AutoScalingRollingUpdate"]
        if "Fn::If" in rolling:
            condition, rolling, otherwise = rolling["Fn::If"]
            assert (name, condition, otherwise) == ("ConsulPeers", "HasPeers", {"Ref": "AWS::NoValue"})
        assert rolling["MaxBatchSize"] == 1, name
        assert rolling["WaitOnResourceSignals"] is True, name
        # Auto Scaling must be able to launch replacements during the update
        assert not {"Launch", "Terminate"} & set(rolling["SuspendProcesses"]), name


def test_boot_scripts_give_up_before_cloudformation_does(document: Mapping[str, Any]) -> None:
    script = (templates_dir() / "boot.sh").read_text()
    waits = {name: int(value) for name, value in re.findall(r"(\w+)_SECONDS=(\d+)", script)}
    last_attempts = sum(int(seconds) for seconds in re.findall(r"(?<![\w-])timeout (\d+) ", script))
    # two metadata requests, five AWS requests, and three waits for Consul; each phase is counted once already
    most = sum(waits.values()) + waits["METADATA"] + 4 * (waits["AWS"] + 30) + 2 * waits["JOIN"] + last_attempts
    for name in ("ConsulServer", "ConsulPeers", "EcsInstances"):
        timeout = document["Resources"][name]["CreationPolicy"]["ResourceSignal"]["Timeout"]
        assert most < 60 * int(timeout.removeprefix("PT").removesuffix("M")) - 120, name


def test_template_and_user_data_fit_the_limits(stack: Stack) -> None:
    """51,200 bytes for the template body, and 16 KB for user data before encoding."""
    assert len(TEXT.encode()) < 51_200
    stack.create()
    for role in ("consul-server", "ecs-instance"):
        assert len(stack.user_data(role).encode()) < 16_384


@pytest.mark.parametrize("role", ["consul-server", "ecs-instance"])
def test_shellcheck_finds_nothing_in_the_user_data(stack: Stack, role: str) -> None:
    program = Path(sys.executable).with_name("shellcheck")
    require("shellcheck", program.exists(), "shellcheck is not installed beside Python")
    stack.create()
    argv = [str(program), "--enable", "check-unassigned-uppercase", "-"]
    done = subprocess.run(argv, input=stack.user_data(role), capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("role", ["consul-server", "ecs-instance"])
def test_user_data_has_the_parameters(stack: Stack, role: str) -> None:
    stack.create(ConsulImage="example.com:5000/consul@sha256:12ab", AmazonDnsIp="10.1.0.2")
    lines = stack.user_data(role).splitlines()
    assert lines[0] == "#!/bin/bash"
    assert {f"LAB='{LAB}'", f"REGION='{REGION}'", "AMAZON_DNS='10.1.0.2'"} <= set(lines)
    assert "CONSUL_IMAGE='example.com:5000/consul@sha256:12ab'" in lines


def test_user_data_does_not_depend_on_the_number_of_servers(stack: Stack) -> None:
    """A change of user data replaces ConsulServer."""
    stack.create(ConsulServers=1)
    before = stack.user_data("consul-server")
    stack.update(ConsulServers=5)
    assert stack.user_data("consul-server") == before


@pytest.mark.parametrize("role", ["consul-server", "ecs-instance"])
def test_no_secret_is_in_user_data_or_parameters(stack: Stack, document: Mapping[str, Any], role: str) -> None:
    stack.create()
    assert "/ecsconsul/$LAB/ca" in stack.user_data(role)
    named = {name for name in document["Parameters"] for word in ("key", "token", "secret") if word in name.lower()}
    # the name of a key pair, and the name of a generation of secrets
    assert named == {"KeyName", "SecretsGeneration"}


@pytest.mark.parametrize("parameters", [{"ConsulSecurity": "transition"}, {"SecretsGeneration": "0a1b2c"}])
def test_change_of_the_security_changes_the_user_data(stack: Stack, parameters: dict[str, str]) -> None:
    """So that CloudFormation replaces the instances."""
    roles = ("consul-server", "ecs-instance")
    stack.create()
    before = [stack.user_data(role) for role in roles]
    assert all("CONSUL_SECURITY='enforced'" in text for text in before)
    stack.delete()
    # a new stack, because moto doesn't update launch templates
    stack.create(**parameters)
    assert all(stack.user_data(role) != text for role, text in zip(roles, before, strict=True))


def test_imdsv2_is_required_and_containers_cannot_reach_it(document: Mapping[str, Any]) -> None:
    for name, template in _resources(document, "AWS::EC2::LaunchTemplate").items():
        options = template["Properties"]["LaunchTemplateData"]["MetadataOptions"]
        assert options["HttpTokens"] == "required", name
        assert options["HttpPutResponseHopLimit"] == 1, name


def test_every_volume_is_encrypted_gp3(document: Mapping[str, Any]) -> None:
    for name, template in _resources(document, "AWS::EC2::LaunchTemplate").items():
        mappings = template["Properties"]["LaunchTemplateData"]["BlockDeviceMappings"]
        disks = [mapping["Ebs"] for mapping in mappings]
        assert disks, name
        assert all(disk["Encrypted"] and disk["VolumeType"] == "gp3" for disk in disks), name


def test_instances_come_from_the_stacks_launch_templates(document: Mapping[str, Any]) -> None:
    templates = _resources(document, "AWS::EC2::LaunchTemplate")
    for name, body in _resources(document, "AWS::AutoScaling::AutoScalingGroup").items():
        assert body["Properties"]["LaunchTemplate"]["LaunchTemplateId"]["Ref"] in templates, name
    # nothing would replace an instance outside a group
    assert "AWS::EC2::Instance" not in {body["Type"] for body in document["Resources"].values()}


def test_update_starts_the_new_first_server_before_the_old_one_stops(document: Mapping[str, Any]) -> None:
    """It may be the only server, and Consul's data must pass from the old one to the new one."""
    server = document["Resources"]["ConsulServer"]
    rolling = server["UpdatePolicy"]["AutoScalingRollingUpdate"]
    sizes = [int(server["Properties"][name]) for name in ("MinSize", "DesiredCapacity", "MaxSize")]
    assert (sizes, rolling["MinInstancesInService"]) == ([1, 1, 2], 1)


def test_ecs_instances_wait_for_every_consul_server(document: Mapping[str, Any]) -> None:
    assert set(document["Resources"]["EcsInstances"]["DependsOn"]) == {"ConsulServer", "ConsulPeers"}


def test_role_has_no_wildcard_actions(document: Mapping[str, Any]) -> None:
    actions = [action for statement in _statements(document) for action in _actions(statement)]
    assert "ecs:RegisterContainerInstance" in actions
    assert [action for action in actions if "*" in action] == []
    assert all(
        "ManagedPolicyArns" not in role["Properties"] for role in _resources(document, "AWS::IAM::Role").values()
    )


def test_only_actions_without_a_resource_have_a_wildcard_resource(document: Mapping[str, Any]) -> None:
    on_all = [statement for statement in _statements(document) if statement["Resource"] == "*"]
    assert {action for statement in on_all for action in _actions(statement)} == ACTIONS_WITHOUT_RESOURCE


def test_other_actions_are_limited_to_the_lab(document: Mapping[str, Any]) -> None:
    for statement in _statements(document):
        if statement["Resource"] == "*":
            continue
        owner = str(statement["Resource"]) + str(statement.get("Condition", ""))
        assert any(name in owner for name in ("${LabName}", "${EcsClusterName}", "AWS::StackId")), statement


# ---------------------------------------------------------------- created


@pytest.mark.parametrize("servers", [1, 3, 5])
def test_servers_start_before_ecs_instances(stack: Stack, servers: int) -> None:
    stack.create(ConsulServers=servers, InstanceCount=2)
    assert stack.status == "CREATE_COMPLETE"
    assert stack.roles() == ["consul-server"] * servers + ["ecs-instance"] * 2
    more = servers - 1
    assert stack.group_sizes() == {"ConsulServer": (1, 2, 1, 1), "ConsulPeers": (more,) * 4, "EcsInstances": (2,) * 4}


def test_instances_have_the_labs_tags(stack: Stack) -> None:
    stack.create(ConsulServers=3, InstanceCount=2)
    for instance in stack.running():
        tags = tags_of(instance)
        assert (tags["ecsconsul:lab"], tags["ecsconsul:cluster"]) == (LAB, CLUSTER)
        assert tags["Name"] == f"{LAB} {tags['ecsconsul:role']}"
    assert Counter(stack.roles()) == {"consul-server": 3, "ecs-instance": 2}


def test_groups_have_the_tags_and_propagate_them(stack: Stack) -> None:
    stack.create()
    groups = stack.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]
    assert len(groups) == 3
    for group in groups:
        assert {"ecsconsul:lab", "ecsconsul:cluster", "ecsconsul:role", "Name"} <= set(tags_of(group))
        assert all(tag["PropagateAtLaunch"] for tag in group["Tags"])


def test_volumes_have_the_tags(stack: Stack) -> None:
    stack.create()
    for role in ("consul-server", "ecs-instance"):
        specifications = stack.launch_data(role)["TagSpecifications"]
        (volume,) = [entry for entry in specifications if entry["ResourceType"] == "volume"]
        expected = {"ecsconsul:lab": LAB, "ecsconsul:cluster": CLUSTER, "ecsconsul:role": role}
        assert expected.items() <= tags_of(volume).items()


@pytest.mark.parametrize("parameters", [{}, {"EcsAmi": ARM_AMI, "InstanceType": "t4g.small"}])
def test_instances_run_the_ami_of_the_parameter(stack: Stack, parameters: dict[str, str]) -> None:
    stack.create(ConsulServers=3, **parameters)
    name = parameters.get("EcsAmi", ARM_AMI.replace("/arm64", ""))
    ssm = boto3.client("ssm", region_name=REGION)
    ami = ssm.get_parameter(Name=name)["Parameter"]["Value"]
    kinds = {(instance["ImageId"], instance["InstanceType"]) for instance in stack.running()}
    assert kinds == {(ami, parameters.get("InstanceType", "t3.small"))}


def test_only_the_portal_is_open_to_the_internet(stack: Stack) -> None:
    stack.create(PublicPort=9090)
    rules = stack.ingress("ConsulSecurityGroup") | stack.ingress("EcsSecurityGroup")
    world = {rule for rule in rules if "/" in rule[3]}
    assert world == {("tcp", port, port, "0.0.0.0/0") for port in (80, 443, 9090)}


@pytest.mark.parametrize("port", [80, 443])
def test_portal_on_80_or_443_needs_no_extra_rule(stack: Stack, port: int) -> None:
    stack.create(PublicPort=port)
    assert stack.status == "CREATE_COMPLETE"
    world = [rule for rule in stack.ingress("EcsSecurityGroup") if "/" in rule[3]]
    assert sorted(rule[1] for rule in world) == [80, 443]


def test_consul_is_open_to_the_lab_only(stack: Stack) -> None:
    stack.create(SshCidr="203.0.113.7/32")
    lab = stack.outputs["LabSecurityGroup"]
    assert stack.ingress("ConsulSecurityGroup") == {
        ("tcp", 8300, 8302, lab),
        ("udp", 8301, 8302, lab),
        ("tcp", 8501, 8501, lab),
        ("tcp", 8600, 8600, lab),
        ("udp", 8600, 8600, lab),
    }


def test_consul_ports_in_other_groups_are_open_to_the_lab_only(stack: Stack) -> None:
    stack.create(SshCidr="203.0.113.7/32")
    rules = stack.ingress("EcsSecurityGroup")
    on_consul = {rule for rule in rules if CONSUL_PORTS & set(range(rule[1], rule[2] + 1))}
    assert {rule[3] for rule in on_consul} <= {stack.outputs["LabSecurityGroup"]}


@pytest.mark.parametrize(
    "given, expected", [({}, set()), ({"SshCidr": "203.0.113.7/32"}, {("tcp", 22, 22, "203.0.113.7/32")})]
)
def test_ssh_is_open_to_the_given_range_only(stack: Stack, given: dict[str, str], expected: set[Any]) -> None:
    stack.create(**given)
    assert stack.ingress("SshSecurityGroup") == expected


def test_only_ecs_instances_are_in_the_open_group(stack: Stack) -> None:
    stack.create()
    members = [stack.outputs[f"{name}SecurityGroup"] for name in ("Lab", "Consul", "Ssh")]
    assert stack.launch_data("consul-server")["SecurityGroupIds"] == members
    assert stack.launch_data("ecs-instance")["SecurityGroupIds"] == [*members, stack.outputs["EcsSecurityGroup"]]


@pytest.mark.parametrize("given, expected", [({}, None), ({"KeyName": "mine"}, "mine")])
def test_key_pair_is_optional(stack: Stack, given: dict[str, str], expected: str | None) -> None:
    stack.create(**given)
    for role in ("consul-server", "ecs-instance"):
        assert stack.launch_data(role).get("KeyName") == expected


def test_outputs_name_the_resources(stack: Stack) -> None:
    stack.create()
    outputs = stack.outputs
    assert outputs["EcsCluster"] == CLUSTER
    assert outputs["LogGroup"] == f"/ecsconsul/{LAB}"
    profile = stack.iam.get_instance_profile(InstanceProfileName=outputs["InstanceProfile"])
    assert [role["Arn"] for role in profile["InstanceProfile"]["Roles"]] == [outputs["InstanceRole"]]


# ---------------------------------------------------------------- the roles

BOUNDARY = "arn:aws:iam::123456789012:policy/ecsconsul/blue-boundary"
VALUES = {"Partition": "aws", "Region": REGION, "Account": "123456789012", "Lab": LAB}
ROLES = ("ServerRole", "InstanceRole", "TaskExecutionRole")
SECRETS = {
    "ServerRole": {"ca", "gossip-key", "servers", "servers/tls/key"},
    "InstanceRole": {"ca", "gossip-key", "agents", "agents/token"},
    "TaskExecutionRole": {"tasks/weather"},
}
READS = ("ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath")


def _role(stack: Stack, output: str) -> dict[str, Any]:
    return dict(stack.iam.get_role(RoleName=stack.outputs[output].rpartition("/")[2])["Role"])


def _policy(stack: Stack, output: str) -> dict[str, Any]:
    found = stack.iam.get_role_policy(RoleName=_role(stack, output)["RoleName"], PolicyName="lab")["PolicyDocument"]
    # moto writes a stack's policies as Python does, not as JSON; and a lab's stack has its name
    return dict(ast.literal_eval(str(found).replace("stack/blue-lab/", "stack/blue/")))


@pytest.mark.parametrize("name", ROLES)
def test_role_stays_within_the_boundary(stack: Stack, name: str) -> None:
    stack.create(EcsClusterName=LAB)
    boundary = policy("boundary", VALUES)
    for statement in _policy(stack, name)["Statement"]:
        if statement["Effect"] == "Deny":
            continue
        resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
        for action, resource in itertools.product(_actions(statement), resources):
            request = Request(action, resource, {"aws:RequestedRegion": REGION})
            assert is_allowed(request, [_policy(stack, name)], boundary), (action, resource)


@pytest.mark.parametrize("name", ROLES)
def test_role_reads_only_its_own_secrets(stack: Stack, name: str) -> None:
    stack.create()
    every = set().union(*SECRETS.values(), {"operator", "operator/token", "tasks", "."})
    root = f"arn:aws:ssm:{REGION}:123456789012:parameter/ecsconsul"
    read = {
        path
        for path, action in itertools.product(every, READS)
        if is_allowed(Request(action, f"{root}/{LAB}/{path}"), [_policy(stack, name)])
    }
    assert read == SECRETS[name]
    for lab in ("green", "blue-green"):
        requests = [Request(action, f"{root}/{lab}/{path}") for path, action in itertools.product(every, READS)]
        assert not any(is_allowed(request, [_policy(stack, name)]) for request in requests)


def test_consul_servers_cannot_act_as_ecs_instances(stack: Stack) -> None:
    stack.create()
    profiles = {
        role: stack.launch_data(role)["IamInstanceProfile"]["Arn"] for role in ("consul-server", "ecs-instance")
    }
    assert stack.outputs["ServerProfile"] in profiles["consul-server"]
    assert stack.outputs["InstanceProfile"] in profiles["ecs-instance"]
    actions = {action for statement in _policy(stack, "ServerRole")["Statement"] for action in _actions(statement)}
    assert not [action for action in actions if action.startswith(("ecs:", "ecr:", "logs:"))]


SNAPSHOTS = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject")


def test_servers_reach_the_labs_snapshots_in_the_bucket_and_nothing_else(stack: Stack) -> None:
    stack.create(SnapshotBucket="backups")

    def may(role: str, action: str, resource: str, prefix: str = f"{LAB}/") -> bool:
        request = Request(action, resource, {"s3:prefix": prefix, "aws:ResourceAccount": "123456789012"})
        return is_allowed(request, [_policy(stack, role)], policy("boundary", VALUES))

    for action in SNAPSHOTS:
        assert may("ServerRole", action, f"arn:aws:s3:::backups/{LAB}/x.snap")
        for other in (f"backups/{LAB}-green/x.snap", "backups/x.snap", f"theirs/{LAB}/x.snap"):
            assert not may("ServerRole", action, f"arn:aws:s3:::{other}")
        for role in ("InstanceRole", "TaskExecutionRole"):
            assert not may(role, action, f"arn:aws:s3:::backups/{LAB}/x.snap")
    assert may("ServerRole", "s3:ListBucket", "arn:aws:s3:::backups")
    assert not may("ServerRole", "s3:ListBucket", "arn:aws:s3:::backups", prefix="green/")


def test_without_a_bucket_servers_reach_no_object(stack: Stack) -> None:
    stack.create()
    for action in SNAPSHOTS:
        assert not is_allowed(Request(action, f"arn:aws:s3:::backups/{LAB}/x.snap"), [_policy(stack, "ServerRole")])
    effects = [one["Effect"] for one in _policy(stack, "ServerRole")["Statement"] if "s3:" in str(one["Action"])]
    assert effects == ["Deny", "Deny"]


def test_another_bucket_replaces_no_server(stack: Stack) -> None:
    """As a change of the interval doesn't, which is in SSM."""
    stack.create()
    before = [instance["InstanceId"] for instance in stack.running()]
    data = stack.user_data("consul-server")
    stack.update(SnapshotBucket="backups")
    assert [instance["InstanceId"] for instance in stack.running()] == before
    assert stack.user_data("consul-server") == data


def test_execution_role_is_trusted_for_this_account_only(stack: Stack) -> None:
    stack.create()
    (statement,) = _role(stack, "TaskExecutionRole")["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
    assert statement["Condition"] == {
        "ArnLike": {"aws:SourceArn": f"arn:aws:ecs:{REGION}:123456789012:*"},
        "StringEquals": {"aws:SourceAccount": "123456789012"},
    }


@pytest.mark.parametrize("given", ["", BOUNDARY])
def test_boundary_limits_every_role(stack: Stack, given: str) -> None:
    stack.iam.create_policy(
        PolicyName="blue-boundary", Path="/ecsconsul/", PolicyDocument=json.dumps(policy("boundary", VALUES))
    )
    stack.create(**({"PermissionsBoundary": given} if given else {}))
    for name in ROLES:
        found = _role(stack, name).get("PermissionsBoundary", {})
        assert found.get("PermissionsBoundaryArn", "") == given, name
    stack.iam.delete_policy(PolicyArn=BOUNDARY)


def test_operators_policies_know_the_roles_profiles_and_groups(document: Mapping[str, Any]) -> None:
    """CloudFormation names them after the stack and their logical ids."""
    named = set(re.findall(r"\$\{Lab\}-(\w+)-\*", json.dumps([policy("stack"), policy("roles")])))
    kinds = ("AWS::IAM::Role", "AWS::IAM::InstanceProfile", "AWS::AutoScaling::AutoScalingGroup")
    assert named == {name for kind in kinds for name in _resources(document, kind)}


# ---------------------------------------------------------------- updated and deleted


def test_ecs_instances_follow_the_count(stack: Stack) -> None:
    stack.create(InstanceCount=2)
    for count in (3, 1):
        stack.update(InstanceCount=count)
        assert stack.status == "UPDATE_COMPLETE"
        assert stack.roles() == ["consul-server"] + ["ecs-instance"] * count
        assert stack.group_sizes()["EcsInstances"] == (count,) * 4


def test_server_count_changes_without_replacing_others(stack: Stack) -> None:
    stack.create(ConsulServers=1, InstanceCount=2)
    first = {instance["InstanceId"] for instance in stack.running()}
    for servers in (3, 5, 1):
        stack.update(ConsulServers=servers)
        assert Counter(stack.roles()) == {"consul-server": servers, "ecs-instance": 2}
        assert first <= {instance["InstanceId"] for instance in stack.running()}


def test_public_port_changes_without_replacing_instances(stack: Stack) -> None:
    stack.create(ConsulServers=3)
    before = [instance["InstanceId"] for instance in stack.running()]
    for port in (9090, 80, 8080):
        stack.update(PublicPort=port)
        assert stack.status == "UPDATE_COMPLETE"
    assert [instance["InstanceId"] for instance in stack.running()] == before


def test_delete_leaves_nothing(region: Stack) -> None:
    region.create(ConsulServers=3, InstanceCount=2, SshCidr="203.0.113.7/32", KeyName="mine")
    region.update(ConsulServers=5, InstanceCount=3, PublicPort=9090)
    assert not [kind for kind, found in region.left().items() if not found]
    region.delete()
    assert {kind: found for kind, found in region.left().items() if found} == {}
