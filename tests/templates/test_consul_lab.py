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

from ecsconsul.deploy.template import part_names, stack_template
from ecsconsul.paths import templates_dir
from ecsconsul.targets.aws.permissions import policy
from tests.iam_evaluator import Request, is_allowed
from tests.require import require
from tests.templates.stack import CLUSTER, LAB, REGION, TEXT, Stack, script_of, tags_of

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
# and one that a condition limits to the lab's namespace
ACTIONS_IN_A_NAMESPACE = {"cloudwatch:PutMetricData"}


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


def _lint(text: str) -> list[str]:
    # I is cfn-lint's informational level, which its command line leaves out by default too
    return [str(match) for match in lint_all(text) if not match.rule.id.startswith("I")]


@pytest.mark.parametrize("parts", [(), *((part,) for part in part_names())])
def test_cfn_lint_finds_nothing(parts: tuple[str, ...]) -> None:
    """Each property of all forms exists in the current resource schemas, and has a value of the right kind."""
    assert _lint(stack_template(parts)) == []


@pytest.mark.parametrize("wrong", ["HealthCheckPaths: /", "Port: many"])
def test_cfn_lint_would_find_a_mistake_in_a_part(wrong: str) -> None:
    text = stack_template(["load-balancer"]).replace(
        "      TargetType: instance\n", f"      TargetType: instance\n      {wrong}\n"
    )
    assert _lint(text) != []


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
    # two metadata requests, five AWS requests, and three waits for Consul; each phase is counted once already, but not
    # the request for a login at ECR
    most = sum(waits.values()) + waits["METADATA"] + 4 * (waits["AWS"] + 30) + 2 * waits["JOIN"] + last_attempts + 30
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
    done = subprocess.run(argv, input=script_of(stack.user_data(role)), capture_output=True, text=True, timeout=30)
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
    assert "/ecsconsul/$LAB/ca" in script_of(stack.user_data(role))
    named = {name for name in document["Parameters"] for word in ("key", "token", "secret") if word in name.lower()}
    # the names of a key pair, of a KMS key, and of a generation of secrets
    assert named == {"KeyName", "LogKmsKey", "SecretsGeneration"}


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


@pytest.mark.parametrize("servers", ["3", "5"])
def test_update_starts_a_new_instance_before_the_old_one_leaves(document: Mapping[str, Any], servers: str) -> None:
    """CloudFormation launches it first if the group must keep as many in service as it has, and may have one more.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-attribute-updatepolicy.html
    """
    values = {"ConsulServers": servers, "InstanceCount": "2", "InstanceMax": "2"}
    for name, body in _resources(document, "AWS::AutoScaling::AutoScalingGroup").items():
        rolling = _value(body["UpdatePolicy"]["AutoScalingRollingUpdate"], document, values)
        desired, most = (
            int(_value(body["Properties"][key], document, values)) for key in ("DesiredCapacity", "MaxSize")
        )
        assert (int(rolling["MinInstancesInService"]), most) == (desired, desired + 1), name


def test_update_leaves_a_number_that_follows_the_tasks_as_it_is(document: Mapping[str, Any]) -> None:
    """CloudFormation would set a desired capacity with each update."""
    group = document["Resources"]["EcsInstances"]
    values = {"InstanceCount": "2", "InstanceMax": "4"}
    sizes = [_value(group["Properties"][key], document, values) for key in ("MinSize", "MaxSize", "DesiredCapacity")]
    assert sizes == ["2", "4", None]
    rolling = _value(group["UpdatePolicy"]["AutoScalingRollingUpdate"], document, values)
    # CloudFormation demands that it is less than the maximum
    assert rolling["MinInstancesInService"] == "2"


def _value(given: Any, document: Mapping[str, Any], parameters: Mapping[str, str]) -> Any:
    """A part of the template with these parameters; None for no value."""
    if isinstance(given, list):
        return [_value(one, document, parameters) for one in given]
    if not isinstance(given, dict):
        return given
    if "Ref" in given:
        return None if given["Ref"] == "AWS::NoValue" else parameters[given["Ref"]]
    if "Fn::FindInMap" in given:
        name, key, field = _value(given["Fn::FindInMap"], document, parameters)
        return document["Mappings"][name][key][field]
    if "Fn::If" in given:
        condition, yes, no = given["Fn::If"]
        return _value(
            yes if _holds(document["Conditions"][condition], document, parameters) else no, document, parameters
        )
    return {key: _value(one, document, parameters) for key, one in given.items()}


