"""The attributes of container instances: those of ECS itself, and custom ones.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-placement-constraints.html#attributes
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from .model import ContainerInstance
from .request_fields import ApiError, last, page
from .state import Ecs

Json = dict[str, Any]
ITEMS_PER_PAGE = 100
MAX_PER_REQUEST, MAX_CUSTOM = 10, 10
OWN = "ecs."
_NAME, _VALUE = re.compile(r"[A-Za-z0-9_./\\-]{1,128}"), re.compile(r"([\w\-.:/@\\ ]*[\w\-.:/@\\])?")


class Attributes:
    """The operations on attributes. `cluster_of` gives the cluster of a request."""

    def __init__(self, ecs: Ecs, cluster_of: Callable[[Json], str]) -> None:
        self._ecs = ecs
        self._cluster_of = cluster_of
        self.operations: dict[str, Callable[[Json], Json]] = {
            "ListAttributes": self.list_attributes,
            "PutAttributes": self.put_attributes,
            "DeleteAttributes": self.delete_attributes,
        }

    def list_attributes(self, request: Json) -> Json:
        cluster = self._cluster_of(request)
        if request.get("targetType") != "container-instance":
            raise ApiError("InvalidParameterException", "targetType should be container-instance.")
        found = [
            shape(name, value, instance)
            for instance in self._ecs.instances_of(cluster)
            for name, value in sorted(instance.attributes.items())
            if request.get("attributeName") in (None, name) and request.get("attributeValue") in (None, value)
        ]
        return page(request, "attributes", found, ITEMS_PER_PAGE)

    def put_attributes(self, request: Json) -> Json:
        cluster = self._cluster_of(request)
        given = [(self._target(cluster, one), one["name"], one.get("value") or "") for one in _limited(request)]
        for _, name, value in given:
            _check(name, value)
        for instance in {instance.arn: instance for instance, _, _ in given}.values():
            fresh = {name for target, name, _ in given if target is instance}
            if len({one for one in instance.attributes if not one.startswith(OWN)} | fresh) > MAX_CUSTOM:
                why = f"A resource can have {MAX_CUSTOM} custom attributes."
                raise ApiError("AttributeLimitExceededException", why)
        for instance, name, value in given:
            instance.attributes[name] = value
        # a task may find a place now
        self._ecs.changed.set()
        return {"attributes": [shape(name, value, instance) for instance, name, value in given]}

    def delete_attributes(self, request: Json) -> Json:
        cluster = self._cluster_of(request)
        given = [(self._target(cluster, one), one["name"]) for one in _limited(request)]
        for _, name in given:
            _check(name, "")
        gone = [(one, name, one.attributes.pop(name)) for one, name in given if name in one.attributes]
        return {"attributes": [shape(name, value, instance) for instance, name, value in gone]}

    def _target(self, cluster: str, attribute: Json) -> ContainerInstance:
        """The instance that an attribute names by its ARN or ID. Raises ApiError."""
        name = last(str(attribute.get("targetId") or ""))
        for instance in self._ecs.instances_of(cluster):
            if last(instance.arn) == name:
                return instance
        raise ApiError("TargetNotFoundException", f"The specified target {name} could not be found.")


def shape(name: str, value: str, instance: ContainerInstance) -> Json:
    """An Attribute; one without a value has none."""
    return {"name": name, **({"value": value} if value else {}), "targetType": "container-instance"} | {
        "targetId": instance.arn
    }


def _limited(request: Json) -> list[Json]:
    found: list[Json] = request["attributes"]
    if not 1 <= len(found) <= MAX_PER_REQUEST:
        raise ApiError("InvalidParameterException", f"attributes should have 1 to {MAX_PER_REQUEST} elements.")
    return found


def _check(name: str, value: str) -> None:
    """Raises ApiError for what can't be a custom attribute."""
    if name.startswith((OWN, "com.amazonaws.")) or not _NAME.fullmatch(name):
        raise ApiError("InvalidParameterException", f"{name} can't be the name of a custom attribute.")
    if len(value) > 128 or not _VALUE.fullmatch(value):
        raise ApiError("InvalidParameterException", f"The value of attribute {name} is invalid.")
