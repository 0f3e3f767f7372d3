"""How a task's services enter and leave its Consul agent where no Registrator watches: the task sees to it itself."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...consul.catalog import Consul
from ...registrator.checks import Status, TcpProbe
from ...registrator.probe import run_probe
from ...registrator.rules import Registration, initial_probe
from ..ecs.model import ContainerState, Task
from ..instances import Ec2Instance

# How long one look at the catalog waits for a change before the task's own events are read again.
CATALOG_WAIT = 0.5
# A task that does not become well is shown in the catalog all the same, as critical.
SHOWN_AFTER = 3.0
# what Consul was told, as long as it is not known whether it still (or yet) knows
UNSURE = "unsure"

Service = tuple[Registration, ContainerState]


class TaskRegistration(Protocol):
    """One task's services in the catalog. Its methods raise LabError when Consul cannot be asked."""

    def enter(self, services: Sequence[Service]) -> bool:
        """Look at each service of the containers that run; True when all are passing in the catalog."""

    def leave(self, containers: Iterable[ContainerState], seconds: float) -> None:
        """Take the containers' services out, and wait for so long until the catalog has it."""

    def agent_is_back(self) -> None:
        """The agent was started anew; what it remembers may not be what it was told last."""

    def has_lost(self) -> bool:
        """Whether Consul has forgotten, or somebody has taken out, what has entered; it may then enter again."""


@dataclass(frozen=True)
class _Told:
    container: str
    name: str
    status: str | None


class SelfRegistration:
    """Registers with what a first look sees, so that a task is found as soon as it answers."""

    def __init__(self, task: Task, machine: Ec2Instance) -> None:
        self._task = task
        self._consul = Consul(machine.address, machine.consul.http)
        self._told: dict[str, _Told] = {}

    def enter(self, services: Sequence[Service]) -> bool:
        seen = [self._enter(registration, state) for registration, state in services]
        return all(seen) and all(is_listed(self._consul, registration) for registration, _ in services)

    def leave(self, containers: Iterable[ContainerState], seconds: float) -> None:
        names = {state.name for state in containers}
        leaving = {service_id: told for service_id, told in self._told.items() if told.container in names}
        for service_id in leaving:
            self._consul.deregister(service_id)
        self._told = {key: told for key, told in self._told.items() if key not in leaving}
        for service_id, told in leaving.items() if seconds else ():
            await_unlisted(self._consul, service_id, told.name, seconds)

    def agent_is_back(self) -> None:
        self._told = {key: _Told(told.container, told.name, UNSURE) for key, told in self._told.items()}

    def has_lost(self) -> bool:
        lost = {key for key in self._told if not self._consul.has_service(key)}
        self._told = {key: told for key, told in self._told.items() if key not in lost}
        return bool(lost)

    def _enter(self, registration: Registration, state: ContainerState) -> bool:
        """Register what a first look sees as well; True when there is nothing left to wait for but the catalog.

        A service without a check counts as well as soon as its port answers; a check that only Consul can make
        (a TTL, a script, gRPC) is left to Consul.
        """
        if registration.check is None and not _listens(registration, state):
            return False
        probe = initial_probe(registration)
        status = run_probe(probe).status if probe else None
        well = status in (None, "passing")
        overdue = time.time() - self._task.created_at > SHOWN_AFTER
        if (well or overdue) and self._told.get(registration.id) != _Told(state.name, registration.name, status):
            self._register(registration, state, status)
        return well

    def _register(self, registration: Registration, state: ContainerState, status: Status | None) -> None:
        """Consul keeps the status of a check that it has; to change it, the service must go first."""
        if registration.id in self._told:
            self._consul.deregister(registration.id)
        self._told[registration.id] = _Told(state.name, registration.name, UNSURE)
        self._consul.register(registration.payload(status))
        self._told[registration.id] = _Told(state.name, registration.name, status)


def is_listed(consul: Consul, registration: Registration) -> bool:
    """Whether Consul's servers list it as passing, so that DNS answers it; waits a moment for it."""
    listed = consul.wait_for(registration.name, lambda found: any(i.id == registration.id for i in found), CATALOG_WAIT)
    return any(instance.id == registration.id for instance in listed)


def await_unlisted(consul: Consul, service_id: str, name: str, seconds: float) -> None:
    """Wait until Consul's servers list the service no longer; not longer than `seconds`."""
    consul.wait_for(name, lambda found: all(i.id != service_id for i in found), seconds)


def _listens(registration: Registration, state: ContainerState) -> bool:
    """Whether the port answers; of a UDP port nobody can tell, so it does."""
    protocols = {binding.host_port: binding.protocol for binding in state.bindings}
    if protocols.get(registration.port) == "udp":
        return True
    return run_probe(TcpProbe(registration.address, registration.port, timeout=1.0)).status == "passing"
