"""Makes the lab's instances those that EC2 and Auto Scaling want: boots, drains and terminates them."""

from __future__ import annotations

import logging
import platform
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from .auto_scaling import ECS_INSTANCE, ROLE_TAG
from .control_loop import ControlLoop
from .ecs.model import ContainerInstance
from .ecs.state import Ecs
from .instances import Ec2Instances
from .moto import MotoInstance
from .runtimes.interface import ROLES, Ec2Instance, Role

log = logging.getLogger(__name__)

JOIN_TIMEOUT = 10.0
# In AWS the lifecycle hook's timeout. As long as the slowest of a task's replacement, and its stopTimeout.
DRAIN_TIMEOUT = 90.0
# A request is answered when the instances that it lets leave have done so, but before its client gives up.
LEAVE_TIMEOUT = 30.0
CLUSTER_TAG = "ecsconsul:cluster"


class Ec2(Protocol):
    """The part of moto that says which instances run."""

    def instances(self) -> list[MotoInstance]:
        """The running instances."""

    def set_address(self, instance_id: str, address: str) -> None:
        """Make the EC2 API return the instance's real address."""

    def terminate(self, instance_id: str) -> None:
        """Terminate an instance that is leaving its Auto Scaling group."""


class InstanceLifecycle:
    """One reconciliation at a time; `changed` is called when the instances have."""

    def __init__(
        self, ec2: Ec2, ecs: Ecs, control_loop: ControlLoop, instances: Ec2Instances, changed: Callable[[], None]
    ) -> None:
        self._ec2 = ec2
        self._ecs = ecs
        self._control_loop = control_loop
        self._instances = instances
        self._changed = changed
        self._draining: set[str] = set()
        self._lock = threading.Lock()

    def reconcile(self) -> None:
        """Launch new instances, drain those that leave an Auto Scaling group, and terminate those that are gone.

        Waits until new ones have joined and leaving ones have left, both for a limited time.
        """
        with self._lock:
            desired = {one.id: one for one in self._ec2.instances() if one.tags.get(ROLE_TAG) in ROLES}
            known = {instance.instance_id: instance for instance in self._instances.all()}
            for instance_id in known.keys() - desired.keys():
                self._terminate(known[instance_id])
            new = [one for one in desired.values() if one.id not in known]
            joining = [self._launch(one) for one in sorted(new, key=lambda one: one.tags[ROLE_TAG])]
            leave = [one.id for one in desired.values() if one.leaving and one.id not in self._draining]
            leaving = [self._drain(instance_id, joining) for instance_id in leave]
        self._changed()
        # A stack completes once its instances have signalled; so wait, and let tasks spread over all of them.
        _join(joining, JOIN_TIMEOUT)
        _join(leaving, LEAVE_TIMEOUT)

    def _launch(self, one: MotoInstance) -> threading.Thread:
        """Launch an instance; the thread ends when it has joined its cluster."""
        role: Role = "consul-server" if one.tags[ROLE_TAG] == "consul-server" else "ecs-instance"
        instance = self._instances.launch(one.id, role)
        self._ec2.set_address(one.id, instance.address)
        return _started(lambda: self._join_cluster(instance, one), f"join-{one.id}")

    def _join_cluster(self, instance: Ec2Instance, one: MotoInstance) -> None:
        """Register an instance with its ECS cluster once its Consul agent answers, as the boot script does."""
        if not self._control_loop.await_agent(instance):
            log.error("the Consul agent of %s does not answer", one.id)
            return
        if instance.role != ECS_INSTANCE:
            return
        cluster = one.tags.get(CLUSTER_TAG, "default")
        arn = self._ecs.arn("container-instance", cluster, one.id.removeprefix("i-").zfill(32))
        attributes = attributes_of(one)
        registered = ContainerInstance(
            one.id, arn, cluster, instance.host_address, one.cpu, one.memory, attributes=attributes
        )
        self._control_loop.add_instance(instance, registered)

    def _drain(self, instance_id: str, joining: Sequence[threading.Thread]) -> threading.Thread:
        """Drain an instance that leaves its group; the thread ends when it is terminated."""
        self._draining.add(instance_id)
        return _started(lambda: self._drain_and_terminate(instance_id, joining), f"drain-{instance_id}")

    def _drain_and_terminate(self, instance_id: str, joining: Sequence[threading.Thread]) -> None:
        # The tasks may need the instance that replaces this one.
        _join(joining, JOIN_TIMEOUT)
        log.info("draining %s", instance_id)
        if not self._control_loop.drain_instance(instance_id, DRAIN_TIMEOUT):
            log.warning("%s is terminated with tasks that found no other place", instance_id)
        self._ec2.terminate(instance_id)
        self.reconcile()
        with self._lock:
            self._draining.discard(instance_id)

    def _terminate(self, instance: Ec2Instance) -> None:
        # An instance whose agent has just answered must not join after it was removed.
        instance.stopping.set()
        self._control_loop.remove_instance(instance)
        self._instances.terminate(instance.instance_id)


def attributes_of(one: MotoInstance) -> dict[str, str]:
    """The attributes with which ECS registers an instance; the architecture is that of this machine, which runs tasks.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-placement-constraints.html#ecs-automatic-attributes
    """
    machine = platform.machine()
    found = {
        "ecs.ami-id": one.ami,
        "ecs.availability-zone": one.zone,
        "ecs.cpu-architecture": {"aarch64": "arm64", "AMD64": "x86_64"}.get(machine, machine),
        "ecs.instance-type": one.kind,
        "ecs.os-family": "LINUX",
        "ecs.os-type": "linux",
        "ecs.subnet-id": one.subnet,
        "ecs.vpc-id": one.vpc,
    }
    return {name: value for name, value in found.items() if value}


def _started(work: Callable[[], None], name: str) -> threading.Thread:
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread


def _join(threads: Iterable[threading.Thread], seconds: float) -> None:
    end = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
