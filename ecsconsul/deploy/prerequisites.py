"""What must be there before the lab: an account with a network, or on a laptop a region of its own (before step 1)."""

from __future__ import annotations

from typing import Any

from ..config.lab import Lab
from ..errors import LabError
from ..targets.base import Target
from .step import Actual, Report, fingerprint


class PrerequisitesStep:
    """The target itself: what it stands on, and whatever speaks against beginning."""

    name = "ground"
    needs: tuple[str, ...] = ()

    def __init__(self, lab: Lab, target: Target) -> None:
        self._lab = lab
        self._target = target

    def blockers(self) -> list[LabError]:
        return self._target.blockers(self._lab)

    def wanted(self) -> dict[str, Any]:
        return {"target": self._target.name}

    def found(self) -> Actual | None:
        ground = self._target.ground()
        return Actual(fingerprint(self.wanted()), True, ground) if ground else None

    def apply(self, found: Actual | None, report: Report) -> str:
        return self._target.prepare(self._lab, report.say)

    def destroy(self, report: Report) -> str:
        self._target.release(report.say)
        return "released"
