"""The desired and actual state of the region's ECS. Every change wakes the control loop."""

from __future__ import annotations

import getpass
import os
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from .model import (
    ACTIVE,
    DAEMON,
    DRAINING,
    INACTIVE,
    MAX_STOPPED_TASKS,
    PENDING,
    REPLICA,
    RUNNING,
    STOPPED,
    STOPPED_SECONDS,
    CapacityProvider,
    ContainerInstance,
    ContainerState,
    Deployment,
    Service,
    Task,
)
from .placement import SPREAD, Unplaceable, place

Json = dict[str, Any]


class Moto(Protocol):
    """The part of moto that ECS reads."""

    account: str
    region: str

    def find(self, cluster: str, task_definition: str) -> tuple[bool, Json | None]:
        """Whether the cluster exists, and the task definition of that name, if any."""

    def task_definition(self, name: str) -> tuple[Json, list[dict[str, str]]] | None:
        """A task definition and its tags; None when there is none."""

    def providers_of(self, cluster: str) -> tuple[list[str], list[Json]]:
        """The names of a cluster's capacity providers, and its default strategy."""

    def clusters_with_provider(self, provider: str) -> list[str]:
        """The names of the clusters that use a capacity provider."""

    def has_group(self, name_or_arn: str) -> bool:
        """Whether there is such an Auto Scaling group."""

    def parameter(self, name_or_arn: str) -> str | None:
        """The value of an SSM parameter."""

    def secret(self, arn: str, stage: str, version: str) -> str | None:
        """The text of a secret."""


