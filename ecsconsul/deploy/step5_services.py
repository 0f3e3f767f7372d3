"""The ECS service of each service of the lab (steps 11 and 12): created, rolled over, waited for, drained."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

from ..config.lab import Lab, ServiceSpec
from ..errors import LabError
from ..targets.base import Target
from ..targets.client_errors import error_code
from .base_step import BaseStep
from .rollout import Rollout, counts, has_failed, is_stable
from .service_poller import ServicePoller
from .step import FINGERPRINT_TAG, Actual, Report, as_items, as_mapping, fingerprint, require_ownership, tags_for
from .step4_task_definitions import TaskDefinitionStep

# which task definition the lab gave the service: another one in its place was put there by someone else
TASK_DEFINITION_TAG = "ecsconsul:task-definition"

# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-ecs.html
ROLLING = {
    "minimumHealthyPercent": 100,
    "maximumPercent": 200,
    "deploymentCircuitBreaker": {"enable": True, "rollback": True},
}
# how long tasks are waited for that a dead instance cannot report as stopped, in seconds
DRAIN_PATIENCE = 180.0


class ServiceStep(BaseStep):
    """One ECS service; ready when its deployment is complete and as many tasks run as wanted."""

    def __init__(
        self, lab: Lab, service: ServiceSpec, task: TaskDefinitionStep, target: Target, watch: ServicePoller
    ) -> None:
        self.name = f"services/{service.name}"
        self.needs = ("stack", task.name)
        self._lab = lab
        self._service = service
        self._task = task
        self._target = target
        self._watch = watch

    def wanted(self) -> dict[str, Any]:
        return {
            "serviceName": self._service.name,
            "taskDefinition": fingerprint(self._task.wanted()),
            **self.scheduling(),
        }

    def scheduling(self) -> dict[str, Any]:
        """How many tasks run, and how they are replaced."""
        return {"desiredCount": self._service.count, "deploymentConfiguration": self._replacing()}

    def _replacing(self) -> dict[str, Any]:
        """Where every instance has a task at a fixed port, one must go before another can come.

        ECS rounds the minimum up, to one task less than all of them.
        """
        count = self._service.count
        if self._service.host_port is None or not count or count < self._lab.instances:
            return ROLLING
        return {**ROLLING, "minimumHealthyPercent": 100 * (count - 1) // count}

    def placing(self) -> dict[str, Any]:
        """What can be said only when the service is created."""
        return {"placementStrategy": [{"type": "spread", "field": "instanceId"}]}

    def found(self) -> Actual | None:
        service = self._watch.look(self._service.name)
        if service is None:
            return None
        claim_service(self._lab, service)
        tags = as_mapping(service.get("tags"))
        made_of = tags.get(FINGERPRINT_TAG) if self._is_as_made(service, tags) else None
        return Actual(made_of, is_stable(service), counts(service))

    def apply(self, found: Actual | None, report: Report) -> str:
        since = time.time()
        arn = self._task.newest()
        rollout = Rollout(self._lab, self._service, arn, self._target, self._watch)
        if found is None or found.fingerprint != fingerprint(self.wanted()):
            rollout.began_as(self._write(arn, report))
        return rollout.await_stable(report, since)

    def destroy(self, report: Report) -> str:
        return delete_service(self._lab, self._service.name, self._target, self._watch, report)

    def _write(self, arn: str | None, report: Report) -> dict[str, Any]:
        """Create or update the service; what ECS answers."""
        tags = as_items({**tags_for(self._lab.name, self.wanted()), TASK_DEFINITION_TAG: str(arn)})
        request = {"cluster": self._lab.name, "taskDefinition": arn, **self.scheduling()}
        service = self._watch.look(self._service.name)
        if service and service["status"] == "DRAINING":
            report.say("waiting for the one before to drain")
            await_gone(self._service.name, self._watch, report)
            service = None
        if service is None:
            made = self._create(request, tags)
            if made:
                return made
            service = self._watch.look(self._service.name)
        if service is None:
            raise LabError(f"The service {self._service.name} was deleted while it was made")
        return self._update(service, request, tags)

    def _create(self, request: dict[str, Any], tags: list[dict[str, str]]) -> dict[str, Any] | None:
        """The service, created; None when another `up` was faster."""
        from botocore.exceptions import ClientError

        made = {"serviceName": self._service.name, "launchType": "EC2", "clientToken": uuid.uuid4().hex, "tags": tags}
        try:
            answer = self._target.client("ecs").create_service(**request, **self.placing(), **made)
        except ClientError as error:
            if error_code(error) != "InvalidParameterException" or self._watch.look(self._service.name) is None:
                raise
            return None
        return dict(answer["service"])

    def _update(self, service: dict[str, Any], request: dict[str, Any], tags: list[dict[str, str]]) -> dict[str, Any]:
        """The service, updated. Raises LabError when it is someone else's."""
        claim_service(self._lab, service)
        ecs = self._target.client("ecs")
        again = has_failed(service)
        answer = ecs.update_service(service=self._service.name, forceNewDeployment=again, **request)
        ecs.tag_resource(resourceArn=service["serviceArn"], tags=tags)
        return dict(answer["service"])

    def _is_as_made(self, service: Mapping[str, Any], tags: Mapping[str, str]) -> bool:
        """Whether the service is still what its fingerprint says: nobody scaled it or gave it another definition.

        A deployment that failed says nothing of the next one: the cause may have been mended outside of the source.
        """
        same_definition = service["taskDefinition"] == tags.get(TASK_DEFINITION_TAG) and not has_failed(service)
        same_count = service["desiredCount"] == self.scheduling().get("desiredCount", service["desiredCount"])
        return bool(same_definition and same_count and service["status"] == "ACTIVE")


