"""The task definition of each service, as the lab's text writes it (steps 8 to 10)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from ..aws_tags import FINGERPRINT_TAG, LAB_TAG, as_items, as_mapping
from ..config.container_spec import ContainerSpec
from ..config.lab import Lab, ServiceSpec
from ..targets.base import Target, TaskSecrets
from ..targets.client_errors import items_of
from .batching import DELETE_TASK_DEFINITIONS_MAX, in_chunks
from .field_diff import task_definition_changes
from .revision import Image, Revision
from .secret_access import SECRET_ACCESS
from .step import Actual, BaseStep, Report, tags_for
from .task_request import container_definitions, needs_role, task_settings


class TaskDefinitionStep(BaseStep):
    """One service's task definition: the newest active revision of its family in this lab."""

    def __init__(
        self,
        lab: Lab,
        service: ServiceSpec,
        image: Image,
        target: Target,
        others: Mapping[str, Image] | None = None,
    ) -> None:
        """`image` is the main container's, `others` are those of the containers beside it, by their names."""
        self.name = f"tasks/{service.name}"
        self.service = service.name
        self._secrets = target.task_secrets(service.name)
        self.family = lab.family(service.name)
        self._lab = lab
        self._service = service
        self._image = image
        self._images = {service.name: image, **(others or {})}
        self._target = target
        self._registered: str | None = None
        secrets = any(one.secrets or one.env_file for one in service.all_containers)
        # ECS reads secrets with a role of the stack's
        role = ("stack", *((SECRET_ACCESS,) if secrets else ())) if self._secrets.secrets or secrets else ()
        self.needs = (*dict.fromkeys(one.name for one in self._images.values()), *role)

    @property
    def image(self) -> str:
        """The image reference of the main container."""
        return self._image.reference

    @cached_property
    def _desired(self) -> dict[str, Any]:
        return {
            "family": self.family,
            "requiresCompatibilities": ["EC2"],
            **self.task(),
            "containerDefinitions": self.containers(),
        }

    def task(self) -> dict[str, Any]:
        """The settings of the task: its network mode and volumes."""
        return task_settings(self._service)

    def containers(self) -> list[dict[str, Any]]:
        """The container definitions; those whose containers report to Consul have the variables for it."""
        logs = self._target.log_configuration(self._service.name)
        found = container_definitions(self._service, self._reference, logs)
        specs = self._service.all_containers
        return [
            with_secrets(one, self._secrets) if _reports(spec) or len(specs) == 1 else one
            for one, spec in zip(found, specs, strict=True)
        ]

    def _reference(self, container: ContainerSpec) -> str:
        return self._images[container.name].reference

    def inspect(self) -> Actual | None:
        newest = self._newest()
        if newest is None:
            old = newest_in_old_family(self._target, self._lab, self.service)
            return Actual(None, True, revision_of(old)) if old else None
        definition, tags = newest
        request = {**self.desired(), **self._role()}
        is_ours = tags.get(LAB_TAG) == self._lab.name and matches(definition, request)
        revision = Revision(definition, tags)
        return Actual(
            tags.get(FINGERPRINT_TAG) if is_ours else None,
            True,
            revision_of(revision.arn),
            fields=lambda: revision.changed_to(request, self.fingerprint, tuple(self._images.values())),
            drift=lambda: revision.drift(request, self.fingerprint, self._made_before),
        )

    def running_image(self, container: str | None = None) -> str | None:
        """The image of one of the newest revision's containers, by default the main one; None without one."""
        newest = self._newest()
        return Revision(*newest).image_of(container or self.service) if newest else None

    def _made_before(self) -> Revision | None:
        """The newest revision that bears the tags of `up`: what one without them has replaced."""
        for arn in self._list():
            found = self._describe(arn)
            if found and found[1].get(LAB_TAG) and found[1].get(FINGERPRINT_TAG):
                return Revision(*found)
        return None

    def apply(self, actual: Actual | None, report: Report) -> str:
        tags = as_items(tags_for(self._lab.name, self.desired()))
        registered = self._target.client("ecs").register_task_definition(**self.desired(), **self._role(), tags=tags)
        self._registered = str(registered["taskDefinition"]["taskDefinitionArn"])
        return revision_of(self._registered)

    def _role(self) -> dict[str, str]:
        """The role that reads the secrets. It isn't part of the fingerprint, because the stack names it."""
        role = self._target.execution_role() if needs_role(self.desired()["containerDefinitions"]) else None
        return {"executionRoleArn": role} if role else {}

    def destroy(self, report: Report) -> str:
        return delete_definitions(self._target, self._lab, self.service)

    def newest(self) -> str | None:
        """The ARN of the newest active revision. One that was just registered may be missing from ECS's lists."""
        if self._registered:
            return self._registered
        newest = self._newest()
        return str(newest[0]["taskDefinitionArn"]) if newest else None

    def _newest(self) -> tuple[Mapping[str, Any], dict[str, str]] | None:
        """The newest active revision and its tags. Another lab may use the family: a-b for its c, and a for its b-c."""
        return self._describe(self.family) or next(filter(None, map(self._describe, self._list())), None)

    def _describe(self, name: str) -> tuple[Mapping[str, Any], dict[str, str]] | None:
        """A revision (or a family's newest one) and its tags; None if it is inactive or another lab's."""
        ecs = self._target.client("ecs")
        try:
            found = ecs.describe_task_definition(taskDefinition=name, include=["TAGS"])
        except ecs.exceptions.ClientException:
            return None
        definition, tags = found["taskDefinition"], as_mapping(found.get("tags"))
        # for a family, AWS describes the newest active revision; an emulator may describe a deregistered one
        is_active = definition.get("status") == "ACTIVE"
        return (definition, tags) if is_active and tags.get(LAB_TAG, self._lab.name) == self._lab.name else None

    def _list(self) -> list[str]:
        """The ARNs of the family's newest active revisions, newest first."""
        request = {"familyPrefix": self.family, "status": "ACTIVE", "sort": "DESC"}
        listed = self._target.client("ecs").list_task_definitions(**request)
        return _newest_first(listed["taskDefinitionArns"], self.family)


