"""The tag by which a lab claims what it made, and the forms that tags have in AWS's APIs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .errors import LabError

LAB_TAG = "ecsconsul:lab"


def as_items(tags: Mapping[str, str], *, key: str = "key", value: str = "value") -> list[dict[str, str]]:
    """Tags in the list form of an AWS API (ECS writes its keys in lower case, CloudFormation in upper)."""
    return [{key: name, value: text} for name, text in tags.items()]


def as_mapping(items: Iterable[Mapping[str, str]] | None, *, key: str = "key", value: str = "value") -> dict[str, str]:
    """The list form back into a mapping."""
    return {item[key]: item[value] for item in items or ()}


def claim(kind: str, name: str, lab: str, tags: Mapping[str, str]) -> None:
    """Raises LabError unless the lab's own tag is on the resource: what someone else made is never touched."""
    owner = tags.get(LAB_TAG)
    if owner != lab:
        raise LabError(
            f"A {kind} named {name} is there, and this lab did not make it",
            where=f"{kind} {name}",
            why=f"its tag {LAB_TAG} is {owner!r}" if owner else f"it has no tag {LAB_TAG}",
            hint="give the lab another name in the config (`lab: ...`), or remove that one yourself",
        )