def _holds(condition: Mapping[str, Any], document: Mapping[str, Any], parameters: Mapping[str, str]) -> bool:
    if "Fn::Not" in condition:
        return not _holds(condition["Fn::Not"][0], document, parameters)
    first, second = _value(condition["Fn::Equals"], document, parameters)
    return bool(first == second)


def test_every_group_lets_its_instances_leave_in_order(document: Mapping[str, Any]) -> None:
    for name, body in _resources(document, "AWS::AutoScaling::AutoScalingGroup").items():
        (hook,) = body["Properties"]["LifecycleHookSpecificationList"]
        assert hook["LifecycleTransition"] == "autoscaling:EC2_INSTANCE_TERMINATING", name
        # an instance that can't complete it goes all the same
        assert (hook["DefaultResult"], hook["HeartbeatTimeout"]) == ("CONTINUE", 300), name
        assert f"--lifecycle-hook-name {hook['LifecycleHookName']} " in (templates_dir() / "boot.sh").read_text()


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
    found = {action for statement in on_all for action in _actions(statement)}
    assert found == ACTIONS_WITHOUT_RESOURCE | ACTIONS_IN_A_NAMESPACE
    (metrics,) = [statement for statement in on_all if set(_actions(statement)) & ACTIONS_IN_A_NAMESPACE]
    assert metrics["Condition"]["StringEquals"]["cloudwatch:namespace"] == "ecsconsul"


def test_other_actions_are_limited_to_the_lab(document: Mapping[str, Any]) -> None:
    """By the resource's name or by its tag."""
    for statement in _statements(document):
        if statement["Resource"] == "*":
            continue
        tag = statement.get("Condition", {}).get("StringEquals", {}).get("aws:ResourceTag/ecsconsul:lab")
        if tag == {"Ref": "LabName"}:
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
    # an update starts the new instance before the old one leaves
    assert stack.group_sizes() == {
        "ConsulServer": (1, 2, 1, 1),
        "ConsulPeers": (more, more and more + 1, more, more),
        "EcsInstances": (2, 3, 2, 2),
    }


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


def test_servers_and_ecs_instances_have_amis_and_types_of_their_own(stack: Stack) -> None:
    stack.create(
        ConsulServers=3,
        ServerAmi="ami-0a",
        ServerInstanceType="t4g.small",
        InstanceAmi="ami-0b",
        InstanceType="m5.large",
    )
    kinds = {(tags_of(one)["ecsconsul:role"], one["ImageId"], one["InstanceType"]) for one in stack.running()}
    assert kinds == {("consul-server", "ami-0a", "t4g.small"), ("ecs-instance", "ami-0b", "m5.large")}


def test_amis_are_no_ssm_parameters(document: Mapping[str, Any]) -> None:
    """Each update would read them again, and replace the instances if AWS has published another one."""
    types = {name: body["Type"] for name, body in document["Parameters"].items() if name.endswith("Ami")}
    assert types == dict.fromkeys(("InstanceAmi", "ServerAmi"), "AWS::EC2::Image::Id")
    assert "AWS::SSM" not in TEXT


def test_only_the_portal_is_open_to_the_internet(stack: Stack) -> None:
    stack.create(PublicPort=9090)
    rules = stack.ingress("ConsulSecurityGroup") | stack.ingress("EcsSecurityGroup")
    world = {rule for rule in rules if "/" in rule[3]}
    assert world == {("tcp", port, port, "0.0.0.0/0") for port in (80, 443, 9090)}


@pytest.mark.parametrize(
    ("given", "source"), [({"VpcCidr": "10.0.0.0/16"}, "10.0.0.0/16"), ({}, "IngressSecurityGroup")]
)
def test_only_the_vpc_or_a_load_balancer_reaches_instances_that_are_not_public(
    stack: Stack, given: dict[str, str], source: str
) -> None:
    stack.create(PublicPort=0, PortalPort=80, SshCidr="203.0.113.7/32", **given)
    lab = stack.outputs["LabSecurityGroup"]
    source = stack.outputs.get(source, source)
    assert stack.ingress("EcsSecurityGroup") == {("tcp", 80, 80, source), ("tcp", 1024, 65535, lab)}


def test_nobody_is_in_the_group_of_load_balancers_by_default(stack: Stack) -> None:
    stack.create()
    assert stack.ingress("IngressSecurityGroup") == set()
    for role in ("consul-server", "ecs-instance"):
        assert stack.outputs["IngressSecurityGroup"] not in stack.launch_data(role)["SecurityGroupIds"]