def matches(definition: Mapping[str, Any], desired: Mapping[str, Any]) -> bool:
    """Whether a definition still runs what its tags say: ecs-deploy copies one with its tags, and edits the copy."""
    return not task_definition_changes(definition, desired)


def _reports(container: ContainerSpec) -> bool:
    """Whether a container reports to Consul itself."""
    return any(port.check and port.check.ttl for port in container.ports or () if port.register)


def with_secrets(container: Mapping[str, Any], needed: TaskSecrets) -> dict[str, Any]:
    """A container definition with the variables of its token; those that the config sets stay as they are."""
    own = as_mapping(container.get("environment"), key="name")
    chosen = as_mapping(container.get("secrets"), key="name", value="valueFrom")
    environment = {name: value for name, value in needed.environment.items() if name not in chosen}
    secrets = {**{name: source for name, source in needed.secrets.items() if name not in own}, **chosen}
    return {
        **container,
        "environment": as_items({**environment, **own}, key="name"),
        **({"secrets": as_items(secrets, key="name", value="valueFrom")} if secrets else {}),
    }


def newest_in_old_family(target: Target, lab: Lab, service: str) -> str | None:
    """The ARN of the lab's newest active revision in the family that earlier versions used: the service's bare name."""
    ecs = target.client("ecs")
    arns = revisions_of(ecs, service, "ACTIVE")
    return next((arn for arn in arns if _of_lab(ecs, arn, lab, service)), None)


