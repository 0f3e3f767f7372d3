"""Runs the instances' Consul agents as processes, each on a loopback address of its own unless they must share one."""

from __future__ import annotations

import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ....consul.agent_config import AgentSpec, ConsulPorts
from .. import lab_processes
from ..addresses import LOOPBACK, Addresses, claim_consul_ports
from ..interface import CannotRun, Ec2Instance, Role
from ..lab_dir import LabDir

KILL_TIMEOUT = 5.0


@dataclass(frozen=True)
class AgentProcess:
    """A Consul agent that is a process."""

    process: subprocess.Popen[bytes]

    def wait(self) -> int:
        return self.process.wait()

    def stop(self, timeout: float) -> None:
        lab_processes.stop(self.process, timeout)

    def kill(self) -> None:
        lab_processes.signal_group(self.process.pid, signal.SIGKILL)
        self.process.wait(KILL_TIMEOUT)

    def kill_process(self) -> None:
        self.kill()


class ConsulAgentProcesses:
    """The Consul agents of one lab, as processes."""

    def __init__(self, lab_dir: LabDir, binary: str, addresses: Addresses) -> None:
        self._lab_dir = lab_dir
        self._binary = binary
        self._addresses = addresses

    def create(self, instance_id: str, role: Role, folder: Path, *, lead: bool) -> Ec2Instance:
        address = self._addresses.take()
        ports = self._addresses.ports(address)
        lead = lead and claim_consul_ports(self)
        if not self._addresses.shared:
            return Ec2Instance(instance_id, role, address, ConsulPorts(), ports, folder, also_on_loopback=lead)
        if lead:
            own = ConsulPorts(server=ports.take(), serf_lan=ports.take())
        else:
            own = ConsulPorts(ports.take(), ports.take(), ports.take(), ports.take())
        return Ec2Instance(instance_id, role, address, own, ports, folder, own_address=False)

    def spec(self, instance: Ec2Instance) -> AgentSpec:
        addresses = (instance.address, LOOPBACK) if instance.also_on_loopback else (instance.address,)
        return AgentSpec(
            instance.instance_id,
            instance.address,
            dns_addresses=addresses,
            http_addresses=addresses,
            ports=instance.consul,
            data_dir=str(instance.folder / "data"),
            files=str(instance.folder),
        )

    def start(self, instance: Ec2Instance) -> AgentProcess:
        try:
            process = lab_processes.start(
                [self._binary, "agent", "-config-file", str(instance.folder / "consul.json")],
                root=self._lab_dir.root,
                log=self._lab_dir.logs / f"consul-{instance.instance_id}.log",
                env={},
            )
        except OSError as error:
            raise CannotRun(str(error)) from error
        return AgentProcess(process)

    def forget(self, instance: Ec2Instance) -> None:
        self._addresses.give_back(instance.address)
