"""Amazon ECS's API for services, tasks and container instances, answered from the region's state.

moto answers for clusters and task definitions. Shapes and errors follow the API reference:
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/Welcome.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from . import shapes
from .attributes import Attributes
from .capacity_providers import CapacityProviders
from .cluster_query import InvalidExpression
from .model import ACTIVE, DAEMON, DRAINING, INACTIVE, REPLICA, Service, Task, needed
from .placement import DISTINCT, MEMBER_OF, Unplaceable, check_constraints
from .request_fields import ApiError, last, names, page
from .state import Ecs

Json = dict[str, Any]
# AWS's limits for one request.
SERVICES_PER_PAGE, ITEMS_PER_PAGE, MAX_TASKS_PER_RUN, INSTANCES_PER_UPDATE = 10, 100, 10, 10
_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
_NAME_RULE = "up to 255 letters (uppercase and lowercase), numbers, underscores, and hyphens are allowed."


class EcsApi:
    """One method per operation. `operations` maps AWS's names to them, `by_resource` those that moto answers too."""

    def __init__(self, ecs: Ecs) -> None:
        self._ecs = ecs
        self._providers = CapacityProviders(ecs)
        self.operations: dict[str, Callable[[Json], Json]] = {
            "CreateService": self.create_service,
            "UpdateService": self.update_service,
            "DeleteService": self.delete_service,
            "DescribeServices": self.describe_services,
            "ListServices": self.list_services,
            "RunTask": self.run_task,
            "StopTask": self.stop_task,
            "ListTasks": self.list_tasks,
            "DescribeTasks": self.describe_tasks,
            "ListContainerInstances": self.list_container_instances,
            "DescribeContainerInstances": self.describe_container_instances,
            "UpdateContainerInstancesState": self.update_container_instances_state,
            "DescribeTaskDefinition": self.describe_task_definition,
            "StartTask": self.start_task,
            **self._providers.operations,
            **Attributes(ecs, self._cluster).operations,
        }
        self.by_resource: dict[str, Callable[[Json], Json]] = {
            "TagResource": self.tag_resource,
            "UntagResource": self.untag_resource,
            "ListTagsForResource": self.list_tags_for_resource,
        }

    # services

    def create_service(self, request: Json) -> Json:
        # One call for both, because each call takes moto's lock.
        cluster, found = self._cluster_and_definition(request)
        name = request["serviceName"]
        known = self._ecs.service(cluster, name)
        if not _NAME.fullmatch(name):
            raise ApiError("InvalidParameterException", f"Invalid service name: {_NAME_RULE}")
        if known and known.status == DRAINING:
            raise ApiError("InvalidParameterException", "Unable to Start a service that is still Draining.")
        if known and known.status != INACTIVE:
            raise ApiError("InvalidParameterException", "Creation of service was not idempotent.")
        is_daemon = request.get("schedulingStrategy") == DAEMON
        if is_daemon:
            _check_daemon(request)
        else:
            request = self._providers.with_default_strategy(cluster, request)
        self._providers.check_strategy(cluster, request)
        _require_supported(request)
        _check_counts(request, *((0, 100) if is_daemon else ()))
        _check_placement(request)
        definition = _usable(found)
        service = self._ecs.create_service(cluster, name, int(request.get("desiredCount") or 0), definition, request)
        return {"service": self._service(service)}

    def update_service(self, request: Json) -> Json:
        cluster, found = self._cluster_and_definition(request)
        service = self._service_of(cluster, request)
        if service.status != ACTIVE:
            raise ApiError("ServiceNotActiveException", "Service was not ACTIVE.")
        self._providers.check_strategy(cluster, request, service)
        if service.strategy == DAEMON:
            _check_daemon(request)
        _check_counts(request, service.minimum_healthy_percent, service.maximum_percent)
        _check_placement(request)
        definition = _usable(found) if request.get("taskDefinition") else None
        self._ecs.update_service(service, request.get("desiredCount"), definition, request)
        return {"service": self._service(service)}

    def delete_service(self, request: Json) -> Json:
        service = self._service_of(self._cluster(request), request)
        if service.desired > 0 and service.strategy == REPLICA and not request.get("force"):
            raise ApiError("InvalidParameterException", "The service cannot be stopped while it is scaled above 0.")
        self._ecs.delete_service(service)
        return {"service": self._service(service)}

    def describe_services(self, request: Json) -> Json:
        cluster = self._cluster(request)
        with_tags = "TAGS" in (request.get("include") or ())
        services = {name: self._ecs.service(cluster, name) for name in names(request, "services", SERVICES_PER_PAGE)}
        found = [self._service(service, with_tags=with_tags) for service in services.values() if service]
        return {"services": found, "failures": self._missing("service", cluster, services)}

    def list_services(self, request: Json) -> Json:
        cluster = self._cluster(request)
        # ECS describes a deleted service for a while, but no longer lists it.
        strategy = request.get("schedulingStrategy")
        active = [s for s in self._ecs.services_of(cluster) if s.status == ACTIVE]
        arns = sorted(s.arn for s in active if strategy in (None, s.strategy))
        return page(request, "serviceArns", arns, SERVICES_PER_PAGE)

    # tasks

    def run_task(self, request: Json) -> Json:
        cluster, found = self._cluster_and_definition(request)
        count = request.get("count", 1)
        if not 1 <= count <= MAX_TASKS_PER_RUN:
            raise ApiError("InvalidParameterException", f"count should be between 1 and {MAX_TASKS_PER_RUN}.")
        _require_supported(request)
        _check_placement(request)
        definition = _usable(found)
        _check_overrides(request, definition)
        if not self._ecs.instances_of(cluster):
            raise ApiError("InvalidParameterException", "No Container Instances were found in your cluster.")
        tasks, failures = self._ecs.run_task(cluster, definition, count, request)
        return {
            "tasks": [self._task(task) for task in tasks],
            "failures": [{"reason": one.code or "INACTIVE", "detail": one.reason} for one in failures],
        }

    def start_task(self, request: Json) -> Json:
        """Tasks on chosen instances, whatever the placement strategy and constraints say."""
        cluster, found = self._cluster_and_definition(request)
        chosen = names(request, "containerInstances", MAX_TASKS_PER_RUN)
        definition = _usable(found)
        _check_overrides(request, definition)
        known = {last(instance.arn): instance for instance in self._ecs.instances_of(cluster)}
        answer: Json = {
            "tasks": [],
            "failures": self._missing("container-instance", cluster, {n: known.get(n) for n in chosen}),
        }
        for instance in (known[name] for name in chosen if name in known):
            task = self._ecs.add_standalone(cluster, definition, request, instance.instance_id)
            if isinstance(task, Unplaceable):
                failure = {"arn": instance.arn, "reason": task.code or "INACTIVE", "detail": task.reason}
                answer["failures"].append(failure)
            else:
                answer["tasks"].append(self._task(task))
        return answer

    def stop_task(self, request: Json) -> Json:
        task = self._ecs.task(self._cluster(request), last(request["task"]))
        if task is None:
            raise ApiError("InvalidParameterException", "The referenced task was not found.")
        self._ecs.stop_task(task, "UserInitiated", request.get("reason") or "Task stopped by a call to StopTask")
        return {"task": self._task(task)}

    def list_tasks(self, request: Json) -> Json:
        cluster = self._cluster(request)
        status = request.get("desiredStatus", "RUNNING")
        tasks = [task for task in self._ecs.tasks_of(cluster) if task.desired_status == status]
        if request.get("serviceName"):
            service = self._service_of(cluster, {"service": request["serviceName"]})
            tasks = [task for task in tasks if task.service == service.name]
        if request.get("family"):
            tasks = [task for task in tasks if task.task_definition["family"] == request["family"]]
        if request.get("startedBy"):
            tasks = [task for task in tasks if task.started_by == request["startedBy"]]
        if request.get("containerInstance"):
            instance = last(request["containerInstance"])
            tasks = [task for task in tasks if last(self._ecs.instance_arn(task.instance_id)) == instance]
        return page(request, "taskArns", [task.arn for task in tasks], ITEMS_PER_PAGE)

    def describe_tasks(self, request: Json) -> Json:
        cluster = self._cluster(request)
        with_tags = "TAGS" in (request.get("include") or ())
        tasks = {name: self._ecs.task(cluster, name) for name in names(request, "tasks", ITEMS_PER_PAGE)}
        found = [self._task(task, with_tags=with_tags) for task in tasks.values() if task]
        return {"tasks": found, "failures": self._missing("task", cluster, tasks)}

    # container instances

    def describe_task_definition(self, request: Json) -> Json:
        found = self._ecs.moto.task_definition(request["taskDefinition"])
        if found is None:
            raise ApiError("ClientException", "Unable to describe task definition.")
        definition, tags = found
        definition = {**definition, **self._ecs.registrations.get(definition["taskDefinitionArn"], {})}
        return {"taskDefinition": definition, **({"tags": tags} if "TAGS" in (request.get("include") or ()) else {})}

    def list_container_instances(self, request: Json) -> Json:
        status = request.get("status")
        instances = self._ecs.instances_of(self._cluster(request))
        arns = [i.arn for i in instances if status in (None, i.status)]
        return page(request, "containerInstanceArns", arns, ITEMS_PER_PAGE)

    def describe_container_instances(self, request: Json) -> Json:
        cluster = self._cluster(request)
        known = {last(i.arn): i for i in self._ecs.instances_of(cluster)}
        instances = {name: known.get(name) for name in names(request, "containerInstances", ITEMS_PER_PAGE)}
        found = [shapes.container_instance(i, self._ecs.tasks_on(i.instance_id)) for i in instances.values() if i]
        return {"containerInstances": found, "failures": self._missing("container-instance", cluster, instances)}

    def update_container_instances_state(self, request: Json) -> Json:
        if request.get("status") not in (ACTIVE, DRAINING):
            raise ApiError("InvalidParameterException", "Container instance status should be one of [ACTIVE, DRAINING]")
        cluster, chosen = self._cluster(request), names(request, "containerInstances", INSTANCES_PER_UPDATE)
        for instance in self._ecs.instances_of(cluster):
            if last(instance.arn) in chosen:
                self._ecs.set_instance_status(instance, request["status"])
        return self.describe_container_instances(request)

    # tags

    def tag_resource(self, request: Json) -> Json:
        tags = self._tags(request)
        fresh = {tag["key"]: tag for tag in request["tags"]}
        tags[:] = [*(tag for tag in tags if tag["key"] not in fresh), *fresh.values()]
        return {}

    def untag_resource(self, request: Json) -> Json:
        tags = self._tags(request)
        tags[:] = [tag for tag in tags if tag["key"] not in request["tagKeys"]]
        return {}

    def list_tags_for_resource(self, request: Json) -> Json:
        return {"tags": list(self._tags(request))}

    def check_cluster_providers(self, request: Json) -> None:
        """Check a PutClusterCapacityProviders, which moto answers. Raises ApiError."""
        self._providers.check_cluster(request)

    def check_task_definition(self, request: Json) -> None:
        """Check a RegisterTaskDefinition, which moto answers. Raises ApiError."""
        _check_placement(request, (MEMBER_OF,))

    def answers(self, arn: str) -> bool:
        """Whether this resource's tags are kept here rather than in moto."""
        own = ("service", "task", "container-instance", "capacity-provider")
        return arn.rpartition(":")[2].partition("/")[0] in own

    def _tags(self, request: Json) -> list[dict[str, str]]:
        found = self._ecs.tagged(request["resourceArn"])
        if found is None:
            raise ApiError("InvalidParameterException", "The specified resource cannot be found.")
        return found

    # lookups

    def _cluster(self, request: Json) -> str:
        """The name of a request's cluster. Raises ApiError when there is no such cluster."""
        return self._cluster_and_definition({"cluster": request.get("cluster")})[0]

    def _cluster_and_definition(self, request: Json) -> tuple[str, Json | None]:
        """The name of a request's cluster, and its task definition if it exists. Raises ApiError."""
        name = last(request.get("cluster") or "default")
        exists, definition = self._ecs.moto.find(name, request.get("taskDefinition") or "")
        if not exists:
            raise ApiError("ClusterNotFoundException", "Cluster not found.")
        return name, definition

    def _service_of(self, cluster: str, request: Json) -> Service:
        service = self._ecs.service(cluster, last(request["service"]))
        if service is None:
            raise ApiError("ServiceNotFoundException", "Service not found.")
        return service

    def _missing(self, kind: str, cluster: str, found: Mapping[str, object]) -> list[Json]:
        """A failure for each name of a request that was not found."""
        missing = [name for name, resource in found.items() if resource is None]
        return [{"arn": self._ecs.arn(kind, cluster, name), "reason": "MISSING"} for name in missing]

    def _service(self, service: Service, *, with_tags: bool = True) -> Json:
        return shapes.service(service, self._ecs.tasks_of_service(service), self._ecs, with_tags=with_tags)

    def _task(self, task: Task, *, with_tags: bool = True) -> Json:
        return shapes.task(task, self._ecs, with_tags=with_tags)


