"""ECS's objects: services, deployments, tasks and container instances. Data only, no I/O.

The states are ECS's own. https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

PENDING, RUNNING, DEPROVISIONING, STOPPED = "PENDING", "RUNNING", "DEPROVISIONING", "STOPPED"
ACTIVE, DRAINING, INACTIVE = "ACTIVE", "DRAINING", "INACTIVE"
HEALTHY, UNHEALTHY, UNKNOWN = "HEALTHY", "UNHEALTHY", "UNKNOWN"
REPLICA, DAEMON = "REPLICA", "DAEMON"
TCP, UDP = "tcp", "udp"
# why ECS replaces a task that fails its containers' health checks
UNHEALTHY_REASON = "Task failed container health checks"

# ECS keeps the last 100 events of a service, and shows stopped tasks for an hour:
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html
MAX_EVENTS = 100
STOPPED_SECONDS = 3600.0
# some 10 MB; only a lab with many failing tasks has more in an hour
MAX_STOPPED_TASKS = 1000


@dataclass(frozen=True)
class Binding:
    """One published port of a container: `host_port` is the real one, `requested_port` the fixed one it asks for.

    `host_ip` is where it is reached if that isn't its instance's address. `seen`: its program listens there, as far as
    that can be known. `on_loopback`: it does so at 127.0.0.1 too, as one that listens at every address does.
    """

    container_port: int
    host_port: int
    protocol: str = "tcp"
    requested_port: int | None = None
    host_ip: str = ""
    seen: bool = True
    on_loopback: bool = False

    @property
    def fills_machine(self) -> bool:
        """Whether it has its fixed port on the whole machine: it needs no forwarder, and nobody else can have it."""
        return self.on_loopback and self.host_port == self.requested_port

    @property
    def is_forwarded(self) -> bool:
        """Whether its fixed port must be forwarded: not before it's known that the program doesn't want it itself."""
        return self.requested_port is not None and self.seen and not self.fills_machine


@dataclass
class ContainerState:
    """One container of a task: its definition and its state. `started_at` is on the monotonic clock.

    `health` is what its own health check says; it stays UNKNOWN without one.
    """

    definition: dict[str, Any]
    bindings: tuple[Binding, ...] = ()
    status: str = PENDING
    exit_code: int | None = None
    reason: str = ""
    runtime_id: str = ""
    health: str = UNKNOWN
    started_at: float | None = None

    @property
    def name(self) -> str:
        return str(self.definition["name"])

    @property
    def essential(self) -> bool:
        return bool(self.definition.get("essential", True))

    @property
    def is_checked(self) -> bool:
        """Whether it has a health check of its own, which counts for its task."""
        return self.essential and bool(self.definition.get("healthCheck"))


@dataclass
class Task:
    """One task, placed on one container instance; times are seconds since the epoch.

    `passing`: Consul lists all its services as passing, and its essential containers' own checks pass.
    `evicted`: its instance is draining, so it must move.
    `counted`: the control loop has checked whether it failed. `reported`: an event says that it fails its checks.
    `daemon`: its service has one on each instance.
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
    reported: bool = False
    daemon: bool = False
    created_at: float = field(default_factory=time.time)
    started_at: float | None = None
    stopping_at: float | None = None
    stopped_at: float | None = None
    stop_code: str = ""
    stopped_reason: str = ""
    started_by: str = ""
    provider: str = ""

    @property
    def task_definition_arn(self) -> str:
        return str(self.task_definition["taskDefinitionArn"])

    @property
    def log_name(self) -> str:
        """The service among whose logs its output is."""
        return self.service or log_name(str(self.task_definition["family"]), self.cluster)

    def container_name(self, name: str) -> str:
        """The name of a container in Docker, as the ECS agent composes it."""
        definition = self.task_definition
        return f"ecs-{definition['family']}-{definition['revision']}-{name}-{self.id[:20]}"

    @property
    def bindings(self) -> list[Binding]:
        """The published ports of all its containers."""
        return [one for container in self.containers for one in container.bindings]

    @property
    def should_run(self) -> bool:
        """Whether its desired status is RUNNING."""
        return self.desired_status == RUNNING

    @property
    def health(self) -> str:
        """What the health checks of its essential containers say together.

        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/healthcheck.html
        """
        found = {container.health for container in self.containers if container.is_checked}
        if UNHEALTHY in found:
            return UNHEALTHY
        return HEALTHY if found == {HEALTHY} else UNKNOWN


