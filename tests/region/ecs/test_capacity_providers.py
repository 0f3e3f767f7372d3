"""Capacity providers of Auto Scaling groups through boto3, and services that run on them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ecsconsul.region.moto import Moto
from tests.region.api_region import ApiRegion

Until = Callable[..., None]
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def ecs(api: ApiRegion) -> Any:
    return api.client("ecs")


@pytest.fixture(scope="module")
def group_arn(api: ApiRegion, moto: Moto) -> str:
    """An empty Auto Scaling group."""
    scaling, (_, (subnet, *_)) = api.client("autoscaling"), moto.default_network()
    data = {"ImageId": "ami-12345678", "InstanceType": "t3.micro"}
    api.client("ec2").create_launch_template(LaunchTemplateName="providers", LaunchTemplateData=data)
    scaling.create_auto_scaling_group(
        AutoScalingGroupName="providers",
        LaunchTemplate={"LaunchTemplateName": "providers"},
        MinSize=0,
        MaxSize=3,
        VPCZoneIdentifier=subnet,
    )
    (group,) = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=["providers"])["AutoScalingGroups"]
    return str(group["AutoScalingGroupARN"])


@pytest.fixture
def provider(ecs: Any, group_arn: str) -> str:
    name = f"provider{next(_numbers)}"
    ecs.create_capacity_provider(name=name, autoScalingGroupProvider={"autoScalingGroupArn": group_arn})
    return name


@pytest.fixture
def cluster(api: ApiRegion, ecs: Any, provider: str, tmp_path: Path) -> str:
    """A cluster that uses the provider, with an instance."""
    name = f"of-{provider}"
    ecs.create_cluster(clusterName=name)
    ecs.put_cluster_capacity_providers(cluster=name, capacityProviders=[provider], defaultCapacityProviderStrategy=[])
    api.add_instance(tmp_path, name, f"i-{name}")
    return name


@pytest.fixture(scope="module")
def definition(ecs: Any) -> str:
    app = {"name": "app", "image": "steady", "cpu": 100, "memory": 200, "essential": True}
    found = ecs.register_task_definition(family="on-provider", containerDefinitions=[app])
    return str(found["taskDefinition"]["taskDefinitionArn"])


def refused(call: Callable[..., Any], **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response["Error"]
    return f"{error['Code']}: {error['Message']}"


def described(ecs: Any, cluster: str) -> dict[str, Any]:
    (found,) = ecs.describe_services(cluster=cluster, services=["weather"])["services"]
    return dict(found)


def test_provider_is_created_with_awss_defaults_and_updated(ecs: Any, group_arn: str) -> None:
    given = {"autoScalingGroupArn": group_arn, "managedScaling": {"status": "ENABLED", "targetCapacity": 90}}
    tags = [{"key": "ecsconsul:lab", "value": "lab"}]
    request = {"name": "own", "autoScalingGroupProvider": given, "tags": tags}
    created = ecs.create_capacity_provider(**request)["capacityProvider"]
    assert created["capacityProviderArn"] == "arn:aws:ecs:us-east-1:123456789012:capacity-provider/own"
    assert (created["status"], created["updateStatus"], created["tags"]) == ("ACTIVE", "CREATE_COMPLETE", tags)
    assert created["autoScalingGroupProvider"] == {
        "autoScalingGroupArn": group_arn,
        "managedScaling": {
            "status": "ENABLED",
            "targetCapacity": 90,
            "minimumScalingStepSize": 1,
            "maximumScalingStepSize": 10000,
            "instanceWarmupPeriod": 300,
        },
        "managedTerminationProtection": "DISABLED",
        "managedDraining": "ENABLED",
    }
    assert ecs.create_capacity_provider(**request)["capacityProvider"]["name"] == "own", "the same again"
    assert "already exists" in refused(
        ecs.create_capacity_provider, name="own", autoScalingGroupProvider={"autoScalingGroupArn": group_arn}
    )
    change = {"managedScaling": {"status": "DISABLED"}, "managedDraining": "DISABLED"}
    ecs.update_capacity_provider(name="own", autoScalingGroupProvider=change)
    (found,) = ecs.describe_capacity_providers(capacityProviders=["own"], include=["TAGS"])["capacityProviders"]
    provider = found["autoScalingGroupProvider"]
    assert (provider["managedScaling"]["status"], provider["managedScaling"]["targetCapacity"]) == ("DISABLED", 90)
    assert (provider["managedDraining"], found["updateStatus"]) == ("DISABLED", "UPDATE_COMPLETE")
    assert ecs.list_tags_for_resource(resourceArn=found["capacityProviderArn"])["tags"] == found["tags"] == tags


def test_invalid_providers_are_refused(ecs: Any, group_arn: str) -> None:
    group = {"autoScalingGroupArn": group_arn}
    for name in ("aws-own", "Fargate_own", "a b", ""):
        assert "name is invalid" in refused(ecs.create_capacity_provider, name=name, autoScalingGroupProvider=group)
    missing = {"autoScalingGroupArn": group_arn + "-none"}
    assert "group ARN is invalid" in refused(ecs.create_capacity_provider, name="n", autoScalingGroupProvider=missing)
    assert "groups only" in refused(ecs.create_capacity_provider, name="n")
    for call, key in ((ecs.update_capacity_provider, "name"), (ecs.delete_capacity_provider, "capacityProvider")):
        more = {"autoScalingGroupProvider": {}} if key == "name" else {}
        assert "does not exist" in refused(call, **{key: "none"}, **more)


def test_providers_are_described_by_name_and_all_together(ecs: Any, provider: str) -> None:
    found = ecs.describe_capacity_providers(capacityProviders=[provider, "none"])
    assert [one["name"] for one in found["capacityProviders"]] == [provider]
    assert [failure["reason"] for failure in found["failures"]] == ["MISSING"]
    assert "tags" not in found["capacityProviders"][0]
    (first,) = ecs.describe_capacity_providers(maxResults=1)["capacityProviders"]
    everyone = [one["name"] for one in ecs.describe_capacity_providers()["capacityProviders"]]
    assert {provider, first["name"]} <= set(everyone)


def test_provider_is_deleted_after_its_cluster_no_longer_uses_it(ecs: Any, provider: str, cluster: str) -> None:
    (shown,) = ecs.describe_clusters(clusters=[cluster])["clusters"]
    assert shown["capacityProviders"] == [provider]
    assert f"associated with cluster: {cluster}" in refused(ecs.delete_capacity_provider, capacityProvider=provider)
    none = {"capacityProviders": [], "defaultCapacityProviderStrategy": []}
    ecs.put_cluster_capacity_providers(cluster=cluster, **none)
    deleted = ecs.delete_capacity_provider(capacityProvider=provider)["capacityProvider"]
    assert (deleted["status"], deleted["updateStatus"]) == ("INACTIVE", "DELETE_COMPLETE")
    assert ecs.describe_capacity_providers(capacityProviders=[provider])["capacityProviders"] == []


def test_cluster_takes_only_providers_that_exist(ecs: Any, provider: str, cluster: str) -> None:
    strategy = [{"capacityProvider": provider, "weight": 1}]
    associate = ecs.put_cluster_capacity_providers
    nothing: list[Any] = []
    assert "does not exist" in refused(
        associate, cluster=cluster, capacityProviders=["none"], defaultCapacityProviderStrategy=nothing
    )
    assert "not associated" in refused(
        associate, cluster=cluster, capacityProviders=nothing, defaultCapacityProviderStrategy=strategy
    )


def test_service_with_a_strategy_runs_like_one_on_ec2(
    ecs: Any, cluster: str, provider: str, definition: str, until: Until
) -> None:
    strategy = [{"capacityProvider": provider, "weight": 1, "base": 0}]
    own = {"cluster": cluster, "serviceName": "weather", "taskDefinition": definition, "desiredCount": 1}
    assert "both a launch type and" in refused(
        ecs.create_service, **own, launchType="EC2", capacityProviderStrategy=strategy
    )
    created = ecs.create_service(**own, capacityProviderStrategy=strategy)["service"]
    assert created["capacityProviderStrategy"] == strategy
    assert created["deployments"][0]["capacityProviderStrategy"] == strategy
    assert "launchType" not in created
    until(lambda: described(ecs, cluster)["runningCount"] == 1)
    (arn,) = ecs.list_tasks(cluster=cluster)["taskArns"]
    (task,) = ecs.describe_tasks(cluster=cluster, tasks=[arn])["tasks"]
    assert (task["capacityProviderName"], task["launchType"]) == (provider, "EC2")
    none = {"capacityProviders": [], "defaultCapacityProviderStrategy": []}
    assert "ResourceInUseException" in refused(ecs.put_cluster_capacity_providers, cluster=cluster, **none)


def test_strategy_names_a_provider_of_the_cluster(ecs: Any, cluster: str, definition: str, group_arn: str) -> None:
    ecs.create_capacity_provider(name="elsewhere", autoScalingGroupProvider={"autoScalingGroupArn": group_arn})
    own = {"cluster": cluster, "serviceName": "weather", "taskDefinition": definition, "desiredCount": 1}
    for name, why in (("none", "does not exist"), ("elsewhere", "not associated with the cluster")):
        assert why in refused(ecs.create_service, **own, capacityProviderStrategy=[{"capacityProvider": name}])


def test_service_gets_the_clusters_default_strategy(ecs: Any, cluster: str, provider: str, definition: str) -> None:
    strategy = [{"capacityProvider": provider, "weight": 1, "base": 0}]
    ecs.put_cluster_capacity_providers(
        cluster=cluster, capacityProviders=[provider], defaultCapacityProviderStrategy=strategy
    )
    own = {"cluster": cluster, "taskDefinition": definition, "desiredCount": 0}
    by_default = ecs.create_service(**own, serviceName="weather")["service"]
    assert by_default["capacityProviderStrategy"] == strategy
    on_ec2 = ecs.create_service(**own, serviceName="portal", launchType="EC2")["service"]
    assert (on_ec2["launchType"], on_ec2.get("capacityProviderStrategy")) == ("EC2", None)


def test_strategy_changes_with_a_new_deployment_only(ecs: Any, cluster: str, provider: str, definition: str) -> None:
    strategy = [{"capacityProvider": provider, "weight": 1, "base": 0}]
    own = {"cluster": cluster, "taskDefinition": definition, "desiredCount": 0}
    ecs.create_service(**own, serviceName="weather", launchType="EC2")
    change = {"cluster": cluster, "service": "weather", "capacityProviderStrategy": strategy}
    assert "you must force a new deployment" in refused(ecs.update_service, **change)
    changed = ecs.update_service(**change, forceNewDeployment=True)["service"]
    assert (changed["capacityProviderStrategy"], changed.get("launchType")) == (strategy, None)
    assert ecs.update_service(**change)["service"]["capacityProviderStrategy"] == strategy, "the same needs none"
    back = {**change, "capacityProviderStrategy": [], "forceNewDeployment": True}
    assert ecs.update_service(**back)["service"]["launchType"] == "EC2"
