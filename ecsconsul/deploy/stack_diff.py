"""Compares two stacks: what an update of one to the other does to each resource. Pure, and makes no request.

It is what a change set would say, and also how many instances are replaced, which a change set doesn't.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from typing import Any, NamedTuple

from .create_only import is_create_only
from .step import PropertyChange, ResourceAction, ResourceChange
from .template_reader import Template
from .template_values import Resource, is_function, references, resources_of

GROUP, LAUNCH_TEMPLATE = "AWS::AutoScaling::AutoScalingGroup", "AWS::EC2::LaunchTemplate"
# https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-attribute-updatepolicy.html
_REPLACES_INSTANCES = {
    "LaunchConfigurationName", "LaunchTemplate", "MixedInstancesPolicy", "PlacementGroup", "VPCZoneIdentifier",
}  # fmt: skip
# longer ones are only said to change
_SHOWN = 60

# a resource and the attribute that others refer to; all attributes if it is None
Moved = set[tuple[str, "str | None"]]


class StackForm(NamedTuple):
    """A template, and the parameters that it is used with."""

    template: Template
    parameters: Mapping[str, str]


def diff(old: StackForm, new: StackForm, instances: Mapping[str, int]) -> tuple[ResourceChange, ...]:
    """What an update does, in the order in which CloudFormation does it; resources that go come last.

    `instances` are how many instances each Auto Scaling group has that an update may replace.
    """
    before, after = resources_of(*old), resources_of(*new)
    moved: Moved = set()
    changes: dict[str, ResourceChange] = {}
    # whoever refers to a resource comes after it, so one pass is enough
    for name in _in_order(after):
        change = _compared(name, before.get(name), after[name], moved, instances.get(name, 0))
        if change:
            changes[name] = change
            moved |= _moves(change)
    gone = [
        ResourceChange(name, before[name].type, "remove", instances=instances.get(name, 0))
        for name in sorted(before.keys() - after.keys())
    ]
    return (*changes.values(), *gone)


def _in_order(resources: Mapping[str, Resource]) -> list[str]:
    """Dependencies first: https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-attribute-dependson.html"""
    graph = {name: _needs(one) & resources.keys() - {name} for name, one in resources.items()}
    return list(TopologicalSorter(graph).static_order())


def _needs(resource: Resource) -> set[str]:
    return {name for name, _ in references(resource.properties)} | set(resource.depends_on)


def _compared(
    name: str, before: Resource | None, after: Resource, moved: Moved, instances: int
) -> ResourceChange | None:
    if before is None:
        return ResourceChange(name, after.type, "add")
    properties = tuple(_changed("", before.properties, after.properties, moved))
    attributes = tuple(_changed("", before.attributes, after.attributes, set()))
    if before.type == after.type and not properties and not attributes:
        return None
    action = _action(before, after, [one.name for one in properties], instances)
    affected = instances if action in ("replace", "roll") else 0
    causes = tuple(dict.fromkeys(one for one, _ in _moved_in(after.properties, moved)))
    batch = _batch(after) if action == "roll" else 0
    return ResourceChange(name, after.type, action, (*properties, *attributes), affected, batch, causes)


def _action(before: Resource, after: Resource, properties: list[str], instances: int) -> ResourceAction:
    if before.type != after.type or any(is_create_only(after.type, one) for one in properties):
        return "replace"
    if after.type != GROUP or not _REPLACES_INSTANCES & {one.partition(".")[0] for one in properties}:
        return "modify"
    policy = after.attributes.get("UpdatePolicy") or {}
    if policy.get("AutoScalingReplacingUpdate", {}).get("WillReplace") == "true":
        return "replace"
    return "roll" if policy.get("AutoScalingRollingUpdate") and instances else "modify"


def _batch(group: Resource) -> int:
    """How many instances of the group are replaced at a time; CloudFormation's default is one."""
    size = str(group.attributes["UpdatePolicy"]["AutoScalingRollingUpdate"].get("MaxBatchSize", "1"))
    return int(size) if size.isdecimal() else 1


def _moves(change: ResourceChange) -> Moved:
    """What others that refer to the resource see differently."""
    if change.action == "replace":
        return {(change.resource, None)}
    # a new version: https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-ec2-launchtemplate.html
    has_version = change.type == LAUNCH_TEMPLATE and any(
        one.name.startswith("LaunchTemplateData") for one in change.properties
    )
    return {(change.resource, "LatestVersionNumber")} if has_version else set()


def _moved_in(value: Any, moved: Moved) -> Iterator[tuple[str, str]]:
    for name, attribute in references(value):
        if (name, None) in moved or (name, attribute) in moved:
            yield name, attribute


def _changed(path: str, before: Any, after: Any, moved: Moved) -> Iterator[PropertyChange]:
    """The properties that differ, or refer to something that does. Lists are compared as a whole."""
    if isinstance(before, dict) and isinstance(after, dict) and not is_function(before) and not is_function(after):
        for key in sorted(before.keys() | after.keys()):
            yield from _changed(f"{path}.{key}" if path else key, before.get(key), after.get(key), moved)
    elif before != after:
        shown = _is_short(before) and _is_short(after)
        yield PropertyChange(path, before if shown else None, after if shown else None)
    elif any(_moved_in(after, moved)):
        yield PropertyChange(path)


def _is_short(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _SHOWN and "\n" not in value
