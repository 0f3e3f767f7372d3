"""The Registrator of each ECS instance: brings its tasks into Consul, as the one on an instance in AWS does.

Each follows the events of its instance's container engine. The region only asks it which services are listed, and has
it deregister a task before the task is stopped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import closing
from dataclasses import dataclass, field

from ..errors import LabError
from ..registrator.consul_client import ConsulClient
from ..registrator.container_engine import Engine
from ..registrator.reconciler import Reconciler, ReconcilerOptions
from ..registrator.rules import Options
from .runtimes.interface import Ec2Instance

CLOSE_TIMEOUT = 2.0
# A task that is being stopped must not return to the catalog before it is killed, whatever its stopTimeout.
STOP_TIMEOUT = 3600.0


@dataclass
class Registrators:
    """One Registrator per instance, started with its first task; safe to share between threads."""

    engine_of: Callable[[Ec2Instance], Engine]
    token: str = ""
    _running: dict[str, Reconciler] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def is_passing(self, instance: Ec2Instance, expected: Mapping[str, Set[str]]) -> bool:
        """Whether Consul's servers list all services of some containers (id -> service IDs) as passing.

        Docker reports a container that is just exiting as running, without ports: it then has fewer services than
        expected, and is not passing. Raises LabError.
        """
        if not expected:
            return True
        registrator = self._of(instance)
        return all(
            services <= {one.id for one in registrator.services(container) or ()} and registrator.is_listed(container)
            for container, services in expected.items()
        )

    def leave(self, instance: Ec2Instance, containers: Iterable[str], seconds: float) -> None:
        """Take containers out of the catalog; wait up to `seconds` until Consul's servers no longer list them."""
        with self._lock:
            registrator = self._running.get(instance.instance_id)
        if registrator is None:
            return
        ids = list(containers)
        leaving = [one for container in ids for one in registrator.services(container) or ()]
        for container in ids:
            registrator.leave(container, seconds)
        if seconds:
            with closing(self._consul(instance)) as consul:
                for one in leaving:
                    consul.wait_until_unlisted(one.name, one.id, seconds)

    def use_token(self, token: str) -> None:
        """Send this ACL token to Consul from the next request on."""
        with self._lock:
            self.token = token
            for registrator in self._running.values():
                registrator.use_token(token)

    def forget(self, instance: Ec2Instance) -> None:
        """Stop the Registrator of an instance that is going away together with its agent."""
        with self._lock:
            registrator = self._running.pop(instance.instance_id, None)
        if registrator:
            registrator.close(keep=True, seconds=0.0)

    def close(self) -> None:
        """Stop all Registrators; the catalog stays as it is."""
        with self._lock:
            stopping, self._running = list(self._running.values()), {}
        for registrator in stopping:
            registrator.close(keep=True, seconds=CLOSE_TIMEOUT)

    def _of(self, instance: Ec2Instance) -> Reconciler:
        """Raises LabError when the engine or the agent does not answer."""
        with self._lock:
            found = self._running.get(instance.instance_id)
            if found is None or found.ended.is_set():
                found = self._running[instance.instance_id] = self._start(instance)
            return found

    def _start(self, instance: Ec2Instance) -> Reconciler:
        rules = Options(hostname=instance.instance_id, host_address=instance.host_address)
        registrator = Reconciler(
            self.engine_of(instance),
            self._consul(instance),
            ReconcilerOptions(rules, stop_timeout=STOP_TIMEOUT, wait_for_port=True),
        )
        try:
            registrator.start()
        except LabError:
            registrator.close(keep=True, seconds=0.0)
            raise
        return registrator

    def _consul(self, instance: Ec2Instance) -> ConsulClient:
        return ConsulClient(instance.http, self.token)
