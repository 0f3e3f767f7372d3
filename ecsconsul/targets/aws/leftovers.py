"""Finds what is left of a lab in the account, by its ownership tag and by its names."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...aws_tags import LAB_TAG, as_mapping
from ...config.lab import capacity_provider_of
from ..client_errors import client_error, items_of
from .account_lock import LOCK
from .alarms import alarms_of
from .cloudwatch_logs import group_of
from .session import is_denied, is_inconclusive
from .ssm_parameter import LabParameter, folder_of
from .stack_info import stack_info

Clients = Callable[[str], Any]
Search = Callable[[Clients, str], Iterable[str]]
MAX_PARALLEL = 8
SEARCHED = ("ec2", "ecs", "ecr", "cloudformation", "ssm", "logs", "elasticloadbalancing", "cloudwatch")
# ELB's limit: https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTags.html
DESCRIBED_AT_ONCE = 20
# EC2 still lists an instance or volume for a while after it is gone
GONE = ("terminated", "shutting-down", "deleted", "deleting")


def leftovers(clients: Clients, lab: str, families: Iterable[str]) -> list[str]:
    """A line for each leftover of the lab, except for records that AWS keeps free of charge.

    Of task definitions, the `families` are searched.
    """
    searches: list[Search] = [*_SEARCHES, lambda clients, lab: _task_definitions(clients, lab, families)]
    with ThreadPoolExecutor(MAX_PARALLEL) as pool:
        return [line for lines in pool.map(lambda search: _found(search, clients, lab), searches) for line in lines]


def _found(search: Search, clients: Clients, lab: str) -> list[str]:
    """What a search finds. A failed one is a line too, as something may be left, but emulators lack some APIs."""
    try:
        return list(search(clients, lab))
    except client_error() as error:
        unsupported = is_inconclusive(error) and not is_denied(error)
        return [] if unsupported else [f"unknown, because AWS doesn't say: {error}"]


def _stack(clients: Clients, lab: str) -> Iterator[str]:
    found = stack_info(clients("cloudformation"), lab)
    if found:
        yield f"stack {lab}: {found.status}"


def _cluster(clients: Clients, lab: str) -> Iterator[str]:
    for cluster in clients("ecs").describe_clusters(clusters=[lab], include=["TAGS"])["clusters"]:
        status = cluster.get("status", "ACTIVE")
        if status != "INACTIVE" and as_mapping(cluster.get("tags")).get(LAB_TAG) == lab:
            yield f"ECS cluster {lab}: {status}"


def _capacity_providers(clients: Clients, lab: str) -> Iterator[str]:
    request = {"capacityProviders": [capacity_provider_of(lab)], "include": ["TAGS"]}
    for provider in clients("ecs").describe_capacity_providers(**request)["capacityProviders"]:
        if provider["status"] != "INACTIVE" and as_mapping(provider.get("tags")).get(LAB_TAG) == lab:
            yield f"capacity provider {provider['name']}"


def _repositories(clients: Clients, lab: str) -> Iterator[str]:
    """A repository whose name starts with the lab's can still be someone else's."""
    ecr = clients("ecr")
    for repository in items_of(ecr, "describe_repositories", "repositories"):
        if repository["repositoryName"].startswith(f"{lab}/"):
            found = ecr.list_tags_for_resource(resourceArn=repository["repositoryArn"])
            if _is_labs(found.get("tags"), lab):
                yield f"ECR repository {repository['repositoryName']}"


def _log_groups(clients: Clients, lab: str) -> Iterator[str]:
    for group in items_of(clients("logs"), "describe_log_groups", "logGroups", logGroupNamePrefix=group_of(lab)):
        name = group["logGroupName"]
        if name == group_of(lab) or name.startswith(f"{group_of(lab)}/"):
            yield f"log group {name}"


def _alarms(clients: Clients, lab: str) -> Iterator[str]:
    """Somebody else's alarm can have the same name."""
    cloudwatch = clients("cloudwatch")
    for alarm in alarms_of(cloudwatch, lab):
        if _is_labs(cloudwatch.list_tags_for_resource(ResourceARN=alarm["AlarmArn"])["Tags"], lab):
            yield f"alarm {alarm['AlarmName']}"


def _parameters(clients: Clients, lab: str) -> Iterator[str]:
    ssm = clients("ssm")
    request = {"Path": folder_of(lab), "Recursive": True, "WithDecryption": False}
    for found in items_of(ssm, "get_parameters_by_path", "Parameters", **request):
        leaf = found["Name"].removeprefix(f"{folder_of(lab)}/")
        # a command that is about to create the lab again has the lock
        if leaf != LOCK and LabParameter(ssm, lab, leaf).is_ours():
            yield f"SSM parameter {found['Name']}"


