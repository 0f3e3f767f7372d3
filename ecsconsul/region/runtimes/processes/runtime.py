"""What a region is built of where that depends on the runtime: the world of processes; containers/ has the other."""

from __future__ import annotations

from typing import Protocol

from ...instances import ConsulAgents
from ..addresses import Addresses
from ..lab_dir import LabDir
from .consul_agents import ConsulAgentProcesses
from .containers import ContainerRunner, ProcessContainers
from .images import ImageStore


class Runtime(Protocol):
    """How the Consul agents and the tasks of one region run."""

    @property
    def consuls(self) -> ConsulAgents: ...
    @property
    def runtime(self) -> ContainerRunner: ...

    def close(self) -> None:
        """Take away what is left, after all tasks and machines have ended."""


class ProcessRuntime:
    """Everything is a process of this user."""

    def __init__(self, home: LabDir, consul_binary: str, *, shared_address: bool) -> None:
        self.consuls = ConsulAgentProcesses(home, consul_binary, Addresses(home.lab, shared_address))
        self.runtime = ProcessContainers(home, ImageStore(home))

    def close(self) -> None:
        """Nothing: whatever still runs bears the lab's mark, and is ended by it."""
