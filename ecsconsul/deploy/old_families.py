"""Families of task definitions that an earlier version named like their services, without the lab's name.

`up` registers the definitions anew in families that bear the lab's name and moves the services over. What the lab still
has in an old family is a step whose desired state is to be absent, once no service runs it.
"""

from __future__ import annotations

from ..config.lab import Lab
from ..targets.base import Target
from ..targets.client_errors import items_of
from .registrator_steps import service_names
from .step import Actual, Report, UnwantedStep
from .step4_task_definitions import delete_family, newest_in_old_family, revision_of


class OldFamilyStep(UnwantedStep):
    """The lab's revisions in one service's old family; somebody else's in the same family are left alone."""

    def __init__(self, lab: Lab, service: str, target: Target) -> None:
        self.name = f"families/{service}"
        # until it has moved, the service starts its tasks from the old family, and a failed rollout goes back to it
        self.needs = (f"services/{service}",)
        self._lab = lab
        self._service = service
        self._target = target

    def inspect(self) -> Actual | None:
        newest = newest_in_old_family(self._target, self._lab, self._service)
        if newest is None:
            return None
        return Actual(None, True, f"{revision_of(newest)}, replaced by the family {self._lab.family(self._service)}")

    def destroy(self, report: Report) -> str:
        deleted = delete_family(self._target, self._lab, self._service, self._service)
        return f"{deleted} deleted" if deleted else "absent"


def old_families(lab: Lab, target: Target) -> list[OldFamilyStep]:
    """A step for each service whose name is also a family with the lab's revisions. Raises TargetAbsent.

    One request lists the families of the account, so a lab that has moved costs nothing else.
    """
    listed = set(items_of(target.client("ecs"), "list_task_definition_families", "families", status="ACTIVE"))
    steps = [OldFamilyStep(lab, name, target) for name in service_names(lab, target) if name in listed]
    return [step for step in steps if step.inspect()]
