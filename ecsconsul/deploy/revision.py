"""A revision of a task definition as ECS describes it: what a new one changes, and what others changed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ..aws_tags import FINGERPRINT_TAG
from .field_diff import reversed_changes, tag_changes, task_definition_changes
from .step import Drift, FieldChange


class Image(Protocol):
    """The image that a task definition uses."""

    @property
    def name(self) -> str:
        """The step that provides the image."""

    @property
    def reference(self) -> str:
        """The image reference."""


@dataclass(frozen=True)
class Revision:
    """A revision, and its tags."""

    definition: Mapping[str, Any]
    tags: Mapping[str, str]

    @property
    def arn(self) -> str:
        """Its ARN."""
        return str(self.definition["taskDefinitionArn"])

    def image_of(self, container: str) -> str | None:
        """The image of one of its containers."""
        named = (one for one in self.definition["containerDefinitions"] if one["name"] == container)
        return next((str(one["image"]) for one in named), None)

    def changed_to(self, request: Mapping[str, Any], fingerprint: str, images: Collection[Image]) -> list[FieldChange]:
        """What registering another revision changes; the tag only if it is all that differs, since it always does."""
        found = task_definition_changes(self.definition, request)
        if not found:
            return tag_changes(self.tags.get(FINGERPRINT_TAG), fingerprint)
        return [_caused(one, images) for one in found]

    def drift(self, request: Mapping[str, Any], fingerprint: str, made_before: Callable[[], Revision | None]) -> Drift:
        """What others have changed: `up` tags each revision with the fingerprint of what it was made from.

        One without that tag was registered by someone else, after the newest one that has it.
        """
        made_from = self.tags.get(FINGERPRINT_TAG)
        if made_from == fingerprint:
            return Drift(tuple(task_definition_changes(request, self.definition)))
        if made_from is not None:
            return Drift(config_changed=True)
        before = made_before()
        is_current = before is None or before.tags[FINGERPRINT_TAG] == fingerprint
        made = request if before is None or is_current else before.definition
        tag = reversed_changes(tag_changes(None, before.tags[FINGERPRINT_TAG] if before else fingerprint))
        return Drift((*task_definition_changes(made, self.definition), *tag), config_changed=not is_current)


def _caused(change: FieldChange, images: Collection[Image]) -> FieldChange:
    """The change, with the step of the image if an image that is built is what changes."""
    if not change.path.endswith(".image"):
        return change
    built = (one for one in images if one.name.startswith("images/") and one.reference == change.new)
    return next((replace(change, cause=image.name) for image in built), change)
