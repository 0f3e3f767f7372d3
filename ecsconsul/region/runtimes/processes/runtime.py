"""The runtime in which everything is a process of this user."""

from __future__ import annotations

from ..addresses import Addresses
from ..lab_dir import LabDir
from .consul_agents import ConsulAgentProcesses
from .containers import ProcessContainers
from .images import ImageStore


class ProcessRuntime:
    """Runs Consul agents and tasks as processes."""

    def __init__(self, lab_dir: LabDir, consul_binary: str, *, shared_address: bool) -> None:
        self.consul_agents = ConsulAgentProcesses(lab_dir, consul_binary, Addresses(lab_dir.lab, shared_address))
        self.containers = ProcessContainers(lab_dir, ImageStore(lab_dir))

    def close(self) -> None:
        """Nothing to do: whatever still runs carries the lab's ownership variable, and is killed by it."""