class ScaleStep(BaseStep):
    """Another desired count for a service, and nothing else: what made the service stays written on it."""

    def __init__(self, lab: Lab, service: ServiceSpec, target: Target, watch: ServicePoller) -> None:
        self.name = f"services/{service.name}"
        self._lab = lab
        self._service = service
        self._target = target
        self._watch = watch

    def wanted(self) -> dict[str, Any]:
        return {"desiredCount": self._service.count}

    def found(self) -> Actual | None:
        service = self._describe()
        made_of = fingerprint({"desiredCount": service["desiredCount"]})
        return Actual(made_of, is_stable(service), counts(service))

    def apply(self, found: Actual | None, report: Report) -> str:
        service, since = self._describe(), time.time()
        rollout = Rollout(self._lab, self._service, service["taskDefinition"], self._target, self._watch)
        if service["desiredCount"] != self._service.count:
            answer = self._target.client("ecs").update_service(
                cluster=self._lab.name, service=self._service.name, desiredCount=self._service.count
            )
            rollout.began_as(answer["service"])
        return rollout.await_stable(report, since)

    def destroy(self, report: Report) -> str:
        raise LabError(f"{self.name} is only scaled")

    def _describe(self) -> dict[str, Any]:
        service = self._watch.look(self._service.name)
        if service is None or service["status"] != "ACTIVE":
            raise LabError(
                f"The service {self._service.name} is not running",
                where=f"lab {self._lab.name}",
                hint="`ecsconsul up` starts it",
            )
        claim_service(self._lab, service)
        return service


def delete_service(lab: Lab, name: str, target: Target, watch: ServicePoller, report: Report) -> str:
    """Drain and delete a service that the lab made."""
    service = watch.look(name)
    if service is None:
        return "absent"
    claim_service(lab, service)
    if service["status"] != "DRAINING":
        target.client("ecs").delete_service(cluster=lab.name, service=name, force=True)
    try:
        await_gone(name, watch, report, seconds=DRAIN_PATIENCE)
    except TimeoutError:
        return "still draining; its tasks go with the instances"
    return "deleted"


def await_gone(name: str, watch: ServicePoller, report: Report, seconds: float | None = None) -> None:
    """Wait until a deleted service has no task left. Raises TimeoutError."""

    def gone(service: Mapping[str, Any] | None) -> bool | None:
        report.under_way(f"service {name}: {service['status']}" if service else "")
        return None if service else True

    watch.until(name, gone, report, seconds=seconds)


def claim_service(lab: Lab, service: Mapping[str, Any]) -> None:
    """Raises LabError unless the lab made the service."""
    require_ownership("service", service["serviceName"], lab.name, as_mapping(service.get("tags")))
