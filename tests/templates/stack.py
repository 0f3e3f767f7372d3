"""The template's stack in moto's CloudFormation, accessed through boto3."""

from __future__ import annotations

import base64
import bz2
import re
from collections.abc import Mapping
from typing import Any

import boto3

from ecsconsul.config.lab import Lab
from ecsconsul.deploy.template import stack_template

REGION = "eu-central-1"
STACK = "blue-lab"
AMI = "ami-0123456789abcdef0"
LAB, CLUSTER = "blue", "blue-cluster"
TEXT = stack_template()


class Stack:
    """The template's stack in moto, with the template's own resources unless another text is given."""

    def __init__(self, text: str = TEXT) -> None:
        self.text = text
        self.cloudformation = boto3.client("cloudformation", region_name=REGION)
        self.ec2 = boto3.client("ec2", region_name=REGION)
        self.autoscaling = boto3.client("autoscaling", region_name=REGION)
        self.iam = boto3.client("iam", region_name=REGION)
        self.logs = boto3.client("logs", region_name=REGION)
        self.vpc = self.ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        self.subnets = sorted(subnet["SubnetId"] for subnet in self.ec2.describe_subnets()["Subnets"])
        self.parameters: dict[str, str] = {}

    def create(self, **parameters: object) -> None:
        network = {"VpcId": self.vpc, "SubnetIds": ",".join(self.subnets[:2])}
        names = {"LabName": LAB, "EcsClusterName": CLUSTER, "ConsulImage": Lab().consul_image}
        names |= {"InstanceAmi": AMI, "ServerAmi": AMI}
        self.parameters = {**network, **names, **_strings(parameters)}
        self.cloudformation.create_stack(TemplateBody=self.text, **self._request())

    def update(self, **parameters: object) -> None:
        self.parameters.update(_strings(parameters))
        self.cloudformation.update_stack(UsePreviousTemplate=True, **self._request())

    def delete(self) -> None:
        self.cloudformation.delete_stack(StackName=STACK)

    def _request(self) -> dict[str, Any]:
        pairs = [{"ParameterKey": key, "ParameterValue": value} for key, value in self.parameters.items()]
        return {"StackName": STACK, "Parameters": pairs, "Capabilities": ["CAPABILITY_IAM"]}

    @property
    def status(self) -> str:
        stacks = self.cloudformation.describe_stacks(StackName=STACK)["Stacks"]
        return str(stacks[0]["StackStatus"])

    @property
    def outputs(self) -> dict[str, str]:
        stack = self.cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]
        return {output["OutputKey"]: output.get("OutputValue", "") for output in stack["Outputs"]}

    def running(self) -> list[dict[str, Any]]:
        """The running instances, in launch order."""
        filters = [{"Name": "instance-state-name", "Values": ["running"]}]
        reservations = self.ec2.describe_instances(Filters=filters)["Reservations"]
        return [instance for reservation in reservations for instance in reservation["Instances"]]

    def roles(self) -> list[str]:
        return [tags_of(instance)["ecsconsul:role"] for instance in self.running()]

    def group_sizes(self) -> dict[str, tuple[int, int, int, int]]:
        """Each group's minimum, maximum, desired capacity and number of instances, by output name."""
        groups = {
            group["AutoScalingGroupName"]: (
                group["MinSize"],
                group["MaxSize"],
                group["DesiredCapacity"],
                len(group["Instances"]),
            )
            for group in self.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]
        }
        return {name: groups[self.outputs[name]] for name in ("ConsulServer", "ConsulPeers", "EcsInstances")}

    def launch_data(self, role: str) -> dict[str, Any]:
        """The data of a role's launch template."""
        versions = self.ec2.describe_launch_template_versions(Versions=["$Latest"])["LaunchTemplateVersions"]
        (found,) = [entry for entry in versions if role in str(entry["LaunchTemplateData"])]
        return dict(found["LaunchTemplateData"])

    def ingress(self, output: str) -> set[tuple[str, int, int, str]]:
        """The rules of a security group: protocol, first port, last port, and CIDR range or group."""
        group = self.ec2.describe_security_groups(GroupIds=[self.outputs[output]])["SecurityGroups"][0]
        return {
            (rule["IpProtocol"], rule["FromPort"], rule["ToPort"], source)
            for rule in group["IpPermissions"]
            for source in _sources(rule)
        }

    def left(self) -> dict[str, Any]:
        """The existing resources of every kind that the template creates."""
        groups = self.ec2.describe_security_groups()["SecurityGroups"]
        return {
            "stacks": self.cloudformation.describe_stacks()["Stacks"],
            "instances": self.running(),
            "groups": self.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"],
            "launch templates": self.ec2.describe_launch_templates()["LaunchTemplates"],
            "volumes": self.ec2.describe_volumes()["Volumes"],
            "roles": self.iam.list_roles()["Roles"],
            "profiles": self.iam.list_instance_profiles()["InstanceProfiles"],
            "log groups": self.logs.describe_log_groups()["logGroups"],
            "security groups": [group for group in groups if group["GroupName"] != "default"],
        }

    def user_data(self, role: str) -> str:
        """A role's boot script, with the parameters filled in."""
        return base64.b64decode(self.launch_data(role)["UserData"]).decode()


def script_of(user_data: str) -> str:
    """The script that user data run, with its parameters filled in."""
    return user_data.partition("unpack() (")[0] + unpacked(user_data)


def unpacked(user_data: str) -> str:
    """The scripts in user data, one after the other."""
    packed = re.findall(r"^unpack <<'END'\n(.*)\nEND$", user_data, re.MULTILINE)
    return "".join(bz2.decompress(base64.b85decode(text)).decode() for text in packed)


def _strings(parameters: Mapping[str, object]) -> dict[str, str]:
    return {key: str(value) for key, value in parameters.items()}


def tags_of(resource: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in resource["Tags"]}


def _sources(rule: Mapping[str, Any]) -> list[str]:
    ranges = [entry["CidrIp"] for entry in rule["IpRanges"]]
    ranges6 = [entry["CidrIpv6"] for entry in rule.get("Ipv6Ranges", [])]
    return ranges + ranges6 + [pair["GroupId"] for pair in rule["UserIdGroupPairs"]]
