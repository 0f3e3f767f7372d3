"""Plays EC2: each instance that the stack made gets a real Consul server or agent with an address of its own.

What the boot scripts do in AWS (an agent as a container that Docker restarts) is done here by a `ConsulAgents`, with
processes or with containers.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from ..consul.catalog import Consul, Refused
from ..errors import Unreachable
from .runtimes.addresses import CONSUL_DNS_PORT, CONSUL_HTTP_PORT, HOME, Ports
from .runtimes.lab_dir import LabDir, remove

log = logging.getLogger(__name__)

Role = Literal["consul-server", "ecs-instance"]
ROLES: tuple[Role, ...] = get_args(Role)
# Docker's restart policy waits 100 ms, doubles up to a minute, and starts over after 10 s of good life.
FIRST_RESTART_PAUSE, LONGEST_RESTART_PAUSE, GOOD_LIFE = 0.1, 60.0, 10.0
LEAVE_TIMEOUT = 15.0
LEADER_PATIENCE = 10.0
# from here on every server opens one more port, unless told not to; before, the key is unknown
GRPC_TLS_SINCE = (1, 14)


@dataclass(frozen=True)
class ConsulPorts:
    """Where one Consul agent listens. https://developer.hashicorp.com/consul/docs/reference/architecture/ports"""

    http: int = CONSUL_HTTP_PORT
    dns: int = CONSUL_DNS_PORT
    server: int = 8300
    serf_lan: int = 8301


class AgentHandle(Protocol):
    """A Consul agent that was started."""

    def wait(self) -> int:
        """Block until it ends; its exit code."""

    def stop(self, timeout: float) -> None:
        """Let it leave; end it after `timeout` seconds."""

    def kill(self) -> None:
        """End it at once; returns when it has ended."""


class CannotRun(Exception):
    """A Consul agent that cannot be started now."""


class ConsulAgents(Protocol):
    """How and where the machines' Consul agents run."""

    def make(self, instance_id: str, role: Role, folder: Path, *, lead: bool) -> Ec2Instance:
        """A machine with an address of its own; `lead`: it may be the one that also answers at 127.0.0.1."""

    def settings(self, machine: Ec2Instance) -> dict[str, Any]:
        """What must stand otherwise in its configuration."""

    def start(self, machine: Ec2Instance) -> AgentHandle:
        """Start its agent, for the first time or again. Raises CannotRun."""

    def forget(self, machine: Ec2Instance) -> None:
        """Its agent has ended for good; its address may serve another."""


