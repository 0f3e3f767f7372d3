"""The task definition of each service, as the lab's text writes them (steps 8 to 10)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from ..config.lab import LAB_PORT, Check, Lab, ServiceSpec
from ..targets.base import Target
from .base_step import BaseStep
from .batching import in_groups
from .step import FINGERPRINT_TAG, LAB_TAG, Actual, Report, as_items, as_mapping, tags_for

# DeleteTaskDefinitions takes ten at a time
DELETED_AT_ONCE = 10


class Image(Protocol):
    """The image that a task runs."""

    @property
    def name(self) -> str:
        """The step that must be done before the image is there."""

    @property
    def reference(self) -> str:
        """The name under which it is asked for."""


class TaskDefinitionStep(BaseStep):
    """One service's task definition: a family with the service's name, of which the newest active revision counts."""

    def __init__(self, lab: Lab, service: ServiceSpec, image: Image, target: Target) -> None:
        self.name = f"tasks/{service.name}"
        self.needs = (image.name,)
        self.family = family_of(lab, service.name)
        self._lab = lab
        self._service = service
        self._image = image
        self._target = target
        self._registered: str | None = None

    @property
    def image(self) -> str:
        """The image's name."""
        return self._image.reference

    def wanted(self) -> dict[str, Any]:
        logs = self._target.log_configuration(self._lab, self._service.name)
        container = {**self.container(), **({"logConfiguration": logs} if logs else {})}
        return {
            "family": self.family,
            "requiresCompatibilities": ["EC2"],
            **self.running(),
            "containerDefinitions": [container],
        }

    def running(self) -> dict[str, Any]:
        """What the task runs in."""
        return {"networkMode": "bridge"}

    def container(self) -> dict[str, Any]:
        """What runs in it."""
        return container_definition(self._service, self.image)

    def found(self) -> Actual | None:
        newest = self._newest()
        if newest is None:
            return None
        definition, tags = newest
        made_by_us = tags.get(LAB_TAG) == self._lab.name and is_as_made(definition, self.wanted())
        arn = definition["taskDefinitionArn"]
        return Actual(tags.get(FINGERPRINT_TAG) if made_by_us else None, True, _revision(arn))

    def apply(self, found: Actual | None, report: Report) -> str:
        tags = as_items(tags_for(self._lab.name, self.wanted()))
        made = self._target.client("ecs").register_task_definition(**self.wanted(), tags=tags)
        self._registered = str(made["taskDefinition"]["taskDefinitionArn"])
        return _revision(self._registered)

    def destroy(self, report: Report) -> str:
        return delete_family(self._target, self._lab.name, self.family)

    def newest(self) -> str | None:
        """The ARN of the newest active revision; of the one just registered, which lists may not have yet."""
        if self._registered:
            return self._registered
        newest = self._newest()
        return str(newest[0]["taskDefinitionArn"]) if newest else None

    def _newest(self) -> tuple[Mapping[str, Any], dict[str, str]] | None:
        """The newest active revision and its tags; in an account, another lab may have its own in the same family."""
        return self._described(self.family) or next(filter(None, map(self._described, self._listed())), None)

    def _described(self, name: str) -> tuple[Mapping[str, Any], dict[str, str]] | None:
        """A revision, or a family's newest one, and its tags; None unless it is active and not another lab's."""
        ecs = self._target.client("ecs")
        try:
            found = ecs.describe_task_definition(taskDefinition=name, include=["TAGS"])
        except ecs.exceptions.ClientException:
            return None
        definition, tags = found["taskDefinition"], as_mapping(found.get("tags"))
        # an emulator may answer with one that was deregistered, where AWS would with the one before
        is_active = definition.get("status") == "ACTIVE"
        return (definition, tags) if is_active and tags.get(LAB_TAG, self._lab.name) == self._lab.name else None

    def _listed(self) -> list[str]:
        """The ARNs of the family's newest active revisions, newest first."""
        asked = self._target.client("ecs").list_task_definitions(familyPrefix=self.family, status="ACTIVE", sort="DESC")
        return _newest_first(asked["taskDefinitionArns"], self.family)


