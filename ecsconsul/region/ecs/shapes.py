"""Renders the region's state as the JSON of ECS's API. Pure.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Types.html; times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .model import (
    INACTIVE,
    PENDING,
    RUNNING,
    UNKNOWN,
    CapacityProvider,
    ContainerInstance,
    ContainerState,
    Deployment,
    Service,
    Task,
)
from .placement import free

if TYPE_CHECKING:
    from .state import Ecs

Json = dict[str, Any]


def service(service: Service, tasks: Sequence[Task], ecs: Ecs, *, with_tags: bool) -> Json:
    """A Service; its counts are those of the tasks that really run."""
    shape: Json = {
        "serviceArn": service.arn,
        "serviceName": service.name,
        "clusterArn": _cluster_arn(ecs, service.cluster),
        "status": service.status,
        "desiredCount": service.desired,
        "runningCount": _count(tasks, RUNNING),
        "pendingCount": _count(tasks, PENDING),
        **({} if service.provider else {"launchType": "EC2"}),
        "schedulingStrategy": service.strategy,
        "deploymentController": {"type": "ECS"},
        "taskDefinition": service.primary.task_definition["taskDefinitionArn"],
        "loadBalancers": [],
        "serviceRegistries": [],
        "placementConstraints": [],
        "placementStrategy": [],
        **service.settings,
        "deploymentConfiguration": _configuration(service),
        "deployments": []
        if service.status == INACTIVE
        else [deployment(d, service, tasks) for d in service.deployments],
        "events": list(service.events),
        "createdAt": service.created_at,
    }
    return {**shape, "tags": service.tags} if with_tags else shape


def deployment(one: Deployment, service: Service, tasks: Sequence[Task]) -> Json:
    """A Deployment of a service; only the primary one has a desired count above zero."""
    own = [task for task in tasks if task.deployment_id == one.id]
    return {
        "id": one.id,
        "status": one.status,
        "taskDefinition": one.task_definition["taskDefinitionArn"],
        "desiredCount": service.desired if one.status == "PRIMARY" else 0,
        "runningCount": _count(own, RUNNING),
        "pendingCount": _count(own, PENDING),
        "failedTasks": one.failed_tasks,
        **_runs_on(service),
        "rolloutState": one.rollout_state,
        "rolloutStateReason": one.rollout_reason,
        "createdAt": one.created_at,
        "updatedAt": one.updated_at,
    }


def task(task: Task, ecs: Ecs, *, with_tags: bool) -> Json:
    """A Task, without the keys that have no value, as AWS does."""
    definition = task.task_definition
    shape: Json = {
        "taskArn": task.arn,
        "clusterArn": _cluster_arn(ecs, task.cluster),
        "taskDefinitionArn": task.task_definition_arn,
        "containerInstanceArn": ecs.instance_arn(task.instance_id) or None,
        "group": task.group,
        "launchType": "EC2",
        "capacityProviderName": task.provider or None,
        "lastStatus": task.last_status,
        "desiredStatus": task.desired_status,
        "healthStatus": task.health if task.last_status == RUNNING else UNKNOWN,
        "connectivity": "CONNECTED",
        "cpu": str(definition["cpu"]) if definition.get("cpu") else None,
        "memory": str(definition["memory"]) if definition.get("memory") else None,
        "containers": [container(c, task, ecs) for c in task.containers],
        "overrides": _overrides(task),
        "attachments": [],
        "attributes": [],
        "createdAt": task.created_at,
        "startedAt": task.started_at,
        "stoppingAt": task.stopping_at,
        "stoppedAt": task.stopped_at,
        "stopCode": task.stop_code or None,
        "stoppedReason": task.stopped_reason or None,
        "startedBy": task.started_by or None,
        "version": 1,
    }
    if with_tags:
        shape["tags"] = task.tags
    return {key: value for key, value in shape.items() if value is not None}


def _overrides(task: Task) -> Json:
    """The task's overrides; AWS lists each container, also one that has none."""
    given = {one.get("name"): one for one in task.overrides.get("containerOverrides") or ()}
    containers = [given.get(one.name, {"name": one.name}) for one in task.containers]
    return {"inferenceAcceleratorOverrides": [], **task.overrides, "containerOverrides": containers}


