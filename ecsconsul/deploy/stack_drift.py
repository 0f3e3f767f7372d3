"""What others have changed in the stack's resources: what CloudFormation detects, and the sizes of the groups. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..targets.base import ResourceDrift
from .stack_diff import GROUP, StackForm
from .step import FieldChange
from .template_values import resources_of

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
