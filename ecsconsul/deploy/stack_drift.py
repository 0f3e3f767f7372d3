"""What others have changed in the stack's resources: what CloudFormation detects, and the sizes of the groups. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ..targets.base import ResourceDrift
from .field_diff import request_changes
from .stack_diff import GROUP, StackForm
from .stack_parameters import comparable
from .step import FieldChange
from .template_values import resources_of

SUBNETS, CLOSED = "SubnetIds", "0"  # a list, and a port that is none
SIZES = ("MinSize", "MaxSize", "DesiredCapacity")
# longer values, such as user data, aren't shown
_SHOWN = 120


def group_drift(
    stack: StackForm, groups: Mapping[str, str], described: Iterable[Mapping[str, Any]]
) -> Iterator[ResourceDrift]:
    """The sizes of Auto Scaling groups that aren't as the template says; one without a size is left to others.

    `groups` are the names of the groups by their resource. One that is gone has no sizes.
    """
    by_name = {one["AutoScalingGroupName"]: one for one in described}
    for resource, properties in sorted(_sizes(stack).items()):
        if resource not in groups:
            continue
        found = by_name.get(groups[resource])
        if found is None:
            yield ResourceDrift(resource, "", "there", None)
            continue
        for name, size in properties.items():
            if str(found[name]) != size:
                yield ResourceDrift(resource, name, size, str(found[name]))


def _sizes(stack: StackForm) -> dict[str, dict[str, str]]:
    groups = {name: one for name, one in resources_of(*stack).items() if one.type == GROUP}
    sizes = {name: {size: one.properties.get(size) for size in SIZES} for name, one in groups.items()}
    return {
        name: {size: value for size, value in found.items() if isinstance(value, str)} for name, found in sizes.items()
    }


def as_fields(found: Iterable[ResourceDrift]) -> list[FieldChange]:
    """Each property once, sorted."""
    known = {f"{one.resource}.{one.name}".rstrip("."): one for one in found}
    return [FieldChange(path, _short(one.expected), _short(one.actual)) for path, one in sorted(known.items())]


def _short(value: str | None) -> str | None:
    return "(changed)" if value and (len(value) > _SHOWN or "\n" in value) else value


def changed_parameters(described: Mapping[str, str], wanted: Mapping[str, str]) -> list[FieldChange]:
    """The wanted parameters that a stack has with other values.

    Not those that the target has the last word on: it pins Consul's image, closes the portal's port where the lab isn't
    public, and puts the subnets in an order of its own.
    """
    found = _in_order(comparable(described))
    decided = {"ConsulImage", *(["PublicPort"] if found.get("PublicPort") == CLOSED else [])}
    own = _in_order({name: value for name, value in wanted.items() if name not in decided})
    return [replace(one, path=f"parameters.{one.path}") for one in request_changes(found, own)]


def _in_order(parameters: Mapping[str, str]) -> dict[str, str]:
    subnets = {SUBNETS: ",".join(sorted(parameters[SUBNETS].split(",")))} if SUBNETS in parameters else {}
    return {**parameters, **subnets}
