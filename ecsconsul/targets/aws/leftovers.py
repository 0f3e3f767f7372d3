"""Finds what is left of a lab in the account, by its ownership tag and by its names."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...aws_tags import LAB_TAG, as_mapping
from ...errors import LabError
from ..client_errors import client_error
from .cloudwatch_logs import group_of
from .gossip_key import gossip_key
from .session import is_denied, is_inconclusive
from .stack_info import stack_info

Clients = Callable[[str], Any]
Search = Callable[[Clients, str], Iterable[str]]
MAX_PARALLEL = 8
SEARCHED = ("ec2", "ecs", "ecr", "cloudformation", "ssm", "logs")
# EC2 still lists an instance or volume for a while after it is gone
GONE = ("terminated", "shutting-down", "deleted", "deleting")


def leftovers(clients: Clients, lab: str, services: Iterable[str]) -> list[str]:
    """A line for each leftover of the lab, except for records that AWS keeps free of charge."""
    searches: list[Search] = [*_SEARCHES, lambda clients, lab: _task_definitions(clients, lab, services)]
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


def _repositories(clients: Clients, lab: str) -> Iterator[str]:
    """A repository whose name starts with the lab's can still be someone else's."""
    ecr = clients("ecr")
    for page in ecr.get_paginator("describe_repositories").paginate():
        for repository in page["repositories"]:
            if repository["repositoryName"].startswith(f"{lab}/") and _tags_of(ecr, repository).get(LAB_TAG) == lab:
                yield f"ECR repository {repository['repositoryName']}"


def _tags_of(ecr: Any, repository: dict[str, Any]) -> dict[str, str]:
    found = ecr.list_tags_for_resource(resourceArn=repository["repositoryArn"])
    return as_mapping(found.get("tags"), key="Key", value="Value")


def _log_groups(clients: Clients, lab: str) -> Iterator[str]:
    pages = clients("logs").get_paginator("describe_log_groups")
    for page in pages.paginate(logGroupNamePrefix=group_of(lab)):
        for group in page["logGroups"]:
            name = group["logGroupName"]
            if name == group_of(lab) or name.startswith(f"{group_of(lab)}/"):
                yield f"log group {name}"


def _parameter(clients: Clients, lab: str) -> Iterator[str]:
    key = gossip_key(clients("ssm"), lab)
    with contextlib.suppress(LabError):  # someone else's parameter has the name
        if key.exists():
            yield f"SSM parameter {key.name}"


def _instances(clients: Clients, lab: str) -> Iterator[str]:
    pages = clients("ec2").get_paginator("describe_instances").paginate(Filters=_filter(lab))
    for page in pages:
        for instance in (one for reservation in page["Reservations"] for one in reservation["Instances"]):
            state = instance["State"]["Name"]
            if state not in GONE and _owned(instance, lab):
                yield f"instance {instance['InstanceId']}: {state}"


def _volumes(clients: Clients, lab: str) -> Iterator[str]:
    for page in clients("ec2").get_paginator("describe_volumes").paginate(Filters=_filter(lab)):
        for volume in page["Volumes"]:
            # an attached volume goes with its instance, which is listed
            if volume["State"] == "available" and _owned(volume, lab):
                yield f"volume {volume['VolumeId']}: {volume['State']}"


def _security_groups(clients: Clients, lab: str) -> Iterator[str]:
    for page in clients("ec2").get_paginator("describe_security_groups").paginate(Filters=_filter(lab)):
        yield from (f"security group {one['GroupId']}" for one in page["SecurityGroups"] if _owned(one, lab))


def _launch_templates(clients: Clients, lab: str) -> Iterator[str]:
    for page in clients("ec2").get_paginator("describe_launch_templates").paginate(Filters=_filter(lab)):
        found = [one for one in page["LaunchTemplates"] if _owned(one, lab)]
        yield from (f"launch template {one['LaunchTemplateId']}" for one in found)


def _task_definitions(clients: Clients, lab: str, families: Iterable[str]) -> Iterator[str]:
    """Revisions with the lab's tag, both active and deregistered but not deleted."""
    ecs = clients("ecs")
    for family, status in itertools.product(families, ("ACTIVE", "INACTIVE")):
        pages = ecs.get_paginator("list_task_definitions").paginate(familyPrefix=family, status=status)
        for arn in (arn for page in pages for arn in page["taskDefinitionArns"]):
            described = ecs.describe_task_definition(taskDefinition=arn, include=["TAGS"])
            if as_mapping(described.get("tags")).get(LAB_TAG) == lab:
                yield f"task definition {arn.rpartition('/')[2]}: {status}"


def _tagged(clients: Clients, lab: str) -> Iterator[str]:
    """Tagged resources of the services that no other search covers. The tagging API lists deleted ones for a while."""
    pages = clients("resourcegroupstaggingapi").get_paginator("get_resources")
    for page in pages.paginate(TagFilters=[{"Key": LAB_TAG, "Values": [lab]}]):
        arns = [one["ResourceARN"] for one in page["ResourceTagMappingList"]]
        # arn:partition:service:region:account:resource
        yield from (arn for arn in arns if arn.split(":")[2] not in SEARCHED)


_SEARCHES: tuple[Search, ...] = (
    _stack, _cluster, _repositories, _log_groups, _parameter, _instances, _volumes, _security_groups,
    _launch_templates, _tagged,
)  # fmt: skip


def _filter(lab: str) -> list[dict[str, Any]]:
    return [{"Name": f"tag:{LAB_TAG}", "Values": [lab]}]


def _owned(found: dict[str, Any], lab: str) -> bool:
    """Checks the tag again, for emulators that ignore the filter."""
    return as_mapping(found.get("Tags"), key="Key", value="Value").get(LAB_TAG) == lab
