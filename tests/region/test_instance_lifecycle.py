"""Instances are booted, drained and terminated as EC2 and Auto Scaling want it.

The control loop is real, with fake containers; the Consul agents are fake, but one Consul answers for all.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ecsconsul.consul.agent_config import ConsulPorts
from ecsconsul.consul.lab_secrets import new_secrets
from ecsconsul.region import instance_lifecycle
from ecsconsul.region.consul_acl import ConsulAcl
from ecsconsul.region.control_loop import ControlLoop
from ecsconsul.region.ecs.model import ACTIVE, DRAINING, RUNNING, STOPPED, Service, Task
from ecsconsul.region.instance_lifecycle import InstanceLifecycle
from ecsconsul.region.moto import MotoInstance
from ecsconsul.region.runtimes.interface import Ec2Instance, Role
from ecsconsul.region.runtimes.lab_dir import LabDir
from tests.consul_server import ConsulServer
from tests.region.ecs.factories import CLUSTER, container, definition, new_ecs
from tests.region.fakes import FakeContainers
from tests.region.test_instances import FakeAgents, ec2_instances

Until = Callable[..., None]
STEADY = definition(revision=1)


class FakeEc2:
    """The running instances, by id; `terminated` lists those that the region terminated."""

    def __init__(self) -> None:
        self.running: dict[str, MotoInstance] = {}
        self.terminated: list[str] = []

    def add(self, instance_id: str, role: str = "ecs-instance") -> None:
        tags = {"ecsconsul:role": role, "ecsconsul:cluster": CLUSTER}
        self.running[instance_id] = MotoInstance(instance_id, tags, 2048, 4096, "us-east-1a", "t3.small", ami="ami-1")

    def leave(self, instance_id: str) -> None:
        self.running[instance_id] = replace(self.running[instance_id], leaving=True)

    def instances(self) -> list[MotoInstance]:
        return list(self.running.values())

    def set_address(self, instance_id: str, address: str) -> None:
        pass

    def terminate(self, instance_id: str) -> None:
        self.running.pop(instance_id, None)
        self.terminated.append(instance_id)


class AgentsOfOneConsul(FakeAgents):
    """Fake agents whose API is that of one Consul; without one, nothing answers."""

    def __init__(self, server: ConsulServer) -> None:
        super().__init__()
        self._server = server

    def create(self, instance_id: str, role: Role, folder: Path, *, lead: bool) -> Ec2Instance:
        one = super().create(instance_id, role, folder, lead=lead)
        return replace(one, address=self._server.host, consul=ConsulPorts(http=self._server.http))


class LifecycleRegion:
    """What boots, drains and terminates; `changes` counts the calls of `changed`."""

    def __init__(self, lab_dir: LabDir, server: ConsulServer) -> None:
        self.ec2 = FakeEc2()
        self.ecs = new_ecs()
        self.containers = FakeContainers()
        self.loop = ControlLoop(self.ecs, self.containers, lab_dir, ConsulAcl(new_secrets("lab")), "")
        self.agents = AgentsOfOneConsul(server)
        self.instances = ec2_instances(lab_dir, self.agents, 1)
        self.changes = 0
        self.lifecycle = InstanceLifecycle(self.ec2, self.ecs, self.loop, self.instances, self._changed)
        self.loop.start()

    def _changed(self) -> None:
        self.changes += 1

    def launch(self, *instance_ids: str) -> None:
        for instance_id in instance_ids:
            self.ec2.add(instance_id)
        self.lifecycle.reconcile()

    def service(self, desired: int = 1, image: str = "steady") -> Service:
        with self.ecs.lock:
            own = definition("weather", 1, container(image=image))
            return self.ecs.create_service(CLUSTER, "weather", desired, own, {})

    def tasks(self) -> list[Task]:
        """The tasks that run and pass."""
        with self.ecs.lock:
            return [task for task in self.ecs.tasks() if task.last_status == RUNNING and task.passing]

    def known(self) -> dict[str, str]:
        """The status of each container instance."""
        return {one.instance_id: one.status for one in self.ecs.instances_of(CLUSTER)}


@pytest.fixture
def region(lab_dir: LabDir, server: ConsulServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[LifecycleRegion]:
    for timeout in ("JOIN_TIMEOUT", "LEAVE_TIMEOUT"):
        monkeypatch.setattr(instance_lifecycle, timeout, 60.0)
    region = LifecycleRegion(lab_dir, server)
    yield region
    region.containers.close()
    region.loop.close()
    region.instances.close()


def test_new_instances_join_with_their_attributes(region: LifecycleRegion) -> None:
    region.launch("i-1", "i-2")
    assert region.known() == {"i-1": ACTIVE, "i-2": ACTIVE}
    (one, _) = region.ecs.instances_of(CLUSTER)
    assert one.attributes == {
        "ecs.ami-id": "ami-1",
        "ecs.availability-zone": "us-east-1a",
        "ecs.cpu-architecture": {"aarch64": "arm64"}.get(platform.machine(), platform.machine()),
        "ecs.instance-type": "t3.small",
        "ecs.os-family": "LINUX",
        "ecs.os-type": "linux",
    }
    assert one.arn.endswith("container-instance/lab/" + "1".zfill(32))
    changes = region.changes
    region.lifecycle.reconcile()
    assert (region.known(), region.changes) == ({"i-1": ACTIVE, "i-2": ACTIVE}, changes + 1)


def test_others_instances_are_left_alone(region: LifecycleRegion) -> None:
    region.ec2.add("i-1", role="bastion")
    region.lifecycle.reconcile()
    assert region.instances.all() == []


def test_leaving_instance_is_terminated_once_its_tasks_are_elsewhere(region: LifecycleRegion, until: Until) -> None:
    region.launch("i-1", "i-2")
    region.service()
    until(lambda: region.tasks())
    (task,) = region.tasks()
    other = "i-2" if task.instance_id == "i-1" else "i-1"
    region.ec2.leave(task.instance_id)
    region.lifecycle.reconcile()
    (replacement,) = region.tasks()
    assert replacement.instance_id == other
    assert (task.last_status, task.stop_code) == (STOPPED, "ServiceSchedulerInitiated")
    assert task.stopping_at is not None
    assert replacement.started_at is not None
    assert replacement.started_at <= task.stopping_at, "the service is never away"
    assert region.ec2.terminated == [task.instance_id]
    assert region.known() == {other: ACTIVE}
    until(lambda: region.agents.forgotten == [task.instance_id])


def test_drains_at_most_once(region: LifecycleRegion, until: Until) -> None:
    region.launch("i-1", "i-2")
    with region.ecs.lock:
        (task,), _ = region.ecs.run_task(CLUSTER, STEADY, 1, {})
    until(lambda: task.last_status == RUNNING)
    region.ec2.leave(task.instance_id)
    first = threading.Thread(target=region.lifecycle.reconcile)
    first.start()
    until(lambda: region.known()[task.instance_id] == DRAINING)
    region.lifecycle.reconcile()
    assert region.ec2.terminated == [], "a standalone task is waited for"
    with region.ecs.lock:
        region.ecs.stop_task(task, "UserInitiated", "")
    first.join(60)
    assert region.ec2.terminated == [task.instance_id]


def test_instance_with_tasks_that_have_no_other_place_is_not_waited_for(region: LifecycleRegion, until: Until) -> None:
    region.launch("i-1")
    region.service()
    until(lambda: region.tasks())
    (task,) = region.tasks()
    region.ec2.leave("i-1")
    region.lifecycle.reconcile()
    assert region.ec2.terminated == ["i-1"]
    assert (task.last_status, task.stop_code) == (STOPPED, "TerminationNotice")


def test_all_instances_leave_together(region: LifecycleRegion, until: Until) -> None:
    region.launch("i-1", "i-2")
    region.service(desired=2)
    until(lambda: len(region.tasks()) == 2)
    for name in ("i-1", "i-2"):
        region.ec2.leave(name)
    region.lifecycle.reconcile()
    assert sorted(region.ec2.terminated) == ["i-1", "i-2"]
    assert region.known() == {}


def test_only_instance_leaves_after_its_replacement_has_joined(region: LifecycleRegion, until: Until) -> None:
    region.launch("i-1")
    region.service()
    until(lambda: region.tasks())
    (task,) = region.tasks()
    region.ec2.leave("i-1")
    region.launch("i-2")
    assert [one.instance_id for one in region.tasks()] == ["i-2"]
    assert task.stop_code == "ServiceSchedulerInitiated"
    assert region.ec2.terminated == ["i-1"]


def test_draining_ends_after_a_time(region: LifecycleRegion, until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance_lifecycle, "DRAIN_TIMEOUT", 0.1)
    region.launch("i-1", "i-2")
    with region.ecs.lock:
        (task,), _ = region.ecs.run_task(CLUSTER, STEADY, 1, {})
    until(lambda: task.last_status == RUNNING)
    region.ec2.leave(task.instance_id)
    region.lifecycle.reconcile()
    assert region.ec2.terminated == [task.instance_id]
    assert task.stop_code == "TerminationNotice"


def test_request_does_not_wait_for_all_of_a_long_draining(
    region: LifecycleRegion, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance_lifecycle, "LEAVE_TIMEOUT", 0.1)
    region.launch("i-1", "i-2")
    with region.ecs.lock:
        (task,), _ = region.ecs.run_task(CLUSTER, STEADY, 1, {})
    until(lambda: task.last_status == RUNNING)
    region.ec2.leave(task.instance_id)
    region.lifecycle.reconcile()
    assert region.ec2.terminated == []
    with region.ecs.lock:
        region.ecs.stop_task(task, "UserInitiated", "")
    until(lambda: region.ec2.terminated)


def test_lost_instance_loses_its_tasks_at_once(region: LifecycleRegion, until: Until) -> None:
    region.launch("i-1", "i-2")
    region.service()
    until(lambda: region.tasks())
    (task,) = region.tasks()
    del region.ec2.running[task.instance_id]
    region.lifecycle.reconcile()
    assert task.stop_code == "TerminationNotice"
    assert region.ec2.terminated == []
    until(lambda: region.tasks() and region.tasks()[0].instance_id != task.instance_id)
