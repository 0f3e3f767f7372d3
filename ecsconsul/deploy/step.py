"""What a step is: one resource of the lab that says what is wanted, looks, makes it so, and takes it away."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ..aws_tags import FINGERPRINT_TAG, LAB_TAG, as_items, as_mapping, require_ownership
from ..errors import LabError

__all__ = [
    "FINGERPRINT_TAG",
    "LAB_TAG",
    "Actual",
    "Change",
    "Op",
    "Report",
    "Step",
    "as_items",
    "as_mapping",
    "decide",
    "fingerprint",
    "require_ownership",
    "tags_for",
]  # fmt: skip

Op = Literal["create", "update", "wait", "keep", "destroy"]


@dataclass(frozen=True)
class Actual:
    """What is there. `fingerprint` is that of what made it, None when that no longer tells what is there."""

    fingerprint: str | None
    ready: bool
    detail: str


@dataclass(frozen=True)
class Change:
    """What a walk did to one step, or would do."""

    name: str
    op: Op
    detail: str
    seconds: float = 0.0


@dataclass(frozen=True)
class SubResource:
    """What happens to one of the things that a step makes, such as a resource of the stack."""

    name: str
    state: Literal["runs", "done", "failed"]
    detail: str


class Report(Protocol):
    """What a step is given while it works."""

    def say(self, text: str) -> None:
        """Tell the user what happens now."""

    def part(self, part: SubResource) -> None:
        """Tell the user what happens now to a part of it."""

    def under_way(self, text: str) -> None:
        """What goes on in the world until it is told otherwise, whether or not it is waited for."""

    def pause(self, seconds: float) -> None:
        """Let time pass. Raises Interrupted when the user wants to stop."""


class Step(Protocol):
    """One resource of the lab; constructors do no I/O."""

    @property
    def name(self) -> str:
        """`stack`, or `services/weather` where there is one for each service."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The names of the steps that it waits for."""

    def blockers(self) -> list[LabError]:
        """What speaks against beginning; found without changing anything, before anything is changed."""

    def wanted(self) -> Mapping[str, Any] | None:
        """What is wanted, from the config and the target's facts alone; None: it must go."""

    def found(self) -> Actual | None:
        """What is there; None when there is nothing. Read-only. Raises TargetAbsent, LabError."""

    def apply(self, found: Actual | None, report: Report) -> str:
        """Make it as wanted and wait until it is ready; what it is then, in a few words. Raises LabError."""

    def destroy(self, report: Report) -> str:
        """Take it away, if it is the lab's; safe to repeat. Raises LabError."""


def fingerprint(wanted: Mapping[str, Any]) -> str:
    """The first 16 hex digits of the SHA-256 of what is wanted, whatever the order of its keys."""
    canonical = json.dumps(wanted, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def decide(wanted: Mapping[str, Any] | None, found: Actual | None) -> Op:
    """The one decision: absent -> create; made from something else -> update; not ready -> wait; else keep."""
    if wanted is None:
        return "keep" if found is None else "destroy"
    if found is None:
        return "create"
    if found.fingerprint != fingerprint(wanted):
        return "update"
    return "keep" if found.ready else "wait"


def tags_for(lab: str, wanted: Mapping[str, Any]) -> dict[str, str]:
    """The tags that claim a resource for the lab and say what made it."""
    return {LAB_TAG: lab, FINGERPRINT_TAG: fingerprint(wanted)}
