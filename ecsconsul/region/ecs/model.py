"""What the ECS half of the region knows: services, deployments, tasks, container instances. Data, no I/O.

The states are ECS's own. https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
"""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

PENDING, RUNNING, DEPROVISIONING, STOPPED = "PENDING", "RUNNING", "DEPROVISIONING", "STOPPED"
ACTIVE, DRAINING, INACTIVE = "ACTIVE", "DRAINING", "INACTIVE"

# ECS keeps the last 100 service events; stopped tasks stay visible for an hour, here by number.
EVENTS_KEPT = 100
STOPPED_TASKS_KEPT = 50


@dataclass(frozen=True)
class Binding:
    """One published port of a container; `host_port` is the real one, `outside_port` the fixed one asked for."""

    container_port: int
    host_port: int
    protocol: str = "tcp"
    outside_port: int | None = None


@dataclass
class ContainerState:
    """One container of a task: its definition, and what became of it."""

    definition: dict[str, Any]
    bindings: tuple[Binding, ...] = ()
    status: str = PENDING
    exit_code: int | None = None
    reason: str = ""
    runtime_id: str = ""

    @property
    def name(self) -> str:
        return str(self.definition["name"])

    @property
    def essential(self) -> bool:
        return bool(self.definition.get("essential", True))


@dataclass
class Task:
    """One task, placed on one container instance; times are seconds since the epoch.

    `passing`: Consul shows all its services as passing. `evicted`: its instance is draining, so it must move.
    `counted`: its end was taken into account.
    """

    id: str
    arn: str
    cluster: str
    task_definition: dict[str, Any]
    instance_id: str
    containers: list[ContainerState]
    group: str
    service: str | None = None
    deployment_id: str = ""
    tags: list[dict[str, str]] = field(default_factory=list)
    overrides: dict[str, Any] = field(default_factory=dict)
    last_status: str = PENDING
    desired_status: str = RUNNING
    passing: bool = False
    evicted: bool = False
    counted: bool = False
    created_at: float = field(default_factory=time.time)
    started_at: float | None = None
    stopping_at: float | None = None
    stopped_at: float | None = None
    stop_code: str = ""
    stopped_reason: str = ""
    started_by: str = ""

    @property
    def task_definition_arn(self) -> str:
        return str(self.task_definition["taskDefinitionArn"])

    def container_name(self, name: str) -> str:
        """The name that the ECS agent gives to the container of that name in Docker."""
        definition = self.task_definition
        return f"ecs-{definition['family']}-{definition['revision']}-{name}-{self.id[:20]}"

    @property
    def wanted(self) -> bool:
        """Whether it is meant to go on running."""
        return self.desired_status == RUNNING


@dataclass
class Deployment:
    """One version of a service on its way in (PRIMARY) or out (ACTIVE)."""

    id: str
    task_definition: dict[str, Any]
    status: Literal["PRIMARY", "ACTIVE"] = "PRIMARY"
    rollout_state: Literal["IN_PROGRESS", "COMPLETED", "FAILED"] = "IN_PROGRESS"
    rollout_reason: str = ""
    failed_tasks: int = 0
    is_rollback: bool = False
    created_at: float = field(default_factory=time.time)
    updated_at: float = field(default_factory=time.time)


@dataclass
class Service:
    """One ECS service; `deployments[0]` is the primary one.

    `failures` are the failed tasks in a row, `failed_at` is when the last of them was counted, `not_before` when the
    next one may start.
    """

    name: str
    arn: str
    cluster: str
    desired: int
    deployments: list[Deployment]
    minimum_healthy_percent: int = 100
    maximum_percent: int = 200
    circuit_breaker: dict[str, bool] = field(default_factory=dict)
    tags: list[dict[str, str]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    status: str = ACTIVE
    events: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))
    created_at: float = field(default_factory=time.time)
    failures: int = 0
    failed_at: float = 0.0
    not_before: float = 0.0
    stable_before: dict[str, Any] | None = None

    @property
    def primary(self) -> Deployment:
        return self.deployments[0]

    @property
    def floor(self) -> int:
        """Tasks that must stay healthy during a deployment (rounded up, as ECS does)."""
        return math.ceil(self.desired * self.minimum_healthy_percent / 100)

    @property
    def ceiling(self) -> int:
        """Tasks that may run at once during a deployment (rounded down, as ECS does)."""
        return math.floor(self.desired * self.maximum_percent / 100)


@dataclass
class ContainerInstance:
    """One EC2 instance that offers CPU units (1,024 a core) and memory (MiB) to tasks."""

    instance_id: str
    arn: str
    cluster: str
    address: str
    cpu: int
    memory: int
    status: str = ACTIVE
    connected: bool = True
    registered_at: float = field(default_factory=time.time)
    tags: list[dict[str, str]] = field(default_factory=list)


def needed(task_definition: dict[str, Any]) -> tuple[int, int]:
    """CPU units and MiB that a task of this definition reserves (the task's own figure, else its containers').

    A task may say "1 vCPU" and "2 GB" as well as 1024 and 2048. Raises ValueError for what is neither.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html
    """
    containers = task_definition["containerDefinitions"]
    cpu = _figure(task_definition.get("cpu"), "vcpu") or sum(c.get("cpu") or 0 for c in containers)
    memory = _figure(task_definition.get("memory"), "gb") or sum(
        c.get("memoryReservation") or c.get("memory") or 0 for c in containers
    )
    return cpu, memory


def _figure(said: str | int | None, large_unit: str) -> int:
    """A plain figure, or one of a unit that holds 1,024; 0 when nothing was said."""
    text = str(said or 0).strip().lower()
    number = text.removesuffix(large_unit)
    return int(text) if number == text else int(float(number) * 1024)


def fixed_ports(task_definition: dict[str, Any]) -> frozenset[int]:
    """The host ports that a task of this definition insists on."""
    return frozenset(
        mapping["hostPort"]
        for container in task_definition["containerDefinitions"]
        for mapping in container.get("portMappings") or ()
        if mapping.get("hostPort")
    )
