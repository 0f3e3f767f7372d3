"""The ECS service of each service of the lab (steps 11 and 12): created, updated, scaled, drained and deleted."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from ..aws_tags import FINGERPRINT_TAG, as_items, as_mapping, require_ownership
from ..config.lab import Lab, ServiceSpec
from ..errors import LabError
from ..targets.base import Target
from ..targets.client_errors import client_error, error_code
from .capacity_provider import CAPACITY_PROVIDER, strategy_of
from .field_diff import request_changes, reversed_changes, tag_changes
from .revisions import mark_stable, settle
from .rollout import Rollout, counts, has_failed, is_stable
from .service_poller import ServicePoller
from .step import Actual, BaseStep, Drift, FieldChange, Report, fingerprint, tags_for
from .step4_task_definitions import TaskDefinitionStep, revision_of

# records the task definition that the lab deployed: any other one was deployed by someone else
TASK_DEFINITION_TAG = "ecsconsul:task-definition"

# what `--no-wait` says of a service
NOT_AWAITED = "requested, and ECS goes on without waiting"

# the value of a tag that is missing
SET_BY_UP = "set by up"

# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-ecs.html
ROLLING = {
    "minimumHealthyPercent": 100,
    "maximumPercent": 200,
    "deploymentCircuitBreaker": {"enable": True, "rollback": True},
}
# A daemon's old task stops on its instance before the new one starts there.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_services.html#service_scheduler_daemon
REPLACEMENT = {"minimumHealthyPercent": 0, "maximumPercent": 100}
REPLICA, DAEMON = "REPLICA", "DAEMON"
# Over the zones first, then over each zone's instances; and if a zone has lost its tasks, they go back when it can.
# Changing either moves no task: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html
PLACEMENT = {
    "placementStrategy": [
        {"type": "spread", "field": "attribute:ecs.availability-zone"},
        {"type": "spread", "field": "instanceId"},
    ],
    "availabilityZoneRebalancing": "ENABLED",
}
# how long a new task may fail the load balancer's health checks, in seconds: an image without its layers takes a while
LOAD_BALANCER_GRACE = 60
# how long to wait for tasks that a dead instance can't report as stopped, in seconds
DRAIN_TIMEOUT = 180.0


def desired_count(service: ServiceSpec) -> int:
    """How many tasks the config wants; the only place in the steps that reads `count`."""
    return service.count


def scheduling(lab: Lab, service: ServiceSpec) -> dict[str, Any]:
    """The part of CreateService and UpdateService that says how many tasks run, where, and how they are replaced.

    While instances are replaced, one more than `max_instances` may be there for a while, and nothing relies on it.
    """
    if service.is_daemon:
        return {"deploymentConfiguration": REPLACEMENT}
    count = desired_count(service)
    deployment: dict[str, Any] = dict(ROLLING)
    if service.host_ports and count and count >= lab.max_instances:
        # With a task at a fixed port of every instance, one must stop before another can start. ECS rounds the
        # minimum up, to all tasks but one.
        deployment["minimumHealthyPercent"] = 100 * (count - 1) // count
    return {"desiredCount": count, "deploymentConfiguration": deployment, **PLACEMENT}


class ServiceStep(BaseStep):
    """One ECS service; ready when its deployment is complete and all desired tasks run."""

    def __init__(
        self,
        lab: Lab,
        service: ServiceSpec,
        task: TaskDefinitionStep,
        target: Target,
        poller: ServicePoller,
        *,
        wait: bool = True,
    ) -> None:
        """Without `wait`, it is done once ECS has been asked."""
        self.name = f"services/{service.name}"
        self.needs = ("stack", CAPACITY_PROVIDER, task.name)
        self._wait = wait
        self._lab = lab
        self._service = service
        self._task = task
        self._target = target
        self._poller = poller

    @cached_property
    def _desired(self) -> dict[str, Any]:
        strategy = {"capacityProviderStrategy": self.capacity()} if self.capacity() else {}
        group = self._target.target_group(self._service.name)
        balanced = {"targetGroup": group} if group else {}
        named = {"serviceName": self._service.name, "taskDefinition": self._task.fingerprint}
        return {**named, **self.scheduling(), **strategy, **balanced}

    def scheduling(self) -> dict[str, Any]:
        """How many tasks run, where, and how they are replaced."""
        return scheduling(self._lab, self._service)

    def capacity(self) -> list[dict[str, Any]]:
        """The capacity provider strategy; empty for the launch type EC2.

        A daemon is on every instance already, and ECS doesn't count it when it scales.
        """
        return [] if self._service.is_daemon else strategy_of(self._lab)

    def kind(self) -> dict[str, Any]:
        """The settings that only CreateService accepts."""
        daemon = {"schedulingStrategy": DAEMON} if self._service.is_daemon else {}
        return {"launchType": "EC2", **daemon}

    def load_balancing(self, actual: Mapping[str, Any]) -> dict[str, Any]:
        """The part of CreateService and UpdateService that changes which target group the tasks join; often empty.

        Sending it starts a deployment, changed or not, and an empty list leaves the target group:
        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html
        """
        output = self._target.target_group(self._service.name)
        group = self._target.stack_output(output) if output else None
        if [one.get("targetGroupArn") for one in actual.get("loadBalancers") or ()] == ([group] if group else []):
            return {}
        if group is None:
            return {"loadBalancers": []}
        container = {"containerName": self._service.name, "containerPort": self._service.port}
        joined = [{"targetGroupArn": group, **container}]
        return {"loadBalancers": joined, "healthCheckGracePeriodSeconds": LOAD_BALANCER_GRACE}

    def inspect(self) -> Actual | None:
        service = self._poller.describe(self._service.name)
        if service is None:
            return None
        claim_service(self._lab, service)
        tags = as_mapping(service.get("tags"))
        made_from = tags.get(FINGERPRINT_TAG) if self._is_unchanged(service, tags) else None
        return Actual(
            made_from,
            is_stable(service),
            counts(service),
            fields=lambda: self._fields(service, tags),
            drift=lambda: self._drift(service, tags),
        )

    def _fields(self, service: Mapping[str, Any], tags: Mapping[str, str]) -> list[FieldChange]:
        """What an update changes."""
        found = [*self._definition_change(service), *self._setting_changes(service)]
        if has_failed(service):
            found.append(FieldChange("deployment", "FAILED", "started again"))
        if service["status"] != "ACTIVE":
            found.append(FieldChange("status", service["status"], "ACTIVE"))
        return found or tag_changes(tags.get(FINGERPRINT_TAG), self.fingerprint)

    def _definition_change(self, service: Mapping[str, Any]) -> list[FieldChange]:
        """Another task definition: a revision that is there already, or one that its own step registers."""
        runs, actual = revision_of(service["taskDefinition"]), self._task.inspect()
        if actual is None or actual.fingerprint != self._task.fingerprint:
            return [FieldChange("taskDefinition", runs, "a new revision", self._task.name)]
        return [FieldChange("taskDefinition", runs, actual.detail)] if runs != actual.detail else []

    def _setting_changes(self, service: Mapping[str, Any]) -> list[FieldChange]:
        """What differs in how many tasks run, where, and how they are replaced."""
        providers = {"capacityProviders": _providers(service.get("capacityProviderStrategy"))}
        group = self.load_balancing(service)
        joined = {"loadBalancers": service.get("loadBalancers")} if group else {}
        request = {**self.scheduling(), "capacityProviders": _providers(self.capacity()), **group}
        return request_changes({**service, **providers, **joined}, request)

    def _drift(self, service: Mapping[str, Any], tags: Mapping[str, str]) -> Drift:
        """What others have changed. A task definition that ECS itself went back to isn't."""
        recorded, runs = tags.get(TASK_DEFINITION_TAG), service["taskDefinition"]
        found = []
        if recorded not in (None, runs) and not has_failed(service):
            found.append(FieldChange("taskDefinition", revision_of(str(recorded)), revision_of(runs)))
        missing = [name for name in (FINGERPRINT_TAG, TASK_DEFINITION_TAG) if name not in tags]
        found += [FieldChange(f"tags.{name}", SET_BY_UP, None) for name in missing]
        if tags.get(FINGERPRINT_TAG) not in (None, self.fingerprint):
            return Drift(tuple(found), config_changed=True)
        return Drift((*found, *reversed_changes(self._setting_changes(service))))

    def apply(self, actual: Actual | None, report: Report) -> str:
        since = time.time()
        arn = self._task.newest()
        rollout = Rollout(self._lab, self._service, arn, self._target, self._poller)
        if actual is None or actual.fingerprint != self.fingerprint:
            rollout.started_as(self._write(arn, report))
        if not self._wait:
            return NOT_AWAITED
        detail = rollout.await_stable(report, since)
        settle(self._target, self._lab, self._poller.seen[self._service.name], report)
        return detail

    def destroy(self, report: Report) -> str:
        return delete_service(self._lab, self._service.name, self._target, self._poller, report)

    def _write(self, arn: str | None, report: Report) -> dict[str, Any]:
        """Create or update the service; returns ECS's description of it."""
        tags = {**tags_for(self._lab.name, self.desired()), TASK_DEFINITION_TAG: str(arn)}
        request = {"cluster": self._lab.name, "taskDefinition": arn, **self.scheduling()}
        service = self._poller.describe(self._service.name)
        if service and service["status"] == "DRAINING":
            report.say("waiting for the deleted service to drain")
            await_deleted(self._service.name, self._poller, report)
            service = None
        if service and service.get("schedulingStrategy", REPLICA) != self.kind().get("schedulingStrategy", REPLICA):
            # ECS can't change it: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html
            report.say(f"deleting the service: it becomes a {self._service.schedule}, which ECS can't change")
            delete_service(self._lab, self._service.name, self._target, self._poller, report)
            service = None
        if service is None:
            service = self._create(request, tags)
            if service and not self.capacity():
                return service
            service = service or self._poller.describe(self._service.name)
        if service is None:
            raise LabError(f"Someone deleted the service {self._service.name} while it was being created")
        if is_stable(service) and service["runningCount"] and service["taskDefinition"] != arn:
            # `rollback` goes to what was stable, also where an earlier version deployed it
            mark_stable(self._target, service["taskDefinition"], report)
        return self._update(service, request, tags)

    def _create(self, request: dict[str, Any], tags: dict[str, str]) -> dict[str, Any] | None:
        """The created service; None when another `up` created it first.

        One that is created with a capacity provider has no launch type to go back to, so it gets the launch type first,
        and no tasks until it is updated; without a fingerprint, for the next `up` if this one is killed meanwhile.
        https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-ecs-service.html
        """
        if self.capacity():
            request = {**request, "desiredCount": 0}
            tags = {name: text for name, text in tags.items() if name != FINGERPRINT_TAG}
        extra = {"serviceName": self._service.name, "clientToken": uuid.uuid4().hex, "tags": as_items(tags)}
        try:
            created = self._target.client("ecs").create_service(
                **request, **self.kind(), **self.load_balancing({}), **extra
            )
        except client_error() as error:
            if error_code(error) != "InvalidParameterException" or self._poller.describe(self._service.name) is None:
                raise
            return None
        return dict(created["service"])

    def _update(self, service: dict[str, Any], request: dict[str, Any], tags: dict[str, str]) -> dict[str, Any]:
        """The updated service. Raises LabError when it isn't the lab's.

        ECS changes what a service runs on, in either direction, only together with a new deployment.
        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html
        """
        claim_service(self._lab, service)
        ecs = self._target.client("ecs")
        moves = _providers(service.get("capacityProviderStrategy")) != _providers(self.capacity())
        strategy = {"capacityProviderStrategy": self.capacity()} if moves else {}
        force = has_failed(service) or moves
        request |= {**strategy, **self.load_balancing(service)}
        updated = ecs.update_service(service=self._service.name, forceNewDeployment=force, **request)
        ecs.tag_resource(resourceArn=service["serviceArn"], tags=as_items(tags))
        return dict(updated["service"])

    def _is_unchanged(self, service: Mapping[str, Any], tags: Mapping[str, str]) -> bool:
        """Whether the service is still what its fingerprint says: nobody scaled, deployed or configured it.

        A failed deployment counts as changed, so that it is tried again: its cause may lie outside of the config.
        """
        same_definition = service["taskDefinition"] == tags.get(TASK_DEFINITION_TAG) and not has_failed(service)
        return same_definition and not self._setting_changes(service) and service["status"] == "ACTIVE"


