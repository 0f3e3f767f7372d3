"""EC2 instances: their Consul agents are started, restarted and stopped, and real ones join a cluster."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ecsconsul.consul.agent_config import AgentSpec, ConsulPorts
from ecsconsul.consul.catalog import Consul, Refused
from ecsconsul.consul.lab_secrets import new_secrets
from ecsconsul.errors import Unreachable
from ecsconsul.region.consul_acl import ConsulAcl
from ecsconsul.region.instances import Ec2Instances, new_instance_id
from ecsconsul.region.runtimes import lab_processes
from ecsconsul.region.runtimes.addresses import Addresses, Ports, must_share_address
from ecsconsul.region.runtimes.interface import CannotRun, ConsulAgents, Ec2Instance, Role
from ecsconsul.region.runtimes.lab_dir import LabDir
from ecsconsul.region.runtimes.processes.consul_agents import ConsulAgentProcesses
from tests.consul_server import consul_binary

Until = Callable[..., None]
TIMEOUT = 60.0


@dataclass
class FakeAgent:
    """An agent that runs until it is stopped."""

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


class FakeAgents:
    """Starts fake agents and puts them into `started`. While `broken`, no agent can be started."""

    def __init__(self) -> None:
        self.started: queue.Queue[FakeAgent] = queue.Queue()
        self.forgotten: list[str] = []
        self.broken = False
        self._hosts = itertools.count(1)

    def create(self, instance_id: str, role: Role, folder: Path, *, lead: bool) -> Ec2Instance:
        address = f"127.77.0.{next(self._hosts)}"
        return Ec2Instance(instance_id, role, address, ConsulPorts(), Ports(address), folder, also_on_loopback=lead)

    def spec(self, instance: Ec2Instance) -> AgentSpec:
        own = (instance.address,)
        return AgentSpec(instance.instance_id, instance.address, own, own, instance.consul, "/data", "/files")

    def start(self, instance: Ec2Instance) -> FakeAgent:
        if self.broken:
            raise CannotRun("broken")
        agent = FakeAgent()
        self.started.put(agent)
        return agent

    def forget(self, instance: Ec2Instance) -> None:
        self.forgotten.append(instance.instance_id)


def ec2_instances(lab_dir: LabDir, agents: ConsulAgents, servers: int, *, ready: bool = True) -> Ec2Instances:
    """Instances of a lab; fake servers have no ACLs, so they are `ready` for agents at once."""
    lab_secrets = new_secrets("lab")
    acl = ConsulAcl(lab_secrets)
    if ready:
        acl.ready.set()
    return Ec2Instances(lab_dir, agents, "1.8.7", servers, lab_secrets, acl)


@pytest.fixture
def agents() -> FakeAgents:
    return FakeAgents()


@pytest.fixture
def instances(lab_dir: LabDir, agents: FakeAgents) -> Iterator[Ec2Instances]:
    instances = ec2_instances(lab_dir, agents, 3)
    yield instances
    agents.broken = False
    instances.close()


def test_instance_ids_have_ec2s_format() -> None:
    one, two = new_instance_id(), new_instance_id()
    assert one != two
    assert one.startswith("i-0")
    assert len(one) == len("i-0123456789abcdef0")


def test_next_instances_claim_the_warm_servers(instances: Ec2Instances, agents: FakeAgents) -> None:
    instances.warm_up()
    warm = [instance.instance_id for instance in instances.servers()]
    assert len(warm) == 3
    assert [instance.also_on_loopback for instance in instances.servers()] == [True, False, False]
    assert instances.all() == [], "none is launched yet"
    assert [instances.next_instance_id() for _ in range(3)] == warm
    assert instances.next_instance_id() not in warm
    launched = [instances.launch(instance_id, "consul-server") for instance_id in warm]
    assert instances.all() == instances.servers() == launched
    assert agents.started.qsize() == 3, "none was booted twice"


def test_warm_instances_are_claimed_after_the_servers(instances: Ec2Instances, agents: FakeAgents) -> None:
    instances.warm_up(ecs_instances=2)
    servers = [instance.instance_id for instance in instances.servers()]
    claimed = [instances.next_instance_id() for _ in range(5)]
    assert claimed[:3] == servers
    for instance_id in claimed[3:]:
        assert instances.launch(instance_id, "ecs-instance").instance_id == instance_id
    started = [agents.started.get(timeout=TIMEOUT) for _ in range(5)]
    assert len(started) == 5
    assert agents.started.empty(), "none was booted twice"
    assert agents.forgotten == []


def test_warm_server_that_is_launched_with_another_role_is_replaced(
    instances: Ec2Instances, agents: FakeAgents
) -> None:
    instances.warm_up()
    claimed = instances.next_instance_id()
    instance = instances.launch(claimed, "ecs-instance")
    assert (instance.role, len(instances.servers())) == ("ecs-instance", 2)
    assert agents.forgotten == [claimed]
    assert instance.folder.is_dir()


def test_agent_that_exits_is_restarted(instances: Ec2Instances, agents: FakeAgents) -> None:
    instances.launch("i-1", "ecs-instance")
    for _ in range(3):
        agents.started.get(timeout=TIMEOUT).ended.set()


def test_failed_restart_is_retried(instances: Ec2Instances, agents: FakeAgents, until: Until) -> None:
    instance = instances.launch("i-1", "ecs-instance")
    first = agents.started.get(timeout=TIMEOUT)
    agents.broken = True
    first.ended.set()
    threading.Event().wait(0.15)
    agents.broken = False
    agents.started.get(timeout=TIMEOUT)
    until(lambda: instance.agent is not first)


def test_agent_of_a_terminated_instance_is_not_restarted(
    instances: Ec2Instances, agents: FakeAgents, until: Until
) -> None:
    instance = instances.launch("i-1", "ecs-instance")
    agent = agents.started.get(timeout=TIMEOUT)
    assert instances.terminate("i-1") is instance
    assert instance.stopping.is_set(), "at once, so that nothing waits for it"
    assert instances.all() == []
    until(lambda: agents.forgotten == ["i-1"])
    assert agent.stopped_within, "it has time to leave the cluster"
    assert not instance.folder.exists()
    with pytest.raises(queue.Empty):
        agents.started.get(timeout=0.3)
    assert instances.terminate("i-1") is None


def test_close_kills_all_agents(lab_dir: LabDir, agents: FakeAgents) -> None:
    instances = ec2_instances(lab_dir, agents, 1)
    instances.warm_up()
    instances.launch("i-1", "ecs-instance")
    started = [agents.started.get(timeout=TIMEOUT) for _ in "12"]
    instances.close()
    assert all(agent.ended.is_set() and agent.stopped_within is None for agent in started)
    assert instances.all() == instances.servers() == []


@pytest.mark.parametrize("shared", [False, True])
def test_real_agents_join_and_are_restarted(lab_dir: LabDir, until: Until, shared: bool) -> None:
    """The agent of an instance is killed, restarted, and leaves when its instance is terminated."""
    if must_share_address() and not shared:
        pytest.skip("all instances share one address")
    agents = ConsulAgentProcesses(lab_dir, consul_binary(), Addresses("instances-test", shared))
    instances = ec2_instances(lab_dir, agents, 1, ready=False)
    try:
        instances.warm_up()
        server = instances.launch(instances.next_instance_id(), "consul-server")
        client = instances.launch(instances.next_instance_id(), "ecs-instance")
        both = {server.instance_id, client.instance_id}
        consul, there = (Consul(one.address, one.consul.http) for one in (server, client))

        def members(consul: Consul, status: str = "alive") -> set[str]:
            try:
                return {one.name for one in consul.members() if one.status == status}
            except (Unreachable, Refused):
                # It has no ACLs yet.
                return set()

        until(lambda: members(consul) == members(there) == both)
        assert (server.address == client.address) is shared
        assert client.agent is not None
        killed = client.agent
        killed.kill()
        until(lambda: client.agent is not killed)
        until(lambda: members(consul) == members(there) == both)
        instances.terminate(client.instance_id)
        until(lambda: client.instance_id in members(consul, "left"))
    finally:
        instances.close()
        lab_processes.kill_leftovers(lab_dir.root)