class Ecs:
    """Services, tasks and container instances of one region. Hold `lock` around every call."""

    def __init__(self, moto: Moto) -> None:
        self.moto = moto
        self.lock = threading.RLock()
        self.changed = threading.Event()
        self._services: dict[tuple[str, str], Service] = {}
        self._tasks: dict[str, Task] = {}
        self._instances: dict[str, ContainerInstance] = {}
        self.capacity_providers: dict[str, CapacityProvider] = {}
        # when and by whom each task definition was registered, which moto doesn't know
        self.registrations: dict[str, Json] = {}

    def arn(self, kind: str, cluster: str, name: str) -> str:
        """An ECS ARN in its long form, which contains the cluster."""
        return f"arn:aws:ecs:{self.moto.region}:{self.moto.account}:{kind}/{cluster}/{name}"

    def record_registration(self, task_definition: str) -> Json:
        """When and by whom the task definition with this ARN was registered: now, by this process's user."""
        by = f"arn:aws:iam::{self.moto.account}:user/{_user()}"
        return self.registrations.setdefault(task_definition, {"registeredAt": time.time(), "registeredBy": by})

    # services

    def service(self, cluster: str, name: str) -> Service | None:
        return self._services.get((cluster, name))

    def services(self) -> list[Service]:
        return list(self._services.values())

    def services_of(self, cluster: str) -> list[Service]:
        return [service for service in self._services.values() if service.cluster == cluster]

    def create_service(self, cluster: str, name: str, desired: int, definition: Json, request: Json) -> Service:
        service = Service(
            name=name,
            arn=self.arn("service", cluster, name),
            cluster=cluster,
            desired=desired,
            deployments=[_deployment(definition)],
            tags=list(request.get("tags") or ()),
            strategy=request.get("schedulingStrategy") or REPLICA,
        )
        if service.strategy == DAEMON:
            # https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html
            service.minimum_healthy_percent, service.maximum_percent = 0, 100
        self._services[cluster, name] = service
        _configure(service, request)
        self.changed.set()
        return service

    def update_service(self, service: Service, desired: int | None, definition: Json | None, request: Json) -> None:
        """Start a new deployment when the task definition changes or one is forced; a new count alone is none."""
        if desired is not None:
            service.desired = int(desired)
        _configure(service, request)
        current = service.primary.task_definition
        fresh = definition and definition["taskDefinitionArn"] != current["taskDefinitionArn"]
        if fresh or request.get("forceNewDeployment"):
            self.deploy(service, definition or current)
        elif service.primary.rollout_state == "COMPLETED":
            service.primary.updated_at = time.time()
        self.changed.set()

    def deploy(self, service: Service, definition: Json, *, is_rollback: bool = False) -> None:
        """Start a deployment; the previous one is drained as the new tasks pass."""
        if service.primary.rollout_state == "COMPLETED":
            service.stable_before = service.primary.task_definition
        for deployment in service.deployments:
            deployment.status = "ACTIVE"
        service.deployments.insert(0, _deployment(definition, is_rollback=is_rollback))
        service.failures, service.not_before = 0, 0.0
        self.changed.set()

    def forget_old_deployments(self, service: Service) -> None:
        """Drop the older deployments whose tasks have all stopped."""
        alive = {task.deployment_id for task in self.tasks_of_service(service) if task.last_status != STOPPED}
        older = [deployment for deployment in service.deployments[1:] if deployment.id in alive]
        service.deployments = [service.primary, *older]

    def delete_service(self, service: Service) -> None:
        service.desired = 0
        service.status = DRAINING
        self.changed.set()

    def event(self, service: Service, message: str) -> None:
        """Add a service event, unless it repeats the last one (ECS repeats it only every few hours)."""
        text = f"(service {service.name}) {message}"
        if not service.events or service.events[0]["message"] != text:
            service.events.appendleft({"id": str(uuid.uuid4()), "createdAt": time.time(), "message": text})

    # tasks

    def task(self, cluster: str, task_id: str) -> Task | None:
        task = self._tasks.get(task_id)
        return task if task and task.cluster == cluster else None

    def tasks(self) -> list[Task]:
        return list(self._tasks.values())

    def tasks_of(self, cluster: str) -> list[Task]:
        return [task for task in self._tasks.values() if task.cluster == cluster]

    def tasks_of_service(self, service: Service) -> list[Task]:
        return [task for task in self.tasks_of(service.cluster) if task.service == service.name]

    def tasks_on(self, instance_id: str) -> list[Task]:
        return [task for task in self._tasks.values() if task.instance_id == instance_id]

    def run_task(
        self, cluster: str, definition: Json, count: int, request: Json
    ) -> tuple[list[Task], list[Unplaceable]]:
        """Start standalone tasks; returns those that were placed, and a reason for each of the others."""
        started: list[Task] = []
        failures: list[Unplaceable] = []
        for _ in range(count):
            task = self.add_standalone(cluster, definition, request)
            if isinstance(task, Unplaceable):
                failures.append(task)
            else:
                started.append(task)
        return started, failures

    def add_standalone(self, cluster: str, definition: Json, request: Json, on: str = "") -> Task | Unplaceable:
        """Place a task of RunTask, or of StartTask on the instance with the id `on`."""
        group = request.get("group") or f"family:{definition['family']}"
        overrides = request.get("overrides") or {}
        constraints = [one for one in request.get("placementConstraints") or () if one]
        strategy = request.get("placementStrategy") or SPREAD
        task = self.add_task(
            cluster, definition, group, overrides=overrides, on=on, strategy=strategy, constraints=constraints
        )
        if not isinstance(task, Unplaceable):
            task.started_by = request.get("startedBy") or ""
            task.tags = list(request.get("tags") or ())
        return task

    def add_task(
        self,
        cluster: str,
        definition: Json,
        group: str,
        *,
        overrides: Json,
        service: Service | None = None,
        on: str = "",
        strategy: Sequence[Mapping[str, str]] = SPREAD,
        constraints: Sequence[Mapping[str, str]] = (),
    ) -> Task | Unplaceable:
        """Place a task, `on` an instance if that is given; the control loop starts it.

        Returns the reason when no instance can take it. A service has its own strategy and constraints.
        """
        if service:
            strategy = service.settings.get("placementStrategy") or SPREAD
            constraints = service.settings.get("placementConstraints") or ()
        # StartTask looks at no constraint
        constraints = () if on else (*constraints, *(definition.get("placementConstraints") or ()))
        instances = [one for one in self.instances_of(cluster) if on in ("", one.instance_id)]
        instance = place(definition, group, instances, self._tasks.values(), strategy, constraints)
        if isinstance(instance, Unplaceable):
            return instance
        task_id = uuid.uuid4().hex
        task = Task(
            id=task_id,
            arn=self.arn("task", cluster, task_id),
            cluster=cluster,
            task_definition=definition,
            instance_id=instance.instance_id,
            containers=[ContainerState(c) for c in definition["containerDefinitions"]],
            group=group,
            overrides=overrides,
            service=service.name if service else None,
            deployment_id=service.primary.id if service else "",
            started_by=service.primary.id if service else "",
            provider=service.provider if service else "",
            daemon=service is not None and service.strategy == DAEMON,
        )
        self._tasks[task_id] = task
        self.changed.set()
        return task

    def stop_task(self, task: Task, code: str, reason: str) -> None:
        """Request that a task stops; the first reason is kept."""
        if task.should_run:
            task.desired_status = STOPPED
            task.stop_code, task.stopped_reason = code, reason
            task.stopping_at = time.time()
            self.changed.set()

    def end_unstarted(self, task: Task) -> None:
        """Mark as stopped a task that was stopped, or lost its instance, before its containers were started."""
        for container in task.containers:
            container.status = STOPPED
        task.stopped_at = time.time()
        task.desired_status = task.last_status = STOPPED
        self.changed.set()

    def forget_old_tasks(self) -> None:
        """Keep a stopped task for an hour, so that DescribeTasks can say why; but no more than fit in memory."""
        stopped = [task for task in self._tasks.values() if task.last_status == STOPPED]
        stopped.sort(key=lambda task: task.stopped_at or 0.0)
        oldest = time.time() - STOPPED_SECONDS
        surplus = len(stopped) - MAX_STOPPED_TASKS
        for number, task in enumerate(stopped):
            if number < surplus or (task.stopped_at or oldest) < oldest:
                del self._tasks[task.id]

    # container instances

    def add_instance(self, instance: ContainerInstance) -> None:
        self._instances[instance.instance_id] = instance
        self.changed.set()

    def remove_instance(self, instance_id: str) -> None:
        """Remove a terminated instance, and stop its tasks."""
        if self._instances.pop(instance_id, None):
            for task in self.tasks_on(instance_id):
                self.stop_task(task, "TerminationNotice", f"Host EC2 (instance {instance_id}) terminated.")
            self.changed.set()

    def instance(self, instance_id: str) -> ContainerInstance | None:
        return self._instances.get(instance_id)

    def all_instances(self) -> list[ContainerInstance]:
        return list(self._instances.values())

    def instances_of(self, cluster: str) -> list[ContainerInstance]:
        return [instance for instance in self._instances.values() if instance.cluster == cluster]

    def instance_arn(self, instance_id: str) -> str:
        instance = self._instances.get(instance_id)
        return instance.arn if instance else ""

    def instance_address(self, instance_id: str) -> str:
        instance = self._instances.get(instance_id)
        return instance.address if instance else ""

    def set_instance_status(self, instance: ContainerInstance, status: str) -> None:
        """A draining instance takes no new tasks, and the tasks of services move to other instances."""
        instance.status = status
        for task in self.tasks_on(instance.instance_id):
            task.evicted = status == DRAINING
        self.changed.set()

    # tags and clusters

    def tagged(self, arn: str) -> list[dict[str, str]] | None:
        """The live tag list of a resource; None when there is no such resource."""
        resources: Sequence[Service | Task | ContainerInstance | CapacityProvider]
        resources = [*self._services.values(), *self._tasks.values(), *self._instances.values()]
        resources = [*resources, *self.capacity_providers.values()]
        return next((resource.tags for resource in resources if resource.arn == arn), None)

    def cluster_counts(self, cluster: str) -> dict[str, int]:
        """The counts that DescribeClusters returns."""
        tasks = self.tasks_of(cluster)
        return {
            "registeredContainerInstancesCount": len(self.instances_of(cluster)),
            "activeServicesCount": sum(s.status == ACTIVE for s in self.services_of(cluster)),
            "runningTasksCount": sum(task.last_status == RUNNING for task in tasks),
            "pendingTasksCount": sum(task.last_status == PENDING for task in tasks),
        }

    def retire(self, service: Service) -> None:
        """A deleted service becomes INACTIVE once its tasks are gone; it can still be described."""
        service.status = INACTIVE


