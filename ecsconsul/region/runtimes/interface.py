"""What a runtime offers the region: Consul agents for its EC2 instances, and containers for its tasks."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from ...consul.agent_config import AgentSpec, ConsulPorts
from ...registrator.container_engine import Engine
from ...registrator.rules import Container
from ...registrator.settings import Server
from ..ecs.model import Binding, Task
from .addresses import Ports

Role = Literal["consul-server", "ecs-instance"]
ROLES: tuple[Role, ...] = get_args(Role)


class CannotRun(Exception):
    """A Consul agent cannot be started now."""


class CannotStart(Exception):
    """A container cannot be started; the text begins with ECS's error type, as a stop reason does."""


class AgentHandle(Protocol):
    """A running Consul agent."""

    def wait(self) -> int:
        """Block until it exits; its exit code."""

    def stop(self, timeout: float) -> None:
        """Let it leave the cluster; kill it after `timeout` seconds."""

    def kill(self) -> None:
        """Kill it; returns when it has exited."""

    def kill_process(self) -> None:
        """Kill its process and keep its data, so that it can be started again; returns when it has exited."""


@dataclass
class Ec2Instance:
    """An EC2 instance: its address, and the Consul agent on it.

    Its tasks' host ports belong to `host_address`, which instances may share. With `also_on_loopback` Consul answers
    at 127.0.0.1 as well, at `loopback_ports` where those differ from its own. An agent whose address is not this
    machine's listens for this user at `http_socket`.
    """

    instance_id: str
    role: Role
    address: str
    consul: ConsulPorts
    ports: Ports
    folder: Path
    own_address: bool = True
    also_on_loopback: bool = False
    loopback_ports: ConsulPorts | None = None
    http_socket: str = ""
    agent: AgentHandle | None = None
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def host_address(self) -> str:
        return self.ports.address

    @property
    def serf(self) -> str:
        return f"{self.address}:{self.consul.serf_lan}"

    @property
    def http(self) -> Server:
        """Where its agent's HTTP API listens for this user."""
        return Server(socket=self.http_socket) if self.http_socket else Server(self.address, self.consul.http)

    @property
    def http_url(self) -> str:
        """The URL of its agent's HTTP API, as its tasks reach it."""
        secure = self.consul.https > 0
        return f"https://{self.address}:{self.consul.https}" if secure else f"http://{self.address}:{self.consul.http}"

    @property
    def dns(self) -> str:
        return f"{self.address}:{self.consul.dns}"


class ConsulAgents(Protocol):
    """How and where the instances' Consul agents run."""

    def create(self, instance_id: str, role: Role, folder: Path, *, lead: bool) -> Ec2Instance:
        """An instance with an address of its own; with `lead` it may also answer at 127.0.0.1."""

    def spec(self, instance: Ec2Instance) -> AgentSpec:
        """Its agent, as the agent sees its own addresses and folders."""

    def start(self, instance: Ec2Instance) -> AgentHandle:
        """Start its agent, for the first time or again. Raises CannotRun."""

    def forget(self, instance: Ec2Instance) -> None:
        """Its agent is gone for good; its address may serve another instance."""


class RunningContainer(Protocol):
    """A container that was started; `snapshot` is what the Registrator's rules read."""

    @property
    def bindings(self) -> tuple[Binding, ...]: ...
    @property
    def snapshot(self) -> Container: ...
    @property
    def runtime_id(self) -> str: ...

    @property
    def settled(self) -> bool:
        """Whether it is known that its bindings lead to its program."""

    @property
    def note(self) -> str:
        """What its user should know of it: where it listens instead, or why it had to exit; "" if nothing."""

    def look(self, age: float) -> bool:
        """Look, `age` seconds after its start, where its program really listens; whether its bindings have changed.

        Raises CannotStart if it can't be reached there.
        """

    def wait(self) -> int:
        """Block until it exits; the exit code as Docker reports it (128 + signal)."""

    def probe(self, words: Sequence[str], timeout: float) -> str:
        """Run a program in it, for `timeout` seconds at most; "" if it exits with 0, else what it says."""

    def terminate(self) -> None:
        """Send its stop signal; fine when it has exited."""

    def kill(self) -> None:
        """Kill it and everything it started; fine when it has exited."""


class Containers(Protocol):
    """Starts the containers of tasks, and cleans up after them."""

    def start(
        self, task: Task, definition: dict[str, Any], instance: Ec2Instance, log: Path, overrides: dict[str, Any]
    ) -> RunningContainer:
        """Start one container definition of a task. Raises CannotStart."""

    def not_played(self, definition: dict[str, Any]) -> list[str]:
        """Settings of a container definition that have no effect in this runtime, one sentence each."""

    def clean_up(self, task_id: str, instance: Ec2Instance, containers: Sequence[RunningContainer]) -> None:
        """Remove what a stopped task leaves behind."""

    def engine(self, instance: Ec2Instance) -> Engine:
        """The container engine of an instance, for the instance's Registrator."""


class Runtime(Protocol):
    """How the Consul agents and the tasks of one region run."""

    @property
    def consul_agents(self) -> ConsulAgents: ...
    @property
    def containers(self) -> Containers: ...

    def close(self) -> None:
        """Remove what is left after all tasks and instances have ended."""
