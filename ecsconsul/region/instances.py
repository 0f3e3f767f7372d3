"""Plays EC2: every instance that the stack creates gets a real Consul server or agent with an address of its own."""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

from ..consul.agent_config import (
    CA_FILE,
    SERVER_CERTIFICATE_FILE,
    SERVER_KEY_FILE,
    client_config,
    server_config,
)
from ..consul.lab_secrets import AGENT, MANAGEMENT, LabSecrets
from ..errors import LabError, Unreachable
from ..paths import write_private
from ..registrator.consul_client import ConsulClient, ConsulRefused
from .consul_acl import ConsulAcl
from .runtimes.interface import CannotRun, ConsulAgents, Ec2Instance, Role
from .runtimes.lab_dir import LabDir, remove

log = logging.getLogger(__name__)

# Docker's restart policy waits 100 ms, doubles that up to a minute, and starts over after 10 s of uptime.
FIRST_RESTART_DELAY, MAX_RESTART_DELAY, STABLE_AFTER = 0.1, 60.0, 10.0
LEAVE_TIMEOUT = 15.0
ACL_TIMEOUT = 60.0
LEADER_TIMEOUT = 10.0
RESTART_TIMEOUT = 30.0
# A server that restarts begins with its last snapshot, and answers lookups while it catches up: without one, DNS lists
# endpoints that have gone. https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/raft
SNAPSHOTS = {"raft_snapshot_threshold": 8, "raft_snapshot_interval": "5s"}
AGENT_SECONDS, AGENT_DELAY = 30.0, 0.05


class Ec2Instances:
    """The lab's running instances: boots them, restarts their Consul agents, and terminates them."""

    def __init__(
        self,
        lab_dir: LabDir,
        agents: ConsulAgents,
        consul_version: str,
        expect: int,
        lab_secrets: LabSecrets,
        acl: ConsulAcl,
    ) -> None:
        self._lab_dir = lab_dir
        self._agents = agents
        self._version = consul_version
        self._expect = expect
        self._secrets = lab_secrets
        self._acl = acl
        self._running: dict[str, Ec2Instance] = {}
        self._warm: list[Ec2Instance] = []
        self._claimed: set[str] = set()
        self._lock = threading.RLock()
        self._leaving = threading.Lock()

    def warm_up(self, ecs_instances: int = 0) -> None:
        """Boot the Consul servers and then `ecs_instances` instances ahead of the stack that will ask for them.

        A server needs about two seconds to elect itself, and the AWS API needs as long to load.
        """
        servers: list[Role] = ["consul-server"] * self._expect
        instances: list[Role] = ["ecs-instance"] * ecs_instances
        with self._lock:
            for role in (*servers, *instances):
                self._warm.append(self._create(new_instance_id(), role))
            for instance in self._warm:
                self._boot(instance)

    def next_instance_id(self) -> str:
        """The id for the next EC2 instance: that of a warm instance while one is unclaimed."""
        with self._lock:
            unclaimed = [one.instance_id for one in self._warm if one.instance_id not in self._claimed]
            chosen = unclaimed[0] if unclaimed else new_instance_id()
            self._claimed.add(chosen)
            return chosen

    def launch(self, instance_id: str, role: Role) -> Ec2Instance:
        """The instance with this id and role; booted now unless a warm one has them."""
        with self._lock:
            warm = next((one for one in self._warm if one.instance_id == instance_id), None)
            if warm:
                self._warm.remove(warm)
                if warm.role == role:
                    self._running[instance_id] = warm
                    return warm
                self._stop(warm)
            instance = self._create(instance_id, role)
            self._running[instance_id] = instance
            self._boot(instance)
            return instance

    def terminate(self, instance_id: str) -> Ec2Instance | None:
        """Terminate an instance. Its agent leaves the cluster in the background, which takes some seconds."""
        with self._lock:
            instance = self._running.pop(instance_id, None)
        if instance:
            instance.stopping.set()
            threading.Thread(target=self._leave, args=(instance,), daemon=True).start()
        return instance

    def all(self) -> list[Ec2Instance]:
        """Every launched instance, in launch order."""
        with self._lock:
            return list(self._running.values())

    def servers(self) -> list[Ec2Instance]:
        """The Consul servers, warm ones included."""
        with self._lock:
            return [one for one in (*self._running.values(), *self._warm) if one.role == "consul-server"]

    def use(self, lab_secrets: LabSecrets) -> None:
        """Give all agents these secrets, without a restart. Raises LabError if one does not take them."""
        with self._lock:
            self._secrets = lab_secrets
            instances = [*self._running.values(), *self._warm]
            for instance in instances:
                self._write_files(instance)
        for instance in instances:
            _give_token(instance, lab_secrets)

    def restart_servers(self) -> None:
        """Kill each server and wait until it's back, one after another, so that several keep their quorum.

        The new leader makes the management token of its configuration, and all agents compare their services with the
        servers' when they meet one again. Otherwise they do so about once a minute.
        """
        for server in self.servers():
            if server.agent:
                server.agent.kill_process()
                _await_restart(server)

    def close(self) -> None:
        """Kill all agents; none has to leave the cluster, since the whole lab stops."""
        with self._lock:
            instances = [*self._running.values(), *self._warm]
            self._running, self._warm = {}, []
            for instance in instances:
                instance.stopping.set()
        agents = [instance.agent for instance in instances if instance.agent]
        with ThreadPoolExecutor(len(agents) or 1) as pool:
            list(pool.map(lambda agent: agent.kill(), agents))

    def _create(self, instance_id: str, role: Role) -> Ec2Instance:
        lead = role == "consul-server" and not self.servers()
        return self._agents.create(instance_id, role, self._lab_dir.instances / instance_id, lead=lead)

    def _boot(self, instance: Ec2Instance) -> None:
        self._write_files(instance)
        if instance.role == "consul-server":
            instance.agent = self._agents.start(instance)
            threading.Thread(target=self._acl.create, args=(instance,), name="consul-acl", daemon=True).start()
        threading.Thread(target=self._supervise, args=(instance,), name=instance.instance_id, daemon=True).start()

    def _write_files(self, instance: Ec2Instance) -> None:
        """The agent's configuration and certificates, which hold secrets of the lab."""
        instance.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        files = {"consul.json": json.dumps(self._config(instance), indent=2), CA_FILE: self._secrets.ca_certificate}
        if instance.role == "consul-server":
            files[SERVER_CERTIFICATE_FILE] = self._secrets.server_certificate
            files[SERVER_KEY_FILE] = self._secrets.server_key
        for name, content in files.items():
            write_private(instance.folder / name, content.encode())

    def _config(self, instance: Ec2Instance) -> dict[str, Any]:
        agent, version = self._agents.spec(instance), self._version
        if instance.role != "consul-server":
            # An agent asks for its certificate at its own `server` port, before gossip tells it another one.
            server_port = next((one.consul.server for one in self.servers()), agent.ports.server)
            agent = replace(agent, ports=replace(agent.ports, server=server_port))
            found = client_config(agent, self._secrets, join=[one.serf for one in self.servers()], version=version)
            # one that starts during a rotation takes the key of its configuration, not the one that it had before
            return {**found, "disable_keyring_file": True}
        join = list(dict.fromkeys(one.serf for one in (*self.servers(), instance)))
        found = server_config(agent, self._secrets, join=join, expect=self._expect, version=version)
        return {**found, **SNAPSHOTS}

    def _supervise(self, instance: Ec2Instance) -> None:
        """Restart the instance's agent whenever it exits, with Docker's own delays."""
        if instance.agent is None:
            self._start_client(instance)
        delay = FIRST_RESTART_DELAY
        while instance.agent:
            started = time.monotonic()
            code = instance.agent.wait()
            if time.monotonic() - started > STABLE_AFTER:
                delay = FIRST_RESTART_DELAY
            if instance.stopping.wait(delay):
                return
            log.warning("Consul on %s exited with %s; restarting it", instance.instance_id, code)
            delay = min(delay * 2, MAX_RESTART_DELAY)
            self._restart(instance)

    def _start_client(self, instance: Ec2Instance) -> None:
        """Start an agent once the servers know its token: one that they refuse at first tries again much later."""
        if not self._acl.ready.wait(ACL_TIMEOUT):
            log.error("Consul's ACLs are not there yet; %s may join late", instance.instance_id)
        self._restart(instance)

    def _restart(self, instance: Ec2Instance) -> None:
        with self._lock:
            if instance.stopping.is_set():
                return
            try:
                # There may be other servers by now.
                self._write_files(instance)
                instance.agent = self._agents.start(instance)
            except (CannotRun, OSError) as error:
                log.error("Consul on %s cannot be restarted: %s", instance.instance_id, error)

    def _leave(self, instance: Ec2Instance) -> None:
        """Servers leave one by one, each while there is a leader: two at once would lose the quorum."""
        if instance.role != "consul-server":
            self._stop(instance)
            return
        with self._leaving:
            _await_leader(instance)
            self._stop(instance)

    def _stop(self, instance: Ec2Instance) -> None:
        with self._lock:
            instance.stopping.set()
        if instance.agent:
            instance.agent.stop(LEAVE_TIMEOUT)
        remove(instance.folder)
        self._agents.forget(instance)