def delete_definitions(target: Target, lab: Lab, service: str) -> str:
    """Delete the lab's revisions of a service, in its family and in the one that earlier versions used.

    First the images of containers that only they have: those of the config are steps of their own.
    """
    families = (lab.family(service), service)
    owned = [one for family in families for one in _owned(target.client("ecs"), lab, service, family)]
    for name in dropped_images(target, lab, service, map(images_of, owned)):
        target.images.delete(name)
    return f"{_delete(target, owned)} deleted" if owned else "absent"


def delete_family(target: Target, lab: Lab, service: str, family: str) -> int:
    """Deregister and delete the lab's revisions of a service, deregistered ones included; returns how many."""
    return _delete(target, _owned(target.client("ecs"), lab, service, family))


def images_of(definition: Mapping[str, Any]) -> dict[str, str]:
    """The images of a task definition by the container's name."""
    return {one["name"]: str(one["image"]) for one in definition["containerDefinitions"]}


def dropped_images(target: Target, lab: Lab, service: str, revisions: Iterable[Mapping[str, str]]) -> list[str]:
    """The names of images that the lab built, and that the config no longer has.

    `revisions` are the images of the service's revisions by the container's name.
    """
    spec = ServiceSpec(name=service)
    images = {spec.image_name(container): image for one in revisions for container, image in one.items()}
    kept = lab.image_names
    return [name for name, image in images.items() if name not in kept and _is_built(target, name, image)]


def _is_built(target: Target, name: str, image: str) -> bool:
    """Whether the image is one that the lab has built under that name, and not one that existed."""
    repository, _, tag = image.rpartition(":")
    reference = target.images.reference(name, tag)
    return reference.rpartition(":")[0] == repository


def _delete(target: Target, owned: Sequence[Mapping[str, Any]]) -> int:
    """Delete revisions; ECS lets only those be deleted that are deregistered."""
    ecs = target.client("ecs")
    for revision in owned:
        if revision["status"] == "ACTIVE":
            ecs.deregister_task_definition(taskDefinition=revision["taskDefinitionArn"])
    for chunk in in_chunks([one["taskDefinitionArn"] for one in owned], DELETE_TASK_DEFINITIONS_MAX):
        ecs.delete_task_definitions(taskDefinitions=chunk)
    return len(owned)


def _owned(ecs: Any, lab: Lab, service: str, family: str) -> list[dict[str, Any]]:
    """The lab's revisions of a service in a family, each with the status under which ECS lists it."""
    listed = [(arn, status) for status in ("ACTIVE", "INACTIVE") for arn in revisions_of(ecs, family, status)]
    described = ((_of_lab(ecs, arn, lab, service), status) for arn, status in listed)
    return [{**found, "status": status} for found, status in described if found]


def revisions_of(ecs: Any, family: str, status: str) -> list[str]:
    """The ARNs of a family's revisions in that status, newest first."""
    request = {"familyPrefix": family, "status": status, "sort": "DESC"}
    return _newest_first(items_of(ecs, "list_task_definitions", "taskDefinitionArns", **request), family)


def _newest_first(arns: Iterable[str], family: str) -> list[str]:
    # emulators may ignore `sort`, and match any family that starts with the prefix
    own = (arn for arn in arns if revision_of(arn).rpartition(":")[0] == family)
    return sorted(own, key=lambda arn: int(arn.rpartition(":")[2]), reverse=True)


def revision_of(arn: str) -> str:
    """FAMILY:REVISION of a task definition's ARN."""
    return arn.rpartition("/")[2]


def _of_lab(ecs: Any, arn: str, lab: Lab, service: str) -> Mapping[str, Any] | None:
    """A revision, if the lab owns it and made it for the service.

    Lab a's old family of service a-b is also the new one of its service b; the containers have the services' names.
    """
    found = ecs.describe_task_definition(taskDefinition=arn, include=["TAGS"])
    if as_mapping(found.get("tags")).get(LAB_TAG) != lab.name:
        return None
    definition: dict[str, Any] = found["taskDefinition"]
    names = [container["name"] for container in definition["containerDefinitions"]]
    return definition if service in names or revision_of(arn).rpartition(":")[0] != service else None
