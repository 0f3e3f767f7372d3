"""The faults: what each does, and what must be so again before the next one begins.

Those of the AWS API are the same on a laptop and in an account. The others need the machine on which tasks and agents
run, so only the local target has them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import LabError
from ..targets.machine import Machine


@dataclass(frozen=True)
class Victim:
    """A task that a fault may hit: where DNS says it is, the container that listens there, and its instance."""

    service: str
    endpoint: str
    task: str
    runtime_id: str
    node: str


@dataclass(frozen=True)
class World:
    """What the faults act upon."""

    cluster: str
    ecs: Any
    auto_scaling: Callable[[], Any]
    machine: Machine | None
    leader: Callable[[], str]  # the node that leads the Consul servers
    nodes: Callable[[], frozenset[str]]  # the ECS instances that can run tasks


@dataclass
class Injected:
    """A fault that was injected: `undo` takes it back as far as it doesn't pass by itself; `over` says when it has.

    `leaves`: the victim's endpoint leaves DNS, which is waited for before `undo`.
    """

    over: Callable[[], bool]
    undo: Callable[[], None] = lambda: None
    leaves: bool = True


@dataclass(frozen=True)
class Fault:
    """A kind of fault."""

    name: str
    what: str
    inject: Callable[[World, Victim], Injected]
    local: bool = False
    costs: str = ""  # in AWS, what the user must agree to
    returns: bool = False  # whether the victim itself comes back


def stop_task(world: World, victim: Victim) -> Injected:
    """StopTask: SIGTERM, and the rest of ECS's way of stopping."""
    world.ecs.stop_task(cluster=world.cluster, task=victim.task, reason="gameday: stop-task")
    return Injected(lambda: True)


def kill_task(world: World, victim: Victim) -> Injected:
    """A program that crashes."""
    _machine(world).kill_task(victim.runtime_id)
    return Injected(lambda: True)


def freeze_task(world: World, victim: Victim) -> Injected:
    """A program that hangs: connections are accepted, and nothing answers."""
    return Injected(lambda: True, undo=_machine(world).freeze_task(victim.runtime_id))


def kill_agent(world: World, victim: Victim) -> Injected:
    """The Consul agent of the victim's instance crashes."""
    before = _machine(world).agents().get(victim.node)
    _machine(world).kill_agent(victim.node)
    return Injected(lambda: _machine(world).agents().get(victim.node) not in (None, before), leaves=False)


def cut_network(world: World, victim: Victim) -> Injected:
    """The Consul agent of the victim's instance is cut off, so the others declare it failed."""
    return Injected(lambda: True, undo=_machine(world).freeze_agent(victim.node))


def kill_leader(world: World, victim: Victim) -> Injected:
    """The Consul server that leads crashes."""
    leader = world.leader()
    before = _machine(world).agents().get(leader)
    _machine(world).kill_agent(leader)
    return Injected(lambda: _machine(world).agents().get(leader) not in (None, before), leaves=False)


def take_instance(world: World, victim: Victim) -> Injected:
    """The victim's instance is terminated; its Auto Scaling group starts another."""
    before = world.nodes()
    world.auto_scaling().terminate_instance_in_auto_scaling_group(
        InstanceId=victim.node, ShouldDecrementDesiredCapacity=False
    )
    return Injected(lambda: victim.node not in world.nodes() and len(world.nodes()) >= len(before))


FAULTS: Sequence[Fault] = (
    Fault("stop-task", "ECS stops a task", stop_task, costs="stops one task of a service"),
    Fault("kill-task", "a task's program is killed", kill_task, local=True),
    Fault("freeze-task", "a task's program hangs", freeze_task, local=True, returns=True),
    Fault("kill-agent", "an instance's Consul agent is killed", kill_agent, local=True, returns=True),
    Fault("cut-network", "an instance's Consul agent is cut off", cut_network, local=True, returns=True),
    Fault("kill-leader", "the Consul server that leads is killed", kill_leader, local=True, returns=True),
    Fault("take-instance", "an instance is terminated", take_instance, costs="terminates one ECS instance"),
)
# what a game day would do on a machine of its own, and why it doesn't here
NEVER = {
    "fill-disk": "a lab has no disk quota of its own, so it would fill the disk of everybody else",
    "restart-docker": "the Docker engine is this machine's, and other containers run on it",
}


def _machine(world: World) -> Machine:
    if world.machine is None:
        raise LabError("The fault can't be injected from here", why="it needs the machine on which the lab runs")
    return world.machine