class ScaleStep(BaseStep):
    """Another desired count for a service that runs; its fingerprint tag stays as it is."""

    def __init__(
        self, lab: Lab, service: ServiceSpec, target: Target, poller: ServicePoller, *, wait: bool = True
    ) -> None:
        self.name = f"services/{service.name}"
        self._wait = wait
        self._lab = lab
        self._service = service
        self._target = target
        self._poller = poller

    @cached_property
    def _desired(self) -> dict[str, Any]:
        return {"desiredCount": desired_count(self._service)}

    def inspect(self) -> Actual | None:
        service = self._describe()
        made_from = fingerprint({"desiredCount": service["desiredCount"]})
        return Actual(made_from, is_stable(service), counts(service))

    def apply(self, actual: Actual | None, report: Report) -> str:
        service, since = self._describe(), time.time()
        rollout = Rollout(self._lab, self._service, service["taskDefinition"], self._target, self._poller)
        if service["desiredCount"] != self.desired()["desiredCount"]:
            own = {"cluster": self._lab.name, "service": self._service.name}
            updated = self._target.client("ecs").update_service(**own, **self.desired())
            rollout.started_as(updated["service"])
        if not self._wait:
            return NOT_AWAITED
        return rollout.await_stable(report, since)

    def destroy(self, report: Report) -> str:
        raise LabError(f"{self.name} can only be scaled here")

    def _describe(self) -> dict[str, Any]:
        service = self._poller.describe(self._service.name)
        if service is None or service["status"] != "ACTIVE":
            raise LabError(
                f"The service {self._service.name} is not running",
                where=f"lab {self._lab.name}",
                hint="`ecsconsul up` starts it",
            )
        claim_service(self._lab, service)
        return service