def _user() -> str:
    """This process's user, by number if it has no name, as in containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _deployment(definition: Json, *, is_rollback: bool = False) -> Deployment:
    identity = uuid.uuid4().int % 10**19
    reason = f"ECS deployment ecs-svc/{identity:019d} in progress."
    return Deployment(f"ecs-svc/{identity:019d}", definition, rollout_reason=reason, is_rollback=is_rollback)


# The settings of CreateService and UpdateService that DescribeServices returns as they were given.
_SETTINGS = (
    "launchType", "capacityProviderStrategy", "placementConstraints", "placementStrategy", "propagateTags",
    "enableECSManagedTags", "enableExecuteCommand", "healthCheckGracePeriodSeconds", "deploymentConfiguration",
    "availabilityZoneRebalancing", "serviceRegistries", "loadBalancers",
)  # fmt: skip


def _configure(service: Service, request: Json) -> None:
    service.settings |= {key: request[key] for key in _SETTINGS if request.get(key) is not None}
    if request.get("placementStrategy"):
        # "To remove an existing placement strategy, specify an empty object."
        service.settings["placementStrategy"] = [one for one in request["placementStrategy"] if one]
    if request.get("placementConstraints"):
        service.settings["placementConstraints"] = [one for one in request["placementConstraints"] if one]
    if request.get("capacityProviderStrategy"):
        service.settings.pop("launchType", None)
    deployment = request.get("deploymentConfiguration") or {}
    if deployment.get("minimumHealthyPercent") is not None:
        service.minimum_healthy_percent = int(deployment["minimumHealthyPercent"])
    if deployment.get("maximumPercent") is not None:
        service.maximum_percent = int(deployment["maximumPercent"])
    if deployment.get("deploymentCircuitBreaker") is not None:
        service.circuit_breaker = dict(deployment["deploymentCircuitBreaker"])
