"""What a region is built of where that depends on the runtime: the world of processes; containers/ has the other."""

from __future__ import annotations

from typing import Protocol

from ...instances import ConsulRunner
from ..addresses import Addresses
from ..lab_dir import LabHome
from .consul_agents import ConsulProcesses
from .containers import ProcessRuntime, Runtime
from .images import ImageStore


class World(Protocol):
    """How the Consul agents and the tasks of one region run."""

    @property
    def consuls(self) -> ConsulRunner: ...
    @property
    def runtime(self) -> Runtime: ...

    def close(self) -> None:
        """Take away what is left, after all tasks and machines have ended."""


class ProcessWorld:
    """Everything is a process of this user."""

    def __init__(self, home: LabHome, consul_binary: str, *, shared_address: bool) -> None:
        self.consuls = ConsulProcesses(home, consul_binary, Addresses(home.lab, shared_address))
        self.runtime = ProcessRuntime(home, ImageStore(home))

    def close(self) -> None:
        """Nothing: whatever still runs bears the lab's mark, and is ended by it."""