@dataclass
class Ec2Instance:
    """One instance: its address and the Consul agent on it.

    Its tasks' host ports are those of `host_address`, which others may share. With `also_on_home` Consul answers at
    127.0.0.1 as well, at `home_ports` where those are not its own.
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
    agent: AgentHandle | None = None
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def host_address(self) -> str:
        return self.ports.address

    @property
    def serf(self) -> str:
        return f"{self.address}:{self.consul.serf_lan}"

    @property
    def dns(self) -> str:
        return f"{self.address}:{self.consul.dns}"


def consul_config(machine: Ec2Instance, *, join: list[str], expect: int, version: str) -> dict[str, Any]:
    """The configuration of the machine's Consul agent.

    `join` are the serf addresses of all servers, `expect` is how many of them make the first quorum.
    https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file
    """
    listen = f"{machine.address} {HOME}" if machine.also_on_loopback else machine.address
    config: dict[str, Any] = {
        "node_name": machine.instance_id,
        "data_dir": str(machine.folder / "data"),
        "bind_addr": machine.address,
        "client_addr": listen,
        "ports": {
            "http": machine.consul.http,
            "dns": machine.consul.dns,
            "server": machine.consul.server,
            "serf_lan": machine.consul.serf_lan,
            "serf_wan": -1,
            "grpc": -1,
        },
        "retry_join": [address for address in join if address != machine.serf],
        "retry_interval": "200ms",
        # the quickest election that Consul allows: the machines are all this one
        "performance": {"raft_multiplier": 1, "leave_drain_time": "0s"},
        # a UDP answer that was cut must say so, or a client takes it for the whole
        "dns_config": {"enable_truncate": True},
        # what a check says is told at once, and not after five minutes where its state stays the same
        "check_update_interval": "0s",
        "disable_update_check": True,
        # a server that goes must leave the quorum too, or those that stay lose it
        "leave_on_terminate": True,
        "log_level": "info",
    }
    if machine.role == "consul-server":
        config["server"] = True
        # one that comes later joins the quorum that is there, and must not begin one of its own
        if len(join) <= expect:
            config["bootstrap_expect"] = expect
    if _numbers(version) >= GRPC_TLS_SINCE:
        config["ports"]["grpc_tls"] = -1
    return config


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


class Ec2Instances:
    """All instances of the lab that run; boots them, keeps their Consul up, and takes them away."""

    def __init__(self, home: LabDir, runner: ConsulAgents, consul_version: str, expect: int) -> None:
        self._home = home
        self._runner = runner
        self._version = consul_version
        self._expect = expect
        self._machines: dict[str, Ec2Instance] = {}
        self._warm: list[Ec2Instance] = []
        self._claimed: set[str] = set()
        self._lock = threading.RLock()
        self._leaving = threading.Lock()
        self.on_restart: Callable[[Ec2Instance], None] = lambda machine: None

    def warm_up(self, ecs_instances: int = 0) -> None:
        """Boot the Consul servers, and then so many ECS instances, ahead of the stack that will ask for them in turn.

        As a warm pool does: a server needs about two seconds to elect itself; the AWS API needs as long to load.
        """
        servers: list[Role] = ["consul-server"] * self._expect
        instances: list[Role] = ["ecs-instance"] * ecs_instances
        with self._lock:
            for role in (*servers, *instances):
                self._warm.append(self._make(new_instance_id(), role))
            for machine in self._warm:
                self._boot(machine)

    def next_instance_id(self) -> str:
        """The id for the next EC2 instance: that of a warm machine while there is one to be claimed."""
        with self._lock:
            unclaimed = [m.instance_id for m in self._warm if m.instance_id not in self._claimed]
            chosen = unclaimed[0] if unclaimed else new_instance_id()
            self._claimed.add(chosen)
            return chosen

    def launch(self, instance_id: str, role: Role) -> Ec2Instance:
        """The machine of an instance; booted now unless a warm one waits under this id in this role."""
        with self._lock:
            warm = next((m for m in self._warm if m.instance_id == instance_id), None)
            if warm:
                self._warm.remove(warm)
                if warm.role == role:
                    self._machines[instance_id] = warm
                    return warm
                self._end(warm)
            machine = self._make(instance_id, role)
            self._machines[instance_id] = machine
            self._boot(machine)
            return machine

    def terminate(self, instance_id: str) -> Ec2Instance | None:
        """Take the machine away. Its agent says farewell to the other ones for some seconds, which nobody waits for."""
        with self._lock:
            machine = self._machines.pop(instance_id, None)
        if machine:
            machine.stopping.set()
            threading.Thread(target=self._leave, args=(machine,), daemon=True).start()
        return machine

    def all(self) -> list[Ec2Instance]:
        """Every machine that an instance stands for, in the order in which they came."""
        with self._lock:
            return list(self._machines.values())

    def servers(self) -> list[Ec2Instance]:
        """The Consul servers, the warm ones that wait to be claimed included."""
        with self._lock:
            return [m for m in (*self._machines.values(), *self._warm) if m.role == "consul-server"]

    def close(self) -> None:
        """End all machines at once, without leaving: the whole lab goes."""
        with self._lock:
            machines = [*self._machines.values(), *self._warm]
            self._machines, self._warm = {}, []
            for machine in machines:
                machine.stopping.set()
        agents = [machine.agent for machine in machines if machine.agent]
        with ThreadPoolExecutor(len(agents) or 1) as pool:
            list(pool.map(lambda agent: agent.kill(), agents))

    def _make(self, instance_id: str, role: Role) -> Ec2Instance:
        lead = role == "consul-server" and not self.servers()
        return self._runner.make(instance_id, role, self._home.machines / instance_id, lead=lead)

    def _boot(self, machine: Ec2Instance) -> None:
        machine.folder.mkdir(parents=True, exist_ok=True)
        known = {m.instance_id: m.serf for m in (*self.servers(), machine) if m.role == "consul-server"}
        config = consul_config(machine, join=list(known.values()), expect=self._expect, version=self._version)
        config |= self._runner.settings(machine)
        (machine.folder / "consul.json").write_text(json.dumps(config, indent=2))
        machine.agent = self._runner.start(machine)
        threading.Thread(target=self._keep_up, args=(machine,), name=machine.instance_id, daemon=True).start()

    def _keep_up(self, machine: Ec2Instance) -> None:
        """Start the machine's Consul again whenever it ends, with Docker's own pauses."""
        pause = FIRST_RESTART_PAUSE
        while True:
            assert machine.agent
            born = time.monotonic()
            code = machine.agent.wait()
            if time.monotonic() - born > GOOD_LIFE:
                pause = FIRST_RESTART_PAUSE
            if machine.stopping.wait(pause):
                return
            log.warning("Consul on %s ended with %s; starting it again", machine.instance_id, code)
            pause = min(pause * 2, LONGEST_RESTART_PAUSE)
            if self._restart(machine):
                # who is told waits for Consul to answer; one that ends again meanwhile must not wait for that
                threading.Thread(target=self.on_restart, args=(machine,), daemon=True).start()

    def _restart(self, machine: Ec2Instance) -> bool:
        with self._lock:
            if machine.stopping.is_set():
                return False
            try:
                machine.agent = self._runner.start(machine)
            except CannotRun as error:
                log.error("Consul on %s cannot be started again: %s", machine.instance_id, error)
                return False
        return True

    def _leave(self, machine: Ec2Instance) -> None:
        """Servers leave one by one, each while there is a leader to let it go: two at once would end the quorum."""
        if machine.role != "consul-server":
            self._end(machine)
            return
        with self._leaving:
            _await_leader(machine)
            self._end(machine)

    def _end(self, machine: Ec2Instance) -> None:
        with self._lock:
            machine.stopping.set()
        if machine.agent:
            machine.agent.stop(LEAVE_TIMEOUT)
        remove(machine.folder)
        self._runner.forget(machine)


def _await_leader(machine: Ec2Instance) -> None:
    """Wait until the machine's Consul knows a leader; not for long, since there may be nobody left to be one."""
    consul = Consul(machine.address, machine.consul.http)
    end = time.monotonic() + LEADER_PATIENCE
    while time.monotonic() < end:
        try:
            if consul.leader():
                return
        except (Unreachable, Refused):
            log.info("Consul on %s cannot say who leads", machine.instance_id)
        # nothing tells of an election; ask again soon
        time.sleep(0.1)


def new_instance_id() -> str:
    """An id of EC2's form."""
    return f"i-0{secrets.token_hex(8)}"