def _usable(definition: Json | None) -> Json:
    """The task definition, if tasks can be started from it. Raises ApiError."""
    if definition is None:
        raise ApiError("ClientException", "TaskDefinition not found.")
    if definition.get("status") == INACTIVE:
        raise ApiError("ClientException", "TaskDefinition is inactive")
    try:
        needed(definition)
    except (ValueError, OverflowError) as error:
        raise ApiError("ClientException", f"Invalid 'cpu' or 'memory' setting for task: {error}") from error
    return definition


def _require_supported(request: Json) -> None:
    """Refuse what the region doesn't support, rather than do something else. Raises ApiError."""
    supported = {"launchType": "EC2", "deploymentController": "ECS"}
    requested = {key: request.get(key, value) for key, value in supported.items()}
    requested["deploymentController"] = (request.get("deploymentController") or {}).get("type", "ECS")
    for key, value in requested.items():
        if value != supported[key]:
            message = f"The local region supports {key} {supported[key]} only, not {value}."
            raise ApiError("InvalidParameterException", message)


def _check_daemon(request: Json) -> None:
    """Refuse what a daemon can't have. Raises ApiError."""
    if request.get("desiredCount") is not None:
        message = "The daemon scheduling strategy does not support a desired count for services."
        raise ApiError("InvalidParameterException", f"{message} Remove the desired count value and try again.")
    for key in ("placementStrategy", "capacityProviderStrategy"):
        if request.get(key):
            message = f"The daemon scheduling strategy does not support {key}. Remove it and try again."
            raise ApiError("InvalidParameterException", message)


