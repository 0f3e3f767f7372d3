"""What the region reads from moto, and the fixes that make moto behave like AWS."""

from __future__ import annotations

import json
from typing import Any

import pytest
from werkzeug.test import Client

from ecsconsul.region.instances import new_instance_id
from ecsconsul.region.moto import Moto
from tests.region.api_region import ApiRegion


def test_cluster_is_found_until_it_is_deleted(moto: Moto, api: ApiRegion) -> None:
    ecs = api.client("ecs")
    assert not moto.find("moto-lab", "")[0]
    ecs.create_cluster(clusterName="moto-lab")
    assert moto.find("moto-lab", "")[0]
    ecs.delete_cluster(cluster="moto-lab")
    assert not moto.find("moto-lab", "")[0]


def test_task_definition_is_found_by_family_revision_or_arn(moto: Moto, api: ApiRegion) -> None:
    ecs = api.client("ecs")
    app = {"name": "app", "image": "x", "memory": 8}
    first, second = (
        ecs.register_task_definition(family="moto-fam", containerDefinitions=[app])["taskDefinition"] for _ in "12"
    )
    for name, revision in (("moto-fam", 2), ("moto-fam:1", 1), (first["taskDefinitionArn"], 1)):
        found = moto.find("any", name)[1]
        assert found is not None
        assert (found["family"], found["revision"], found["status"]) == ("moto-fam", revision, "ACTIVE")
        assert found["containerDefinitions"][0]["name"] == "app"
    assert moto.find("any", "moto-fam:3")[1] is None
    assert moto.find("any", "nothing")[1] is None
    ecs.deregister_task_definition(taskDefinition=second["taskDefinitionArn"])
    gone = moto.find("any", second["taskDefinitionArn"])[1]
    assert gone is None or gone["status"] == "INACTIVE"


def test_task_definition_is_described_as_moto_itself_describes_it(moto: Moto, api: ApiRegion) -> None:
    """The region answers from moto's state, which takes a tenth of the time."""
    ecs = api.client("ecs")
    registered = ecs.register_task_definition(
        family="moto-full",
        taskRoleArn="arn:aws:iam::123456789012:role/task",
        executionRoleArn="arn:aws:iam::123456789012:role/execution",
        networkMode="host",
        containerDefinitions=[{"name": "app", "image": "x", "memory": 8, "environment": [{"name": "A", "value": "1"}]}],
        volumes=[{"name": "docker", "host": {"sourcePath": "/var/run/docker.sock"}}],
        placementConstraints=[{"type": "memberOf", "expression": "attribute:ecs.os-type == linux"}],
        requiresCompatibilities=["EC2"],
        cpu="256",
        memory="512",
        pidMode="host",
        tags=[{"key": "ecsconsul:lab", "value": "moto"}],
    )["taskDefinition"]
    ecs.tag_resource(resourceArn=registered["taskDefinitionArn"], tags=[{"key": "later", "value": "yes"}])
    described = ecs.describe_task_definition(taskDefinition="moto-full", include=["TAGS"])
    own = _described_by_moto(moto, "moto-full")
    # moto doesn't know when a task definition was registered, and by whom
    assert {described["taskDefinition"].pop(name) is None for name in ("registeredAt", "registeredBy")} == {False}
    assert described["taskDefinition"] == own["taskDefinition"]
    assert described["tags"] == own["tags"]
    assert "tags" not in ecs.describe_task_definition(taskDefinition="moto-full")
    with pytest.raises(ecs.exceptions.ClientException, match="Unable to describe task definition"):
        ecs.describe_task_definition(taskDefinition="moto-full:7")


def _described_by_moto(moto: Moto, family: str) -> dict[str, Any]:
    """moto's own answer to DescribeTaskDefinition."""
    headers = {
        "Authorization": "AWS4-HMAC-SHA256 Credential=a/20200101/us-east-1/ecs/aws4_request",
        "X-Amz-Target": "AmazonEC2ContainerServiceV20141113.DescribeTaskDefinition",
    }
    body = json.dumps({"taskDefinition": family, "include": ["TAGS"]})
    with moto.lock:
        answer = Client(moto.application).post(
            "/", data=body, content_type="application/x-amz-json-1.1", headers=headers
        )
    found: dict[str, Any] = json.loads(answer.data)
    return found


def test_instance_has_our_id_and_the_resources_of_its_type(moto: Moto, api: ApiRegion) -> None:
    ec2 = api.client("ec2")
    before = api.instances_changed
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "ecsconsul:role", "Value": "ecs-instance"}]}]
    (launched,) = ec2.run_instances(
        ImageId="ami-12345678", MinCount=1, MaxCount=1, InstanceType="t3.medium", TagSpecifications=tags
    )["Instances"]
    assert api.instances_changed > before, "the region checks after each request that may launch one"
    assert len(launched["InstanceId"]) == len(new_instance_id())
    (found,) = [one for one in moto.instances() if one.id == launched["InstanceId"]]
    assert (found.cpu, found.tags) == (2048, {"ecsconsul:role": "ecs-instance"})
    assert 3500 < found.memory < 4096
    moto.set_address(found.id, "127.9.9.9")
    (shown,) = ec2.describe_instances(InstanceIds=[found.id])["Reservations"][0]["Instances"]
    assert shown["PrivateIpAddress"] == "127.9.9.9"
    ec2.terminate_instances(InstanceIds=[found.id])
    assert found.id not in [one.id for one in moto.instances()]
    moto.set_address(found.id, "127.9.9.9")


def test_default_network_is_found(moto: Moto, api: ApiRegion) -> None:
    vpc, subnets = moto.default_network()
    described = api.client("ec2").describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
    assert sorted(subnets) == sorted(subnet["SubnetId"] for subnet in described)
    assert subnets


def test_stack_update_changes_a_group_in_place(api: ApiRegion, moto: Moto) -> None:
    """Unpatched, moto replaces the group and all its instances."""
    _, (subnet, *_) = moto.default_network()

    def template(size: int) -> str:
        launch = {"LaunchTemplateId": {"Ref": "Launch"}, "Version": {"Fn::GetAtt": ["Launch", "LatestVersionNumber"]}}
        data = {"ImageId": "ami-12345678", "InstanceType": "t3.micro"}
        group = {"MinSize": "0", "MaxSize": "5", "DesiredCapacity": str(size), "VPCZoneIdentifier": [subnet]}
        group |= {"AutoScalingGroupName": "moto-group"}
        resources = {
            "Launch": {"Type": "AWS::EC2::LaunchTemplate", "Properties": {"LaunchTemplateData": data}},
            "Group": {
                "Type": "AWS::AutoScaling::AutoScalingGroup",
                "Properties": {**group, "LaunchTemplate": launch},
            },
        }
        return json.dumps({"Resources": resources})

    cloudformation, scaling = api.client("cloudformation"), api.client("autoscaling")

    def instances() -> list[str]:
        found = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=["moto-group"])
        groups = found["AutoScalingGroups"]
        return sorted(one["InstanceId"] for group in groups for one in group["Instances"])

    cloudformation.create_stack(StackName="moto-stack", TemplateBody=template(2))
    before = instances()
    assert len(before) == 2
    cloudformation.update_stack(StackName="moto-stack", TemplateBody=template(3))
    assert set(before) < set(instances())
    cloudformation.update_stack(StackName="moto-stack", TemplateBody=template(1))
    assert len(instances()) == 1
    cloudformation.delete_stack(StackName="moto-stack")
    assert instances() == []
