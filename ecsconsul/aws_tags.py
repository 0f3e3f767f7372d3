"""The tags that say which lab owns a resource and what made it, and the forms that tags have in AWS's APIs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .errors import NotOwned

LAB_TAG = "ecsconsul:lab"
FINGERPRINT_TAG = "ecsconsul:fingerprint"


def as_items(tags: Mapping[str, str], *, key: str = "key", value: str = "value") -> list[dict[str, str]]:
    """Tags in the list form of an AWS API. ECS spells its keys in lower case, most others capitalize them."""
    return [{key: name, value: text} for name, text in tags.items()]


def as_mapping(items: Iterable[Mapping[str, str]] | None, *, key: str = "key", value: str = "value") -> dict[str, str]:
    """Tags in the list form of an AWS API as a mapping."""
    return {item[key]: item[value] for item in items or ()}


def require_ownership(kind: str, name: str, lab: str, tags: Mapping[str, str]) -> None:
    """Raises NotOwned unless the resource has the lab's ownership tag: we never touch what someone else made."""
    owner = tags.get(LAB_TAG)
    if owner != lab:
        error = NotOwned(
            f"A {kind} named {name} already exists, and this lab did not make it",
            where=f"{kind} {name}",
            why=f"its tag {LAB_TAG} is {owner!r}" if owner else f"it has no tag {LAB_TAG}",
            hint="choose another name for the lab in the config (`lab: ...`), or delete the other resource yourself",
        )
        error.lab, error.owner = lab, owner
        raise error