def capacity_provider(one: CapacityProvider, *, with_tags: bool) -> Json:
    """A CapacityProvider for an Auto Scaling group."""
    shape: Json = {
        "capacityProviderArn": one.arn,
        "name": one.name,
        "status": "ACTIVE",
        "autoScalingGroupProvider": {
            "autoScalingGroupArn": one.group_arn,
            "managedScaling": dict(one.managed_scaling),
            "managedTerminationProtection": one.termination_protection,
            "managedDraining": one.managed_draining,
        },
        "updateStatus": one.update_status,
        "type": "EC2_AUTOSCALING",
    }
    return {**shape, "tags": one.tags} if with_tags else shape


def container(one: ContainerState, task: Task, ecs: Ecs) -> Json:
    """A Container of a task, with its real host ports."""
    shape: Json = {
        "containerArn": f"{ecs.arn('container', task.cluster, task.id)}/{one.name}",
        "taskArn": task.arn,
        "name": one.name,
        "image": one.definition["image"],
        "runtimeId": one.runtime_id or None,
        "lastStatus": one.status,
        "exitCode": one.exit_code,
        "reason": one.reason or None,
        "networkBindings": [
            {
                "bindIP": binding.host_ip or ecs.instance_address(task.instance_id),
                "containerPort": binding.container_port,
                "hostPort": binding.host_port,
                "protocol": binding.protocol,
            }
            for binding in one.bindings
        ],
        "networkInterfaces": [],
        "healthStatus": one.health if one.status == RUNNING else UNKNOWN,
        "cpu": str(one.definition.get("cpu") or 0),
        "memory": str(one.definition["memory"]) if one.definition.get("memory") else None,
    }
    return {key: value for key, value in shape.items() if value is not None}


def container_instance(instance: ContainerInstance, tasks: Sequence[Task]) -> Json:
    """A ContainerInstance, with the resources that its tasks leave free."""
    free_cpu, free_memory = free(instance, tasks)
    return {
        "containerInstanceArn": instance.arn,
        "ec2InstanceId": instance.instance_id,
        "status": instance.status,
        "agentConnected": instance.connected,
        "runningTasksCount": _count(tasks, RUNNING),
        "pendingTasksCount": _count(tasks, PENDING),
        "registeredResources": _resources(instance.cpu, instance.memory),
        "remainingResources": _resources(free_cpu, free_memory),
        "attributes": [
            {"name": name, **({"value": value} if value else {})} for name, value in instance.attributes.items()
        ],
        "attachments": [],
        "registeredAt": instance.registered_at,
        "version": 1,
        "versionInfo": {},
        "tags": instance.tags,
    }


def _runs_on(service: Service) -> Json:
    """What a deployment runs on: capacity providers, or a launch type."""
    strategy = service.settings.get("capacityProviderStrategy")
    return {"capacityProviderStrategy": strategy} if strategy else {"launchType": "EC2"}


def _cluster_arn(ecs: Ecs, cluster: str) -> str:
    return f"arn:aws:ecs:{ecs.moto.region}:{ecs.moto.account}:cluster/{cluster}"


def _count(tasks: Sequence[Task], status: str) -> int:
    return sum(task.last_status == status for task in tasks)


def _configuration(service: Service) -> Json:
    return {
        "strategy": "ROLLING",
        **service.settings.get("deploymentConfiguration", {}),
        "minimumHealthyPercent": service.minimum_healthy_percent,
        "maximumPercent": service.maximum_percent,
    }


def _resources(cpu: int, memory: int) -> list[Json]:
    return [
        {"name": name, "type": "INTEGER", "doubleValue": 0.0, "longValue": 0, "integerValue": value}
        for name, value in (("CPU", cpu), ("MEMORY", memory))
    ]
