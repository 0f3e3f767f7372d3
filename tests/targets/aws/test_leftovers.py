"""Finding what is left of a lab in an account, and nothing of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from ecsconsul.targets.aws.leftovers import leftovers
from ecsconsul.targets.aws.ssm_parameter import LabParameter
from tests.targets.aws.test_preflight import make_stack

Account = Callable[[str], Any]
EC2_TAGS = [{"Key": "ecsconsul:lab", "Value": "blue"}]
TAGS = [{"key": "ecsconsul:lab", "value": "blue"}]
FAMILY = {"family": "weather", "containerDefinitions": [{"name": "w", "image": "i", "memory": 8}]}


def left(account: Account) -> list[str]:
    return leftovers(account, "blue", ["weather", "portal"])


def make_provider(account: Account, name: str, **more: Any) -> None:
    group = {"autoScalingGroupArn": "arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:1:name/g"}
    account("ecs").create_capacity_provider(name=name, autoScalingGroupProvider=group, **more)


def test_empty_account_has_no_leftovers(account: Account) -> None:
    assert left(account) == []


def test_every_kind_of_resource_is_found(account: Account) -> None:
    make_stack(account, "blue", InstanceCount="2")
    account("ecs").create_cluster(clusterName="blue", tags=TAGS)
    make_provider(account, "lab-blue", tags=TAGS)
    account("ecs").register_task_definition(**FAMILY, tags=TAGS)
    account("ecr").create_repository(repositoryName="blue/weather", tags=EC2_TAGS)
    account("logs").create_log_group(logGroupName="/ecsconsul/blue")
    for leaf in ("gossip-key", "tasks/weather"):
        LabParameter(account("ssm"), "blue", leaf).make("a value")
    ec2 = account("ec2")
    ami = ec2.describe_images()["Images"][0]["ImageId"]
    specification = [{"ResourceType": "instance", "Tags": EC2_TAGS}]
    instance = ec2.run_instances(ImageId=ami, MinCount=1, MaxCount=1, TagSpecifications=specification)["Instances"][0]
    specification = [{"ResourceType": "volume", "Tags": EC2_TAGS}]
    volume = ec2.create_volume(Size=1, AvailabilityZone="us-east-1a", TagSpecifications=specification)
    specification = [{"ResourceType": "security-group", "Tags": EC2_TAGS}]
    group = ec2.create_security_group(GroupName="g", Description="d", TagSpecifications=specification)
    specification = [{"ResourceType": "launch-template", "Tags": EC2_TAGS}]
    elb = account("elbv2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    subnets = [one["SubnetId"] for one in ec2.describe_subnets()["Subnets"][:2]]
    elb.create_load_balancer(Name="lb", Subnets=subnets, Tags=EC2_TAGS)
    elb.create_target_group(Name="tg", Protocol="HTTP", Port=80, VpcId=vpc, Tags=EC2_TAGS)
    template = ec2.create_launch_template(
        LaunchTemplateName="t", LaunchTemplateData={}, TagSpecifications=specification
    )["LaunchTemplate"]
    assert sorted(left(account)) == sorted(
        [
            "stack blue: CREATE_COMPLETE",
            "ECS cluster blue: ACTIVE",
            "capacity provider lab-blue",
            "task definition weather:1: ACTIVE",
            "ECR repository blue/weather",
            "log group /ecsconsul/blue",
            "SSM parameter /ecsconsul/blue/gossip-key",
            "SSM parameter /ecsconsul/blue/tasks/weather",
            f"instance {instance['InstanceId']}: {instance['State']['Name'].replace('pending', 'running')}",
            f"volume {volume['VolumeId']}: available",
            f"security group {group['GroupId']}",
            f"launch template {template['LaunchTemplateId']}",
            "load balancer lb",
            "target group tg",
        ]
    )


def test_deregistered_revision_is_a_leftover_until_deleted(account: Account) -> None:
    ecs = account("ecs")
    arn = ecs.register_task_definition(**FAMILY, tags=TAGS)["taskDefinition"]["taskDefinitionArn"]
    ecs.deregister_task_definition(taskDefinition=arn)
    assert left(account) == ["task definition weather:1: INACTIVE"]
    ecs.delete_task_definitions(taskDefinitions=[arn])
    assert left(account) == []


def test_untagged_resources_are_not_leftovers(account: Account) -> None:
    account("ecs").create_cluster(clusterName="blue")
    make_provider(account, "lab-blue")
    account("ecs").register_task_definition(**FAMILY)
    account("ecr").create_repository(repositoryName="blue/weather")
    account("ecr").create_repository(repositoryName="bluest/weather", tags=EC2_TAGS)
    account("logs").create_log_group(logGroupName="/ecsconsul/blue-2")
    account("ssm").put_parameter(Name="/ecsconsul/blue/gossip-key", Type="String", Value="theirs")
    template = "Resources:\n  T:\n    Type: AWS::SNS::Topic\n"
    account("cloudformation").create_stack(StackName="blue", TemplateBody=template)
    ec2 = account("ec2")
    ec2.create_volume(Size=1, AvailabilityZone="us-east-1a")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    for number in range(25):
        account("elbv2").create_target_group(Name=f"theirs-{number}", Protocol="HTTP", Port=80, VpcId=vpc)
    assert left(account) == []


def test_tagging_api_finds_other_services(account: Account) -> None:
    arn = account("sqs").create_queue(QueueName="q", tags={"ecsconsul:lab": "blue"})["QueueUrl"]
    try:
        assert left(account) == ["arn:aws:sqs:us-east-1:123456789012:q"]
    finally:
        account("sqs").delete_queue(QueueUrl=arn)


def test_denied_search_is_a_line_and_an_unsupported_one_is_not(account: Account) -> None:
    class FailingEcr:
        def __init__(self, code: str) -> None:
            self._code = code

        def get_paginator(self, name: str) -> Any:
            raise ClientError({"Error": {"Code": self._code, "Message": "no"}}, name)

    for code, lines in (("AccessDeniedException", 1), ("UnknownOperationException", 0)):
        failing = FailingEcr(code)
        found = leftovers(lambda name: failing if name == "ecr" else account(name), "blue", [])  # noqa: B023
        assert len(found) == lines
        assert all("describe_repositories" in line for line in found)
