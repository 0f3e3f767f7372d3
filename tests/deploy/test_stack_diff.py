"""What an update of the shipped template does, and of small ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from ecsconsul.config.aws_settings import AwsSpec
from ecsconsul.config.lab import ConsulSpec, Lab
from ecsconsul.deploy.stack_diff import StackForm, diff
from ecsconsul.deploy.stack_parameters import lab_parameters, resolved_parameters
from ecsconsul.deploy.step import PropertyChange, ResourceChange
from ecsconsul.deploy.template import stack_template
from ecsconsul.deploy.template_reader import read_template

TEXT = stack_template()
TEMPLATE = read_template(TEXT)
NETWORK = {"VpcId": "vpc-1", "SubnetIds": "subnet-1,subnet-2"}
AMIS = {"InstanceAmi": "ami-1", "ServerAmi": "ami-1"}
# three servers and two ECS instances
SIZES = {"ConsulServer": 1, "ConsulPeers": 2, "EcsInstances": 2}
GROUPS = ["ConsulServer", "ConsulPeers", "EcsInstances"]


def parameters(lab: Lab, **more: str) -> dict[str, str]:
    return {**lab_parameters(lab), **NETWORK, **AMIS, **more}


LAB = Lab(consul=ConsulSpec(servers=3))
OLD = StackForm(TEMPLATE, parameters(LAB))


def update(lab: Lab = LAB, sizes: Mapping[str, int] = SIZES, **more: str) -> tuple[ResourceChange, ...]:
    return diff(OLD, StackForm(TEMPLATE, parameters(lab, **more)), sizes)


def replaced(changes: tuple[ResourceChange, ...]) -> list[tuple[str, str, int]]:
    """Those whose instances are replaced, in order."""
    return [(one.resource, one.action, one.instances) for one in changes if one.instances]


ALL = [("ConsulServer", "roll", 1), ("ConsulPeers", "roll", 2), ("EcsInstances", "roll", 2)]


def test_nothing_changes_without_a_change() -> None:
    assert update() == ()


def test_more_instances_replace_nobody() -> None:
    """Not even when AWS has another AMI meanwhile, because the AMI is the stack's."""
    (change,) = update(Lab(consul=ConsulSpec(servers=3), instances=3))
    assert (change.resource, change.action, change.instances) == ("EcsInstances", "modify", 0)
    assert change.properties[0] == PropertyChange("DesiredCapacity", "2", "3")


@pytest.mark.parametrize("servers", [1, 5])
def test_another_number_of_servers_replaces_nobody(servers: int) -> None:
    changes = update(Lab(consul=ConsulSpec(servers=servers)))
    assert [(one.resource, one.action) for one in changes] == [("ConsulPeers", "modify")]


def test_another_version_of_consul_goes_server_by_server_then_agents() -> None:
    changes = update(Lab(consul=ConsulSpec(servers=3, version="1.21.0")))
    assert replaced(changes) == ALL
    assert {one.batch for one in changes if one.action == "roll"} == {1}
    templates = {one.resource: one.properties for one in changes if one.action == "modify"}
    # the text itself is never shown
    changed = (PropertyChange("LaunchTemplateData.UserData"),)
    assert templates == {"ConsulServerTemplate": changed, "EcsInstanceTemplate": changed}


def test_another_ami_says_both() -> None:
    changes = update(InstanceAmi="ami-2")
    assert replaced(changes) == [("EcsInstances", "roll", 2)]
    (template, group) = changes
    assert template.properties == (PropertyChange("LaunchTemplateData.ImageId", "ami-1", "ami-2"),)
    assert (group.causes, group.properties) == (("EcsInstanceTemplate",), (PropertyChange("LaunchTemplate.Version"),))


def test_another_type_of_the_servers_leaves_ecs_instances_alone() -> None:
    spec = AwsSpec(server_instance_type="t3.medium")
    assert replaced(update(Lab(consul=ConsulSpec(servers=3), aws=spec))) == ALL[:2]


def test_group_without_instances_has_none_to_replace() -> None:
    assert replaced(update(sizes={"ConsulServer": 1}, ServerAmi="ami-2")) == ALL[:1]
    assert replaced(update(sizes={}, ServerAmi="ami-2")) == []


def test_another_vpc_replaces_security_groups_and_what_refers_to_them() -> None:
    changes = {one.resource: one for one in update(VpcId="vpc-2")}
    assert changes["LabSecurityGroup"].action == "replace"
    assert changes["LabSecurityGroup"].properties == (PropertyChange("VpcId", "vpc-1", "vpc-2"),)
    assert changes["EcsInstanceTemplate"].properties == (PropertyChange("LaunchTemplateData.SecurityGroupIds"),)
    assert replaced(tuple(changes.values())) == ALL


def test_other_subnets_replace_instances() -> None:
    assert replaced(update(SubnetIds="subnet-1")) == ALL


