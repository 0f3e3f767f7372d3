"""The protocol of a step: one resource of the lab, with its desired state, its actual state, apply and destroy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

from ..aws_tags import FINGERPRINT_TAG, LAB_TAG
from ..errors import LabError

Op = Literal["create", "update", "wait", "keep", "destroy"]
ResourceAction = Literal["add", "modify", "replace", "roll", "remove"]
Desired = Mapping[str, Any]


@dataclass(frozen=True)
class PropertyChange:
    """A property of a resource that an update changes; both values are None unless both are short texts."""

    name: str
    before: str | None = None
    after: str | None = None


@dataclass(frozen=True)
class ResourceChange:
    """What an update would do to one resource inside a step, such as one of the stack's.

    `roll`: the resource stays, and its instances are replaced, `batch` at a time. `causes` are the changed resources
    that this one refers to.
    """

    resource: str
    type: str
    action: ResourceAction
    properties: tuple[PropertyChange, ...] = ()
    instances: int = 0
    batch: int = 0
    causes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FieldChange:
    """A field of a resource whose value differs; None where the field is absent.

    `cause` is the step whose own change brings this one with it, such as a new image a new task definition.
    """

    path: str
    old: Any
    new: Any
    cause: str = ""


@dataclass(frozen=True)
class Drift:
    """What others than `up` have changed in a resource: `old` is as `up` made it, `new` as it is.

    With `config_changed`, the config isn't what the resource was made from any more, so only some of its fields can be
    compared. `untold` is why others can't. `way_out` says how to set the fields back, if `up` doesn't do that.
    """

    fields: tuple[FieldChange, ...] = ()
    config_changed: bool = False
    untold: str = ""
    way_out: str = ""


def nothing_inside() -> Sequence[ResourceChange]:
    """The preview of a step that is one resource."""
    return ()


def no_fields() -> Sequence[FieldChange]:
    """The fields of a step whose change isn't told by field."""
    return ()


def no_drift() -> Drift:
    """The drift of a step that only waits for others."""
    return Drift()


@dataclass(frozen=True)
class Actual:
    """A resource that exists. `fingerprint` is that of the desired state it was made from; None when it has drifted.

    `preview` says what an update would do inside it, in that order, `fields` which of its fields an update changes, and
    `drift` what others have changed. They are functions because they may take requests, which only `plan` and `diff`
    need: read-only, raise LabError if it can't be told.
    """

    fingerprint: str | None
    ready: bool
    detail: str
    preview: Callable[[], Sequence[ResourceChange]] = field(default=nothing_inside, compare=False)
    fields: Callable[[], Sequence[FieldChange]] = field(default=no_fields, compare=False)
    drift: Callable[[], Drift] = field(default=no_drift, compare=False)


@dataclass(frozen=True)
class Change:
    """What a run did, or would do, to one step; a plan also says what an update does inside it, and to which fields.

    `untold` is why it can't say that.
    """

    name: str
    op: Op
    detail: str
    seconds: float = 0.0
    inside: tuple[ResourceChange, ...] = ()
    fields: tuple[FieldChange, ...] = ()
    untold: str = ""


@dataclass(frozen=True)
class SubResource:
    """The progress of one resource inside a step, such as a resource of the stack."""

    name: str
    state: Literal["runs", "done", "failed"]
    detail: str


class Report(Protocol):
    """How a step reports progress, and how it waits."""

    def say(self, text: str) -> None:
        """Show one line of progress."""

    def subresource(self, subresource: SubResource) -> None:
        """Show the progress of one sub-resource."""

    def in_progress(self, text: str) -> None:
        """Record what keeps running in AWS even if nobody waits for it; an empty text clears it."""

    def wait(self, seconds: float) -> None:
        """Wait before the next poll. Raises Interrupted when the run is stopped."""


class Step(Protocol):
    """One resource of the lab. Constructors do no I/O."""

    @property
    def name(self) -> str:
        """`stack`, or `services/weather` where each service has its own."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The names of the steps that must be done first, as far as the lab has them."""

    def blockers(self) -> list[LabError]:
        """Everything that prevents a run from starting. Read-only."""

    def desired(self) -> Desired | None:
        """The desired state, from the config and the target alone; None when the resource must not exist."""

    def inspect(self) -> Actual | None:
        """The actual state; None when there is no resource. Read-only. Raises TargetAbsent, LabError."""

    def apply(self, actual: Actual | None, report: Report) -> str:
        """Create or update the resource, wait until it is ready, and return its state. Raises LabError."""

    def destroy(self, report: Report) -> str:
        """Delete the resource if the lab owns it; safe to repeat. Raises LabError."""


class BaseStep:
    """A step without blockers, whose desired state is computed once: a step lives for one command."""

    name: str
    needs: tuple[str, ...] = ()

    def blockers(self) -> list[LabError]:
        return []

    def desired(self) -> Desired:
        return self._desired

    @cached_property
    def _desired(self) -> Desired:
        raise NotImplementedError

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the desired state."""
        return fingerprint(self.desired())


class UnwantedStep:
    """A step for a resource that must not exist any more."""

    name: str
    needs: tuple[str, ...] = ()

    def blockers(self) -> list[LabError]:
        return []

    def desired(self) -> None:
        return None

    def apply(self, actual: Actual | None, report: Report) -> str:
        raise AssertionError(f"{self.name} is only ever destroyed")


def fingerprint(desired: Desired) -> str:
    """The first 16 hex digits of the SHA-256 of a desired state, independent of the order of its keys."""
    canonical = json.dumps(desired, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def decide(desired: Desired | None, actual: Actual | None) -> Op:
    """The one decision: absent -> create; different fingerprint -> update; not ready -> wait; else keep."""
    if desired is None:
        return "keep" if actual is None else "destroy"
    if actual is None:
        return "create"
    if actual.fingerprint != fingerprint(desired):
        return "update"
    return "keep" if actual.ready else "wait"


def tags_for(lab: str, desired: Desired) -> dict[str, str]:
    """The tags that mark a resource as the lab's and record the desired state it was made from."""
    return {LAB_TAG: lab, FINGERPRINT_TAG: fingerprint(desired)}
