"""The prerequisites of the lab (before step 1): an account with a network, or on a laptop a region of its own."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from ..errors import LabError
from ..targets.base import Target
from .step import Actual, BaseStep, Report

PREREQUISITES = "prerequisites"


class PrerequisitesStep(BaseStep):
    """What the target needs before anything can be created in it, and what blocks `up`."""

    name = PREREQUISITES

    def __init__(self, target: Target) -> None:
        self._target = target

    def blockers(self) -> list[LabError]:
        return self._target.blockers()

    @cached_property
    def _desired(self) -> dict[str, Any]:
        return {"target": self._target.name}

    def inspect(self) -> Actual | None:
        prerequisites = self._target.prerequisites()
        return Actual(self.fingerprint, True, prerequisites) if prerequisites else None

    def apply(self, actual: Actual | None, report: Report) -> str:
        return self._target.bootstrap(report.say)

    def destroy(self, report: Report) -> str:
        self._target.teardown(report.say)
        return "deleted"