def test_conditions_are_resolved() -> None:
    (change,) = update(SshCidr="203.0.113.7/32")
    assert (change.resource, change.action) == ("SshSecurityGroup", "modify")


def test_subnets_as_an_emulator_describes_them_are_no_change() -> None:
    old = StackForm(TEMPLATE, {**OLD.parameters, "SubnetIds": "['subnet-1', 'subnet-2']"})
    assert diff(old, OLD, SIZES) == ()


def of_earlier_version() -> str:
    """The template when an SSM parameter gave the AMI, and all instances had one type."""
    text = re.sub(r"!Ref (Instance|Server)Ami", "!Ref EcsAmi", TEXT)
    text = text.replace("!Ref ServerInstanceType", "!Ref InstanceType").replace("ServerInstanceType:", "Unused1:")
    text = text.replace("  ServerAmi:", "  Unused2:")
    return re.sub(
        r"  InstanceAmi:\n.*\n", "  EcsAmi:\n    Type: AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>\n", text
    )


# as CloudFormation describes it: https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_Parameter.html
SSM_PARAMETER = {
    "ParameterKey": "EcsAmi",
    "ParameterValue": "/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id",
    "ResolvedValue": "ami-1",
}


def test_moving_over_from_an_earlier_version_replaces_nobody() -> None:
    described = [{"ParameterKey": k, "ParameterValue": v} for k, v in OLD.parameters.items() if not k.endswith("Ami")]
    old = StackForm(
        read_template(of_earlier_version()), resolved_parameters({"Parameters": [*described, SSM_PARAMETER]})
    )
    assert diff(old, OLD, SIZES) == ()
    assert replaced(diff(old, StackForm(TEMPLATE, {**OLD.parameters, "ServerAmi": "ami-2"}), SIZES)) == ALL[:2]


# --- small templates


def form(text: str, **given: str) -> StackForm:
    return StackForm(read_template(f"Resources:\n{text}"), given)


def group(policy: str, version: str = "1") -> StackForm:
    return form(
        "  G:\n    Type: AWS::AutoScaling::AutoScalingGroup\n"
        f"    UpdatePolicy: {policy}\n    Properties: {{LaunchTemplate: {{Version: {version}}}}}\n"
    )


@pytest.mark.parametrize(
    ("policy", "action", "batch"),
    [
        ("{AutoScalingRollingUpdate: {MaxBatchSize: 2}}", "roll", 2),
        ("{AutoScalingRollingUpdate: {PauseTime: PT1M}}", "roll", 1),
        ("{AutoScalingReplacingUpdate: {WillReplace: true}}", "replace", 0),
        ("{AutoScalingReplacingUpdate: {WillReplace: false}}", "modify", 0),
        ("{}", "modify", 0),
    ],
)
def test_update_policy_decides_what_becomes_of_instances(policy: str, action: str, batch: int) -> None:
    (change,) = diff(group(policy), group(policy, "2"), {"G": 3})
    assert (change.action, change.batch) == (action, batch)
    assert change.instances == (0 if action == "modify" else 3)


def test_added_and_removed_resources_are_named() -> None:
    old = form("  A: {Type: X}\n  G: {Type: 'AWS::AutoScaling::AutoScalingGroup'}\n")
    new = form("  A: {Type: X}\n  B: {Type: Y}\n")
    assert [(one.resource, one.type, one.action, one.instances) for one in diff(old, new, {"G": 2})] == [
        ("B", "Y", "add", 0),
        ("G", "AWS::AutoScaling::AutoScalingGroup", "remove", 2),
    ]


def test_another_type_under_the_same_name_is_a_replacement() -> None:
    assert [one.action for one in diff(form("  A: {Type: X}\n"), form("  A: {Type: Y}\n"), {})] == ["replace"]


def test_policies_and_metadata_are_changes_too() -> None:
    old, new = form("  A: {Type: X, DeletionPolicy: Delete}\n"), form("  A: {Type: X, DeletionPolicy: Retain}\n")
    (change,) = diff(old, new, {})
    assert (change.action, change.properties) == ("modify", (PropertyChange("DeletionPolicy", "Delete", "Retain"),))


def test_attribute_that_stays_is_no_change() -> None:
    """A role that is changed in place keeps its ARN."""

    def role(description: str) -> StackForm:
        return form(
            f"  R: {{Type: 'AWS::IAM::Role', Properties: {{Description: {description}}}}}\n"
            "  P: {Type: X, Properties: {Arn: !GetAtt R.Arn}}\n"
        )

    assert [one.resource for one in diff(role("a"), role("b"), {})] == ["R"]


@pytest.mark.parametrize("text", ["a" * 61, "'a\n\n b'"])
def test_long_values_are_not_shown(text: str) -> None:
    def with_value(value: Any) -> StackForm:
        return form(f"  A: {{Type: X, Properties: {{P: {value}}}}}\n")

    (change,) = diff(with_value("b"), with_value(text), {})
    assert change.properties == (PropertyChange("P"),)
