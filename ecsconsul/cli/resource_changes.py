"""What an update does inside a step, such as to the stack's resources: as JSON, and in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..deploy.step import Change, ResourceChange, Step

STACK, SECURITY = "stack", "consul-security"


def as_json(changes: Iterable[ResourceChange]) -> list[dict[str, Any]]:
    """The `changes` of a step in the document of `plan` (docs/cli.md)."""
    return [
        {
            "resource": one.resource,
            "type": one.type,
            "action": one.action,
            "properties": [{"name": p.name, "before": p.before, "after": p.after} for p in one.properties],
            "instances": one.instances,
            "batch": one.batch,
            "causes": list(one.causes),
        }
        for one in changes
    ]


def in_words(change: Mapping[str, Any]) -> str:
    """A change of the document: which instances it replaces, else which properties change."""
    parts = [_instances(change), "" if change["action"] == "roll" else _properties(change)]
    return ", ".join(filter(None, parts)) or change["type"]


def replacements(steps: Sequence[Step]) -> list[str]:
    """Which instances `up` replaces, and why; a line for each group of them. Changes nothing."""
    from ..deploy.executor import plan

    changes = plan([step for step in steps if step.name in (STACK, SECURITY)])
    return [line for change in changes if change.op == "update" for line in _replaced(change)]


def _replaced(change: Change) -> list[str]:
    if change.untold or change.name == SECURITY:
        # what Consul's security replaces is in its detail
        return [f"{change.name}: {change.detail}"]
    changes = as_json(change.inside)
    by_name = {one["resource"]: one for one in changes}
    affected = [one for one in changes if one["instances"]]
    return [f"{one['resource']}: {_instances(one)}, because {_why(one, by_name)}" for one in affected]


def _instances(change: Mapping[str, Any]) -> str:
    number, batch = change["instances"], change["batch"]
    if not number:
        return ""
    subject = "1 instance is" if number == 1 else f"{number} instances are"
    if change["action"] == "remove":
        return f"{subject} terminated"
    pace = "" if number == 1 else " at once" if not batch else " one by one" if batch == 1 else f", {batch} at a time"
    return f"{subject} replaced{pace}"


def _why(change: Mapping[str, Any], by_name: Mapping[str, Mapping[str, Any]]) -> str:
    """What changes in the resources that the group refers to, else in the group itself."""
    if change["action"] == "remove":
        return "it isn't in the template any more"
    causes = [f"{name} changes: {_properties(by_name[name])}" for name in change["causes"] if name in by_name]
    return "; ".join(causes) or f"it changes: {_properties(change)}"


def _properties(change: Mapping[str, Any]) -> str:
    return ", ".join(map(_property, change["properties"]))


def _property(one: Mapping[str, Any]) -> str:
    # the data is all that a launch template has
    name = str(one["name"]).removeprefix("LaunchTemplateData.")
    return name if one["before"] is None else f"{name} {one['before']} → {one['after']}"
