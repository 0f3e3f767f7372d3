"""Orphaned services: the lab created them, and the config no longer has them. `up` and `down` delete them."""

from __future__ import annotations

from ..config.lab import Lab
from ..targets.base import Target
from .canary import CanaryLeftover, canary_of
from .capacity_provider import CAPACITY_PROVIDER
from .registrator_steps import service_names
from .rollout import counts
from .service_poller import Service, ServicePoller, is_of, services_of
from .step import Actual, Report, UnwantedStep
from .step4_task_definitions import delete_definitions
from .step5_services import delete_service


class OrphanStep(UnwantedStep):
    """A service that is no longer in the config; deleted with its task definitions and images."""

    # reversed by `down`: the cluster can be deleted only after its services
    needs = ("stack", CAPACITY_PROVIDER)

    def __init__(self, lab: Lab, service: str, target: Target, poller: ServicePoller) -> None:
        self.name = f"services/{service}"
        self._lab = lab
        self._service = service
        self._target = target
        self._poller = poller

    def inspect(self) -> Actual | None:
        service = self._poller.describe(self._service)
        return Actual(None, True, f"{counts(service)}, not in the config") if service else None

    def destroy(self, report: Report) -> str:
        # the service last: if this run is killed, the next one finds the orphan by its service
        delete_definitions(self._target, self._lab, self._service)
        # the config may have given the image's name to a container of another service
        if self._service not in self._lab.image_names:
            self._target.images.delete(self._service)
        return delete_service(self._lab, self._service, self._target, self._poller, report)


def orphaned_services(lab: Lab, target: Target) -> list[OrphanStep | CanaryLeftover]:
    """The services of the cluster that have the lab's tag and aren't in the config, and canaries that were left behind.

    Raises TargetAbsent.
    """
    poller = ServicePoller(target, lab.name)
    unknown = services_of(target, lab.name, but=service_names(lab, target))
    return [_orphan(lab, service, target, poller) for service in unknown if is_of(lab.name, service)]


def _orphan(lab: Lab, service: Service, target: Target, poller: ServicePoller) -> OrphanStep | CanaryLeftover:
    if of := canary_of(service):
        return CanaryLeftover(lab, of, target, poller)
    return OrphanStep(lab, service["serviceName"], target, poller)