@pytest.mark.parametrize("form", ["public", "internal"])
def test_load_balancer_forwards_https_and_redirects_http(region: Stack, form: str) -> None:
    balanced = Stack(stack_template(["load-balancer"]))
    internal = {"LoadBalancerScheme": "internal", "LoadBalancerCidr": "10.0.0.0/16", "HealthCheckPath": "/health"}
    certificate = boto3.client("acm", region_name=REGION).request_certificate(DomainName="lab.example")
    balanced.create(
        PublicPort=0,
        CertificateArn=certificate["CertificateArn"],
        LoadBalancerSubnetIds=",".join(balanced.subnets[:2]),
        **(internal if form == "internal" else {}),
    )
    elb = boto3.client("elbv2", region_name=REGION)
    (made,) = elb.describe_load_balancers()["LoadBalancers"]
    assert made["DNSName"] == balanced.outputs["LoadBalancerDns"]
    assert made["Scheme"] == ("internal" if form == "internal" else "internet-facing")
    own, ingress = made["SecurityGroups"]
    assert ingress == balanced.outputs["IngressSecurityGroup"]
    groups = balanced.ec2.describe_security_groups(GroupIds=[own])["SecurityGroups"]
    open_to = {(rule["FromPort"], one["CidrIp"]) for rule in groups[0]["IpPermissions"] for one in rule["IpRanges"]}
    clients = "10.0.0.0/16" if form == "internal" else "0.0.0.0/0"
    assert open_to == {(80, clients), (443, clients)}
    listeners = elb.describe_listeners(LoadBalancerArn=made["LoadBalancerArn"])["Listeners"]
    actions = {one["Port"]: one["DefaultActions"][0] for one in listeners}
    assert actions[443]["TargetGroupArn"] == balanced.outputs["PortalTargetGroup"]
    redirect = actions[80]["RedirectConfig"]
    assert (redirect["Protocol"], redirect["Port"], redirect["StatusCode"]) == ("HTTPS", "443", "HTTP_301")
    (group,) = elb.describe_target_groups()["TargetGroups"]
    assert (group["TargetType"], group["HealthCheckPath"]) == ("instance", "/health" if form == "internal" else "/")
    balanced.delete()
    assert elb.describe_load_balancers()["LoadBalancers"] == []
    # moto keeps a stack's target groups
    elb.delete_target_group(TargetGroupArn=group["TargetGroupArn"])


def test_resources_of_the_load_balancer_have_the_tag_and_no_names() -> None:
    """moto forgets their tags, and a name would keep CloudFormation from replacing one."""
    template, _ = decode.decode_str(stack_template(["load-balancer"]))
    for name, body in template["Resources"].items():
        if body["Type"].startswith("AWS::ElasticLoadBalancingV2::"):
            assert "ecsconsul:lab" in tags_of(body["Properties"]), name
            assert "Name" not in body["Properties"], name


@pytest.mark.parametrize("bridge", ["172.17.0.1/16", "10.255.255.1/24"])
def test_ecs_instances_know_their_bridge(stack: Stack, bridge: str) -> None:
    stack.create(DockerBridge=bridge)
    assert f"DOCKER_BRIDGE='{bridge}'" in stack.user_data("ecs-instance").splitlines()
    assert "DOCKER_BRIDGE" not in stack.user_data("consul-server").partition("set -Eeuo")[0]


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
            tags = {"aws:ResourceTag/ecsconsul:lab": LAB, "aws:TagKeys": ["ecsconsul:boot-failure"]}
            context = {"aws:RequestedRegion": REGION, "cloudwatch:namespace": "ecsconsul", **tags}
            request = Request(action, resource, context)
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
    assert not [action for action in actions if action.startswith("ecs:")]


def test_consul_servers_pull_their_own_image_only(stack: Stack) -> None:
    stack.create()
    for repository, expected in (("consul", True), ("weather", False), ("consul/x", False)):
        resource = f"arn:aws:ecr:{REGION}:123456789012:repository/{LAB}/{repository}"
        for action in ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"):
            assert is_allowed(Request(action, resource), [_policy(stack, "ServerRole")]) == expected


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
    stack.create(InstanceCount=2, InstanceMax=2)
    for count in (3, 1):
        stack.update(InstanceCount=count, InstanceMax=count)
        assert stack.status == "UPDATE_COMPLETE"
        assert stack.roles() == ["consul-server"] + ["ecs-instance"] * count
        assert stack.group_sizes()["EcsInstances"] == (count, count + 1, count, count)


def test_ecs_instances_that_follow_the_tasks_start_with_the_fewest(stack: Stack) -> None:
    stack.create(InstanceCount=1, InstanceMax=4)
    assert stack.group_sizes()["EcsInstances"] == (1, 4, 1, 1)


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