def _instances(clients: Clients, lab: str) -> Iterator[str]:
    for reservation in _in_ec2(clients, lab, "describe_instances", "Reservations"):
        for instance in _owned(reservation["Instances"], lab):
            state = instance["State"]["Name"]
            if state not in GONE:
                yield f"instance {instance['InstanceId']}: {state}"


def _volumes(clients: Clients, lab: str) -> Iterator[str]:
    found = _owned(_in_ec2(clients, lab, "describe_volumes", "Volumes"), lab)
    # an attached volume goes with its instance, which is listed
    return (f"volume {one['VolumeId']}: {one['State']}" for one in found if one["State"] == "available")


def _security_groups(clients: Clients, lab: str) -> Iterator[str]:
    found = _owned(_in_ec2(clients, lab, "describe_security_groups", "SecurityGroups"), lab)
    return (f"security group {one['GroupId']}" for one in found)


def _launch_templates(clients: Clients, lab: str) -> Iterator[str]:
    found = _owned(_in_ec2(clients, lab, "describe_launch_templates", "LaunchTemplates"), lab)
    return (f"launch template {one['LaunchTemplateId']}" for one in found)


def _load_balancers(clients: Clients, lab: str) -> Iterator[str]:
    found = _of_elb(clients, lab, "describe_load_balancers", "LoadBalancers", "LoadBalancerArn")
    return (f"load balancer {one['LoadBalancerName']}" for one in found)


def _target_groups(clients: Clients, lab: str) -> Iterator[str]:
    found = _of_elb(clients, lab, "describe_target_groups", "TargetGroups", "TargetGroupArn")
    return (f"target group {one['TargetGroupName']}" for one in found)


def _of_elb(clients: Clients, lab: str, operation: str, key: str, arn: str) -> Iterator[dict[str, Any]]:
    """The lab's resources of one kind. Elastic Load Balancing has no filter for tags."""
    elb = clients("elbv2")
    found = {one[arn]: one for one in items_of(elb, operation, key)}
    arns = list(found)
    for start in range(0, len(arns), DESCRIBED_AT_ONCE):
        for described in elb.describe_tags(ResourceArns=arns[start : start + DESCRIBED_AT_ONCE])["TagDescriptions"]:
            if _is_labs(described["Tags"], lab):
                yield found[described["ResourceArn"]]


def _task_definitions(clients: Clients, lab: str, families: Iterable[str]) -> Iterator[str]:
    """Revisions with the lab's tag, both active and deregistered but not deleted."""
    ecs = clients("ecs")
    for family, status in itertools.product(families, ("ACTIVE", "INACTIVE")):
        for arn in items_of(ecs, "list_task_definitions", "taskDefinitionArns", familyPrefix=family, status=status):
            described = ecs.describe_task_definition(taskDefinition=arn, include=["TAGS"])
            if as_mapping(described.get("tags")).get(LAB_TAG) == lab:
                yield f"task definition {arn.rpartition('/')[2]}: {status}"


def _tagged(clients: Clients, lab: str) -> Iterator[str]:
    """Tagged resources of the services that no other search covers. The tagging API lists deleted ones for a while."""
    api, filters = clients("resourcegroupstaggingapi"), [{"Key": LAB_TAG, "Values": [lab]}]
    found = items_of(api, "get_resources", "ResourceTagMappingList", TagFilters=filters)
    # arn:partition:service:region:account:resource
    return (one["ResourceARN"] for one in found if one["ResourceARN"].split(":")[2] not in SEARCHED)


_SEARCHES: tuple[Search, ...] = (
    _stack, _cluster, _capacity_providers, _repositories, _log_groups, _alarms, _parameters, _instances, _volumes,
    _security_groups, _launch_templates, _load_balancers, _target_groups, _tagged,
)  # fmt: skip


def _in_ec2(clients: Clients, lab: str, operation: str, key: str) -> list[dict[str, Any]]:
    return items_of(clients("ec2"), operation, key, Filters=[{"Name": f"tag:{LAB_TAG}", "Values": [lab]}])


def _owned(found: list[dict[str, Any]], lab: str) -> list[dict[str, Any]]:
    """Checks the tag again, for emulators that ignore the filter."""
    return [one for one in found if _is_labs(one.get("Tags"), lab)]


def _is_labs(tags: list[dict[str, str]] | None, lab: str) -> bool:
    return as_mapping(tags, key="Key", value="Value").get(LAB_TAG) == lab
