"""Machines: what their Consul is configured as, how it is kept up, and real ones that find each other."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ecsconsul.consul.agent_config import ConsulPorts
from ecsconsul.consul.catalog import Consul
from ecsconsul.errors import Unreachable
from ecsconsul.region.instances import Ec2Instances, new_instance_id
from ecsconsul.region.runtimes import lab_processes
from ecsconsul.region.runtimes.addresses import Addresses, Ports, must_share_address
from ecsconsul.region.runtimes.interface import CannotRun, Ec2Instance, Role
from ecsconsul.region.runtimes.lab_dir import LabDir
from ecsconsul.region.runtimes.processes.consul_agents import ConsulAgentProcesses
from tests.consul_server import consul_binary

Until = Callable[..., None]
PATIENCE = 60.0


@dataclass
class FakeAgent:
    """An agent that runs until it is ended."""

    ended: threading.Event = field(default_factory=threading.Event)
    stopped_within: float | None = None

    def wait(self) -> int:
        self.ended.wait()
        return 1

    def stop(self, timeout: float) -> None:
        self.stopped_within = timeout
        self.ended.set()

    def kill(self) -> None:
        self.ended.set()


class FakeRunner:
    """Starts fake agents; each start is told in `started`. While `broken`, nothing can be started."""

    def __init__(self) -> None:
        self.started: queue.Queue[FakeAgent] = queue.Queue()
        self.forgotten: list[str] = []
        self.broken = False
        self._hosts = itertools.count(1)

    def create(self, instance_id: str, role: Role, folder: Path, *, lead: bool) -> Ec2Instance:
        address = f"127.77.0.{next(self._hosts)}"
        return Ec2Instance(instance_id, role, address, ConsulPorts(), Ports(address), folder, also_on_loopback=lead)

    def overrides(self, instance: Ec2Instance) -> dict[str, Any]:
        return {"log_level": "debug"}

    def start(self, instance: Ec2Instance) -> FakeAgent:
        if self.broken:
            raise CannotRun("nothing starts today")
        agent = FakeAgent()
        self.started.put(agent)
        return agent

    def forget(self, instance: Ec2Instance) -> None:
        self.forgotten.append(instance.instance_id)


@pytest.fixture
def runner() -> FakeRunner:
    return FakeRunner()


@pytest.fixture
def machines(home: LabDir, runner: FakeRunner) -> Iterator[Ec2Instances]:
    made = Ec2Instances(home, runner, "1.8.7", 3)
    yield made
    runner.broken = False
    made.close()


def test_instance_ids_have_ec2s_form() -> None:
    one, two = new_instance_id(), new_instance_id()
    assert one != two
    assert one.startswith("i-0")
    assert len(one) == len("i-0123456789abcdef0")


def test_warm_servers_are_claimed_by_the_instances_that_are_made_next(
    machines: Ec2Instances, runner: FakeRunner
) -> None:
    machines.warm_up()
    warm = [machine.instance_id for machine in machines.servers()]
    assert len(warm) == 3
    assert [machine.also_on_loopback for machine in machines.servers()] == [True, False, False]
    assert machines.all() == [], "no instance stands for them yet"
    assert [machines.next_instance_id() for _ in range(3)] == warm
    assert machines.next_instance_id() not in warm
    launched = [machines.launch(instance_id, "consul-server") for instance_id in warm]
    assert machines.all() == machines.servers() == launched
    assert runner.started.qsize() == 3, "none was booted twice"


def test_warm_instances_are_claimed_after_the_servers(machines: Ec2Instances, runner: FakeRunner) -> None:
    machines.warm_up(ecs_instances=2)
    servers = [machine.instance_id for machine in machines.servers()]
    claimed = [machines.next_instance_id() for _ in range(5)]
    assert claimed[:3] == servers
    for instance_id in claimed[3:]:
        assert machines.launch(instance_id, "ecs-instance").instance_id == instance_id
    assert runner.started.qsize() == 5, "none was booted twice"
    assert runner.forgotten == []


def test_a_warm_server_that_was_claimed_as_something_else_makes_way(machines: Ec2Instances, runner: FakeRunner) -> None:
    machines.warm_up()
    claimed = machines.next_instance_id()
    machine = machines.launch(claimed, "ecs-instance")
    assert (machine.role, len(machines.servers())) == ("ecs-instance", 2)
    assert runner.forgotten == [claimed]
    assert machine.folder.is_dir()


def test_agent_that_exits_is_restarted(machines: Ec2Instances, runner: FakeRunner) -> None:
    machines.launch("i-1", "ecs-instance")
    for _ in range(3):
        runner.started.get(timeout=PATIENCE).ended.set()


def test_a_start_that_fails_is_tried_again(machines: Ec2Instances, runner: FakeRunner, until: Until) -> None:
    machine = machines.launch("i-1", "ecs-instance")
    first = runner.started.get(timeout=PATIENCE)
    runner.broken = True
    first.ended.set()
    threading.Event().wait(0.15)
    runner.broken = False
    runner.started.get(timeout=PATIENCE)
    until(lambda: machine.agent is not first)


def test_a_machine_that_goes_is_not_started_again(machines: Ec2Instances, runner: FakeRunner, until: Until) -> None:
    machine = machines.launch("i-1", "ecs-instance")
    agent = runner.started.get(timeout=PATIENCE)
    assert machines.terminate("i-1") is machine
    assert machine.stopping.is_set(), "from the moment on: nobody may count on it any more"
    assert machines.all() == []
    until(lambda: runner.forgotten == ["i-1"])
    assert agent.stopped_within, "it has time to say farewell"
    assert not machine.folder.exists()
    with pytest.raises(queue.Empty):
        runner.started.get(timeout=0.3)
    assert machines.terminate("i-1") is None


def test_closing_ends_them_all_at_once(home: LabDir, runner: FakeRunner) -> None:
    machines = Ec2Instances(home, runner, "1.8.7", 1)
    machines.warm_up()
    machines.launch("i-1", "ecs-instance")
    machines.close()
    agents = [runner.started.get(timeout=PATIENCE) for _ in "12"]
    assert all(agent.ended.is_set() and agent.stopped_within is None for agent in agents)
    assert machines.all() == machines.servers() == []


@pytest.mark.parametrize("shared", [False, True])
def test_real_agents_find_each_other_and_come_back(home: LabDir, until: Until, shared: bool) -> None:
    """A server and an instance; the instance's agent is killed, is back, and leaves in the end."""
    if must_share_address() and not shared:
        pytest.skip("there is one address only")
    runner = ConsulAgentProcesses(home, consul_binary(), Addresses("machines-test", shared))
    machines = Ec2Instances(home, runner, "1.8.7", 1)
    try:
        machines.warm_up()
        server = machines.launch(machines.next_instance_id(), "consul-server")
        client = machines.launch(machines.next_instance_id(), "ecs-instance")
        both = {server.instance_id, client.instance_id}
        consul, there = (Consul(one.address, one.consul.http) for one in (server, client))

        def members(consul: Consul, status: str = "alive") -> set[str]:
            try:
                return {one.name for one in consul.members() if one.status == status}
            except Unreachable:
                return set()

        until(lambda: members(consul) == members(there) == both)
        assert (server.address == client.address) is shared
        assert client.agent is not None
        killed = client.agent
        killed.kill()
        until(lambda: client.agent is not killed)
        until(lambda: members(consul) == members(there) == both)
        machines.terminate(client.instance_id)
        until(lambda: client.instance_id in members(consul, "left"))
    finally:
        machines.close()
        lab_processes.kill_leftovers(home.root)
