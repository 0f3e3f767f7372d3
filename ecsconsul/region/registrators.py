"""The lab's own Registrator for each machine: Docker's events, and not the region, bring its tasks into Consul.

Each watches the containers that bear its machine's label, as it would on an instance in AWS watch that one's engine.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..consul.catalog import Consul
from ..docker.engine import INSTANCE_LABEL
from ..errors import LabError
from ..registrator.consul_client import ConsulClient
from ..registrator.docker_client import DockerClient
from ..registrator.reconciler import Reconciler, ReconcilerOptions
from ..registrator.rules import Options, Registration
from ..registrator.settings import Server
from .ecs.model import ContainerState
from .instances import Ec2Instance
from .runtimes.registration import Service, await_unlisted

CLOSE_SECONDS = 2.0
# a task that is asked to stop is not back in the catalog before it is killed, whatever its stopTimeout
STOP_SECONDS = 3600.0


@dataclass
class Registrators:
    """One for each machine, started when its first task is; threads may share it."""

    socket: str
    _of: dict[str, Reconciler] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, machine: Ec2Instance) -> Reconciler:
        """That of a machine. Raises LabError when it cannot begin now: the engine or the agent does not answer."""
        with self._lock:
            found = self._of.get(machine.instance_id)
            if found is None or found.ended.is_set():
                found = self._of[machine.instance_id] = self._start(machine)
            return found

    def forget(self, machine: Ec2Instance) -> None:
        """The machine is gone, and its agent with all that it knew."""
        with self._lock:
            sync = self._of.pop(machine.instance_id, None)
        if sync:
            sync.close(keep=True, seconds=0.0)

    def close(self) -> None:
        """End all of them."""
        with self._lock:
            ending, self._of = list(self._of.values()), {}
        for sync in ending:
            sync.close(keep=True, seconds=CLOSE_SECONDS)

    def _start(self, machine: Ec2Instance) -> Reconciler:
        label = f"{INSTANCE_LABEL}={machine.instance_id}"
        rules = Options(hostname=machine.instance_id, host_address=machine.host_address)
        sync = Reconciler(
            DockerClient(Server(socket=self.socket), label),
            ConsulClient(Server(machine.address, machine.consul.http)),
            ReconcilerOptions(rules, stop_timeout=STOP_SECONDS, wait_for_port=True),
        )
        try:
            sync.start()
        except LabError:
            sync.close(keep=True, seconds=0.0)
            raise
        return sync


class WatchedRegistration:
    """A task whose containers a Registrator watches: that is asked how far it is, and told of an end that is near."""

    def __init__(self, registrators: Registrators, machine: Ec2Instance) -> None:
        self._registrators = registrators
        self._machine = machine

    def enter(self, services: Sequence[Service]) -> bool:
        sync = self._registrators.of(self._machine)
        # of a container that is just dying Docker says that it runs and has no ports: no services are not all of them
        wanted = {state.runtime_id: {one.id for one, of in services if of is state} for _, state in services}
        return all(
            ids <= {one.id for one in sync.services(container) or ()} and sync.is_listed(container)
            for container, ids in wanted.items()
        )

    def leave(self, containers: Iterable[ContainerState], seconds: float) -> None:
        sync = self._registrators.of(self._machine)
        ids = [state.runtime_id for state in containers if state.runtime_id]
        leaving: list[Registration] = [one for container in ids for one in sync.services(container) or ()]
        for container in ids:
            sync.leave(container, seconds)
        if seconds:
            consul = Consul(self._machine.address, self._machine.consul.http)
            for one in leaving:
                await_unlisted(consul, one.id, one.name, seconds)

    def agent_is_back(self) -> None:
        """The Registrator sees that by itself, and says all of it again."""

    def has_lost(self) -> bool:
        """The Registrator sees that by itself too."""
        return False
