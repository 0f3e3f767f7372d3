"""Reads an ECS cluster that exists: services, task definitions and instances, with List and Describe calls alone.

`policies/import.json` allows exactly these.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...errors import WrongUsage
from ..client_errors import client_error
from .session import Session, refused

# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServices.html
SERVICES_A_CALL = 10
INSTANCES_A_CALL = 100

Answer = dict[str, Any]


class ClusterReader:
    """Asks ECS about one cluster. Every method raises LabError."""

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self._name = name

    def read(self) -> tuple[Answer, list[Answer], dict[str, Answer], list[Answer]]:
        """The cluster, its services, their task definitions by ARN, and its container instances."""
        ecs = self._session.client("ecs")
        try:
            cluster = self._cluster(ecs)
            services = list(self._services(ecs))
            arns = sorted({str(one["taskDefinition"]) for one in services if one.get("taskDefinition")})
            definitions = {arn: _definition(ecs, arn) for arn in arns}
            instances = list(self._instances(ecs))
        except client_error() as error:
            raise refused("The cluster can't be read", error, where=self._where) from error
        return cluster, [one for one in services if one.get("taskDefinition")], definitions, instances

    @property
    def _where(self) -> str:
        return f"cluster {self._name} in {self._session.region}"

    def _cluster(self, ecs: Any) -> Answer:
        found: list[Answer] = ecs.describe_clusters(clusters=[self._name])["clusters"]
        active = [one for one in found if one.get("status") != "INACTIVE"]
        if not active:
            names = [str(arn).rpartition("/")[2] for arn in _pages(ecs, "list_clusters", "clusterArns")]
            hint = f"there are: {', '.join(sorted(names)) or 'none'}; --region and --profile choose others"
            raise WrongUsage(f"There is no cluster {self._name}", where=f"region {self._session.region}", hint=hint)
        return active[0]

    def _services(self, ecs: Any) -> Iterator[Answer]:
        arns = list(_pages(ecs, "list_services", "serviceArns", cluster=self._name))
        for at in range(0, len(arns), SERVICES_A_CALL):
            answer = ecs.describe_services(cluster=self._name, services=arns[at : at + SERVICES_A_CALL])
            yield from (one for one in answer["services"] if one.get("status") != "INACTIVE")

    def _instances(self, ecs: Any) -> Iterator[Answer]:
        arns = list(_pages(ecs, "list_container_instances", "containerInstanceArns", cluster=self._name))
        for at in range(0, len(arns), INSTANCES_A_CALL):
            some = arns[at : at + INSTANCES_A_CALL]
            yield from ecs.describe_container_instances(cluster=self._name, containerInstances=some)[
                "containerInstances"
            ]


def _pages(ecs: Any, operation: str, key: str, **given: str) -> Iterator[str]:
    for page in ecs.get_paginator(operation).paginate(**given):
        yield from page[key]


def _definition(ecs: Any, arn: str) -> Answer:
    found: Answer = ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]
    return found