def _providers(strategy: Sequence[Mapping[str, Any]] | None) -> list[str]:
    """The providers of a strategy, to which ECS adds what was left out."""
    return [one["capacityProvider"] for one in strategy or ()]


def delete_service(lab: Lab, name: str, target: Target, poller: ServicePoller, report: Report) -> str:
    """Delete a service that the lab owns, and wait until it has drained."""
    service = poller.describe(name)
    if service is None:
        return "absent"
    claim_service(lab, service)
    if service["status"] != "DRAINING":
        target.client("ecs").delete_service(cluster=lab.name, service=name, force=True)
    try:
        await_deleted(name, poller, report, seconds=DRAIN_TIMEOUT)
    except TimeoutError:
        return "still draining; its tasks end with their instances"
    return "deleted"


def await_deleted(name: str, poller: ServicePoller, report: Report, seconds: float | None = None) -> None:
    """Wait until a deleted service has no tasks left. Raises TimeoutError."""

    def deleted(service: Mapping[str, Any] | None) -> bool | None:
        report.in_progress(f"service {name}: {service['status']}" if service else "")
        return None if service else True

    poller.poll_until(name, deleted, report, seconds=seconds)


def claim_service(lab: Lab, service: Mapping[str, Any]) -> None:
    """Raises LabError unless the lab owns the service."""
    require_ownership("service", service["serviceName"], lab.name, as_mapping(service.get("tags")))