def _await_leader(instance: Ec2Instance) -> None:
    """Wait briefly until the instance's agent knows a leader; there may be no server left to become one."""
    end = time.monotonic() + LEADER_TIMEOUT
    with closing(ConsulClient(instance.http)) as consul:
        while time.monotonic() < end:
            try:
                if consul.leader():
                    return
            except LabError as error:
                log.info("Consul on %s cannot name a leader: %s", instance.instance_id, error)
            # Consul has no event for an election.
            time.sleep(0.1)


def _await_restart(server: Ec2Instance) -> None:
    """Wait until a server that was killed answers again and knows a leader."""
    end = time.monotonic() + RESTART_TIMEOUT
    with closing(ConsulClient(server.http)) as consul:
        while time.monotonic() < end and not server.stopping.wait(0.05):
            try:
                if consul.leader():
                    return
            except LabError:
                # It isn't listening yet, which nothing tells.
                continue
    log.error("the Consul server %s isn't back after its restart", server.instance_id)


def new_instance_id() -> str:
    """An instance id in EC2's form."""
    return f"i-0{secrets.token_hex(8)}"


def _give_token(instance: Ec2Instance, lab_secrets: LabSecrets) -> None:
    """Give an agent its new token. One that was started just now may not answer, or deny all without a server."""
    end = time.monotonic() + AGENT_SECONDS
    with closing(ConsulClient(instance.http, lab_secrets.token(MANAGEMENT))) as consul:
        while True:
            try:
                consul.put("/v1/agent/token/agent", {"Token": lab_secrets.token(AGENT)})
                return
            except (Unreachable, ConsulRefused):
                if time.monotonic() > end or instance.stopping.wait(AGENT_DELAY):
                    raise
