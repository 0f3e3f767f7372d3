"""Drift: what others than `up` have changed in the lab. Read-only, and needs no record but the tags on the resources.

A resource's fingerprint says what `up` made it from. Where that is what the config says, each field that differs was
changed by someone else; where it isn't, the config has changed since, and `plan` shows that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..aws_tags import LAB_TAG
from ..errors import LabError, NotOwned, TargetAbsent
from .executor import MAX_INSPECTIONS, inspect
from .step import Actual, Drift, FieldChange, Step, decide

EXISTS, MISSING = "exists", "missing"
SET_BACK = "`ecsconsul up` sets it back; to keep it, change the config so that it says the same"
CREATE = "`ecsconsul up` creates it again; to do without it, remove it from the config"
CLAIM = f"give it the tag {LAB_TAG} with the lab's name again, or delete it yourself; until then nothing touches it"


@dataclass(frozen=True)
class StepDrift:
    """The drift of one step's resource, and what to do about it; `way_out` is empty if nothing has drifted."""

    name: str
    state: str
    drift: Drift
    way_out: str


@dataclass(frozen=True)
class _Inspected:
    step: Step
    actual: Actual | None
    foreign: NotOwned | None = None

    @property
    def is_as_configured(self) -> bool:
        return self.actual is not None and decide(self.step.desired(), self.actual) in ("keep", "wait")


def find_drift(steps: Sequence[Step]) -> list[StepDrift]:
    """What others have changed, for each step of the list that is there or should be.

    Raises TargetAbsent if there is no lab to compare, and LabError for a step that can't be inspected.
    """
    with ThreadPoolExecutor(MAX_INSPECTIONS) as pool:
        inspected = {one.step.name: one for one in pool.map(_inspect, steps)}
        if not any(one.actual or one.foreign for one in inspected.values()):
            raise TargetAbsent("There is no lab to compare with the config", hint="`ecsconsul up` creates it")
        found = pool.map(lambda one: _drift_of(one, inspected), inspected.values())
        return [one for one in found if one]


def _inspect(step: Step) -> _Inspected:
    try:
        return _Inspected(step, inspect(step))
    except NotOwned as error:
        return _Inspected(step, None, error)


def _drift_of(one: _Inspected, all_steps: Mapping[str, _Inspected]) -> StepDrift | None:
    step = one.step
    if step.desired() is None:
        # the config doesn't name it any more
        return None
    if one.foreign:
        return StepDrift(step.name, EXISTS, Drift((_owner_change(one.foreign),)), CLAIM)
    if one.actual is None:
        return StepDrift(step.name, MISSING, Drift(), CREATE) if _was_there(step, all_steps) else None
    try:
        drift = one.actual.drift()
    except LabError as error:
        drift = Drift(untold=str(error))
    way_out = (drift.way_out or SET_BACK) if drift.fields else ""
    return StepDrift(step.name, EXISTS, drift, way_out)


def _was_there(step: Step, all_steps: Mapping[str, _Inspected]) -> bool:
    """Whether an absent resource must have been there: one that was made from it is, or it is made last.

    A service comes right after its task definition, which is made for nothing else.
    """
    if step.name.startswith("services/"):
        return _is_any(all_steps, (name for name in step.needs if name.startswith("tasks/")))
    return _is_any(all_steps, (name for name, other in all_steps.items() if step.name in other.step.needs))


def _is_any(all_steps: Mapping[str, _Inspected], names: Iterable[str]) -> bool:
    return any(all_steps[name].is_as_configured for name in names if name in all_steps)


def _owner_change(error: NotOwned) -> FieldChange:
    return FieldChange(f"tags.{LAB_TAG}", error.lab, error.owner)
