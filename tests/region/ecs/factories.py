"""Builds ECS objects for tests: task definitions, tasks, services, and an Ecs without moto."""

from __future__ import annotations

import itertools
from typing import Any

from ecsconsul.region.ecs.model import RUNNING, ContainerInstance, ContainerState, Deployment, Service, Task
from ecsconsul.region.ecs.state import Ecs

CLUSTER = "lab"
ACCOUNT, REGION = "123456789012", "us-east-1"
_numbers = itertools.count(1)


class FakeMoto:
    """The part of moto that Ecs reads: one cluster, and the task definitions that a test adds."""

    account, region = ACCOUNT, REGION

    def __init__(self) -> None:
        self.definitions: dict[str, dict[str, Any]] = {}
        self.providers: list[str] = []
        self.parameters: dict[str, str] = {}
        self.secrets: dict[tuple[str, str, str], str] = {}

    def providers_of(self, cluster: str) -> tuple[list[str], list[dict[str, Any]]]:
        return self.providers, []

    def clusters_with_provider(self, provider: str) -> list[str]:
        return [CLUSTER] if provider in self.providers else []

    def has_group(self, name_or_arn: str) -> bool:
        return True

    def parameter(self, name_or_arn: str) -> str | None:
        return self.parameters.get(name_or_arn)

    def secret(self, arn: str, stage: str, version: str) -> str | None:
        return self.secrets.get((arn, stage, version))

    def find(self, cluster: str, task_definition: str) -> tuple[bool, dict[str, Any] | None]:
        return cluster == CLUSTER, self.definitions.get(task_definition)

    def task_definition(self, name: str) -> tuple[dict[str, Any], list[dict[str, str]]] | None:
        found = self.definitions.get(name)
        return (found, []) if found else None


def container(name: str = "app", image: str = "steady", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": image, "cpu": 100, "memory": 200, "essential": True, **more}


def definition(family: str = "weather", revision: int = 1, *containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/{family}:{revision}"
    return {
        "taskDefinitionArn": arn,
        "family": family,
        "revision": revision,
        "status": "ACTIVE",
        "containerDefinitions": list(containers) or [container()],
        **more,
    }


def service(name: str = "weather", desired: int = 1, **more: Any) -> Service:
    first = Deployment("ecs-svc/1", definition())
    return Service(name, f"arn:{name}", CLUSTER, desired, [first], **more)


def task(**more: Any) -> Task:
    """A running task of the first deployment; each is newer than the one before."""
    number = next(_numbers)
    task_definition = more.pop("task_definition", definition())
    defaults: dict[str, Any] = {
        "id": f"task{number}",
        "arn": f"arn:task{number}",
        "cluster": CLUSTER,
        "task_definition": task_definition,
        "instance_id": "i-1",
        "containers": [ContainerState(one) for one in task_definition["containerDefinitions"]],
        "group": "service:weather",
        "service": "weather",
        "deployment_id": "ecs-svc/1",
        "last_status": RUNNING,
        "created_at": float(number),
    }
    return Task(**(defaults | more))


def instance(instance_id: str = "i-1", cpu: int = 2048, memory: int = 4096, **more: Any) -> ContainerInstance:
    arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}:container-instance/{CLUSTER}/{instance_id}"
    return ContainerInstance(instance_id, arn, CLUSTER, "127.0.0.1", cpu, memory, **more)


def new_ecs(*instances: ContainerInstance) -> Ecs:
    ecs = Ecs(FakeMoto())
    for one in instances:
        ecs.add_instance(one)
    return ecs