def is_as_made(definition: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a definition runs what is wanted: ecs-deploy copies one with its tags, and changes the copy."""
    return _essence(definition) == _essence(wanted)


def _essence(definition: Mapping[str, Any]) -> dict[str, Any]:
    """What decides how a task runs, without what AWS fills in or puts in another order."""
    volumes = [(one["name"], (one.get("host") or {}).get("sourcePath")) for one in definition.get("volumes") or ()]
    containers = [_essence_of_container(container) for container in definition["containerDefinitions"]]
    return {"network": definition.get("networkMode"), "volumes": volumes, "containers": containers}


def _essence_of_container(container: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("name", "image", "cpu", "memory", "command", "entryPoint")
    ports = [
        (m["containerPort"], m.get("hostPort") or 0, m.get("protocol", "tcp"))
        for m in container.get("portMappings") or ()
    ]
    mounts = [(m["sourceVolume"], m["containerPath"]) for m in container.get("mountPoints") or ()]
    logs = container.get("logConfiguration") or {}
    return {
        **{key: container.get(key) or None for key in keys},
        "ports": ports,
        "environment": as_mapping(container.get("environment"), key="name"),
        "mounts": mounts,
        "logs": (logs.get("logDriver"), logs.get("options") or {}),
    }


def container_definition(service: ServiceSpec, image: str) -> dict[str, Any]:
    """The lab's container definition, with the metadata by which Registrator registers the container."""
    environment = {**_told_port(service), **service.environment, **registrator_metadata(service)}
    mapping = {"containerPort": service.port, "protocol": "tcp"}
    if service.host_port:
        mapping["hostPort"] = service.host_port
    return {
        "name": service.name,
        "image": image,
        "cpu": service.cpu,
        "memory": service.memory,
        "essential": True,
        "portMappings": [mapping],
        "environment": as_items(environment, key="name"),
    }


def _told_port(service: ServiceSpec) -> dict[str, str]:
    """The lab's text tells none of its services where to listen; one that is to listen elsewhere must hear of it."""
    return {} if service.port == LAB_PORT else {"PORT": str(service.port)}


def registrator_metadata(service: ServiceSpec) -> dict[str, str]:
    """SERVICE_* variables: name, tags and check of the service on its port (docs/registrator.md)."""
    prefix = f"SERVICE_{service.port}_"
    metadata = {f"{prefix}NAME": service.name}
    if service.tags:
        metadata["SERVICE_TAGS"] = ",".join(tag.replace(",", r"\,") for tag in service.tags)
    if service.check:
        metadata |= {f"{prefix}CHECK_{key}": value for key, value in _check(service.check).items()}
    return metadata


def delete_family(target: Target, lab: str, family: str) -> str:
    """Deregister and delete every revision that the lab made, also one that an earlier try left between the two."""
    ecs = target.client("ecs")
    active, inactive = (
        [arn for arn in _revisions(ecs, family, status) if _tags(ecs, arn).get(LAB_TAG) == lab]
        for status in ("ACTIVE", "INACTIVE")
    )
    for arn in active:
        ecs.deregister_task_definition(taskDefinition=arn)
    mine = [*active, *inactive]
    for some in in_groups(mine, DELETED_AT_ONCE):
        ecs.delete_task_definitions(taskDefinitions=some)
    return f"{len(mine)} deleted" if mine else "absent"


def family_of(lab: Lab, service: str) -> str:
    """The family of a service's task definitions: the service's own name, as in the lab's text."""
    return service


def _check(check: Check) -> dict[str, str]:
    if check.ttl:
        return {"TTL": check.ttl}
    kind = {"HTTP": check.http} if check.http else {"TCP": "true"}
    timeout = {"TIMEOUT": check.timeout} if check.timeout else {}
    return {**kind, "INTERVAL": check.interval, **timeout}


def _revisions(ecs: Any, family: str, status: str) -> list[str]:
    """The ARNs of a family's revisions in that status, newest first."""
    pages = ecs.get_paginator("list_task_definitions")
    asked = pages.paginate(familyPrefix=family, status=status, sort="DESC")
    return _newest_first((arn for page in asked for arn in page["taskDefinitionArns"]), family)


def _newest_first(arns: Iterable[str], family: str) -> list[str]:
    # not every implementation of the API honours `sort`, or takes the family's name for more than a prefix
    own = (arn for arn in arns if _revision(arn).rpartition(":")[0] == family)
    return sorted(own, key=lambda arn: int(arn.rpartition(":")[2]), reverse=True)


def _revision(arn: str) -> str:
    return arn.rpartition("/")[2]


def _tags(ecs: Any, arn: str) -> dict[str, str]:
    return as_mapping(ecs.describe_task_definition(taskDefinition=arn, include=["TAGS"]).get("tags"))
