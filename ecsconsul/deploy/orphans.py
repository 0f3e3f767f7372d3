"""What the lab made and the config has dropped: found by its tag, and taken away by `up` as by `down`."""

from __future__ import annotations

from ..config.lab import Lab
from ..errors import LabError
from ..targets.base import Target
from .base_step import BaseStep
from .registrator_steps import service_names
from .rollout import counts
from .service_poller import ServicePoller, is_of, services_of
from .step import Actual, Report
from .step4_task_definitions import delete_family
from .step5_services import delete_service


class OrphanStep(BaseStep):
    """A service that the lab made and that the config no longer wants; goes with its task definition and images."""

    # `down` goes backwards: the cluster can only be deleted when this one is out of it
    needs = ("stack",)

    def __init__(self, lab: Lab, service: str, target: Target, watch: ServicePoller) -> None:
        self.name = f"services/{service}"
        self._lab = lab
        self._service = service
        self._target = target
        self._watch = watch

    def wanted(self) -> None:
        return None

    def found(self) -> Actual | None:
        service = self._watch.look(self._service)
        return Actual(None, True, f"{counts(service)}, not in the config") if service else None

    def apply(self, found: Actual | None, report: Report) -> str:
        raise LabError(f"{self.name} is not wanted")

    def destroy(self, report: Report) -> str:
        # the service last: it is by it that the next walk knows of the others, when this one is killed
        delete_family(self._target, self._lab.name, self._service)
        self._target.images.delete(self._service)
        return delete_service(self._lab, self._service, self._target, self._watch, report)


def orphaned_services(lab: Lab, target: Target) -> list[OrphanStep]:
    """The services of the cluster that carry the lab's tag and that it does not want. Raises TargetAbsent."""
    watch = ServicePoller(target, lab.name)
    unknown = services_of(target, lab.name, but=service_names(lab, target))
    return [OrphanStep(lab, s["serviceName"], target, watch) for s in unknown if is_of(lab.name, s)]