@dataclass
class Deployment:
    """One version of a service, being rolled out (PRIMARY) or replaced (ACTIVE)."""

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

    `failures` counts the tasks that failed in a row, `failed_at` is when the last one was counted, and no task starts
    earlier than `not_before`. `unplaced`: a task that it should start now finds no place.
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
    events: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=MAX_EVENTS))
    created_at: float = field(default_factory=time.time)
    failures: int = 0
    failed_at: float = 0.0
    not_before: float = 0.0
    stable_before: dict[str, Any] | None = None
    unplaced: bool = False
    strategy: str = REPLICA

    @property
    def provider(self) -> str:
        """The name of the capacity provider that it runs on; "" for one with a launch type."""
        strategy = self.settings.get("capacityProviderStrategy") or ()
        return next((str(one["capacityProvider"]).rpartition("/")[2] for one in strategy), "")

    @property
    def primary(self) -> Deployment:
        return self.deployments[0]

    @property
    def floor(self) -> int:
        """The least number of healthy tasks during a deployment; rounded up, as ECS does."""
        return math.ceil(self.desired * self.minimum_healthy_percent / 100)

    @property
    def ceiling(self) -> int:
        """The highest number of tasks during a deployment; rounded down, as ECS does."""
        return math.floor(self.desired * self.maximum_percent / 100)


@dataclass
class ContainerInstance:
    """An EC2 instance in an ECS cluster, with its CPU units (1,024 per core) and memory (MiB)."""

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
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass
class CapacityProvider:
    """An Auto Scaling group whose instances services run on; `managed_scaling` as the API describes it."""

    name: str
    arn: str
    group_arn: str
    managed_scaling: dict[str, Any]
    managed_draining: str = "ENABLED"
    termination_protection: str = "DISABLED"
    update_status: str = "CREATE_COMPLETE"
    tags: list[dict[str, str]] = field(default_factory=list)

    @property
    def scales(self) -> bool:
        """Whether the region changes the group's size."""
        return bool(self.managed_scaling["status"] == "ENABLED")


def log_name(family: str, cluster: str) -> str:
    """The service among whose logs a standalone task's output is: the family's, which a lab prefixes with its name."""
    return family.removeprefix(f"{cluster}-") or family


def needed(task_definition: dict[str, Any]) -> tuple[int, int]:
    """The CPU units and MiB that a task reserves: the task definition's own, else the sum over its containers.

    "1 vCPU" and "2 GB" are accepted as well as 1024 and 2048. Raises ValueError for anything else.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html
    """
    containers = task_definition["containerDefinitions"]
    cpu = _size(task_definition.get("cpu"), "vcpu") or sum(c.get("cpu") or 0 for c in containers)
    memory = _size(task_definition.get("memory"), "gb") or sum(
        c.get("memoryReservation") or c.get("memory") or 0 for c in containers
    )
    return cpu, memory


def _size(value: str | int | None, large_unit: str) -> int:
    """A plain number, or one in a unit of 1,024; 0 when there is none."""
    text = str(value or 0).strip().lower()
    number = text.removesuffix(large_unit)
    return int(text) if number == text else int(float(number) * 1024)


def environment_of(definition: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, str]:
    """The environment variables of a container definition, with those of a task's overrides."""
    items = (*(definition.get("environment") or ()), *(overrides.get("environment") or ()))
    return {item["name"]: item.get("value", "") for item in items}


def fixed_endpoints(task_definition: dict[str, Any]) -> frozenset[tuple[int, str]]:
    """The host ports that a task definition fixes, each with its protocol."""
    return frozenset(
        (mapping["hostPort"], mapping.get("protocol") or "tcp")
        for container in task_definition["containerDefinitions"]
        for mapping in container.get("portMappings") or ()
        if mapping.get("hostPort")
    )