def _check_counts(request: Json, minimum: int = 100, maximum: int = 200) -> None:
    """Check the desired count and the percentages; those a request omits stay as given. Raises ApiError."""
    if (request.get("desiredCount") or 0) < 0:
        raise ApiError("InvalidParameterException", "desiredCount cannot be negative.")
    deployment = request.get("deploymentConfiguration") or {}
    minimum = deployment.get("minimumHealthyPercent", minimum)
    maximum = deployment.get("maximumPercent", maximum)
    if not 0 <= minimum <= 100 <= maximum:
        message = "minimumHealthyPercent should be between 0 and 100, maximumPercent 100 or more."
        raise ApiError("InvalidParameterException", message)
    if minimum == maximum == 100:
        message = "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments."
        raise ApiError("InvalidParameterException", message)


def _check_placement(request: Json, types: tuple[str, ...] = (MEMBER_OF, DISTINCT)) -> None:
    """Refuse placement constraints that the region can't follow. Raises ApiError."""
    constraints = [one for one in request.get("placementConstraints") or () if one]
    try:
        check_constraints(constraints, types)
    except InvalidExpression as error:
        raise ApiError("InvalidParameterException", f"Invalid placement constraint: {error}.") from error


def _check_overrides(request: Json, definition: Json) -> None:
    containers = {container["name"] for container in definition["containerDefinitions"]}
    for override in (request.get("overrides") or {}).get("containerOverrides") or ():
        if override.get("name") not in containers:
            message = f"Override for container named {override.get('name')} is not a container in the TaskDefinition."
            raise ApiError("InvalidParameterException", message)
