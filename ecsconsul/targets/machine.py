"""The machine on which a lab runs, as far as it is this one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol


class Machine(Protocol):
    """The machine on which the lab runs: what a fault may do to its tasks and agents. All raise LabError."""

    def kill_task(self, runtime_id: str) -> None:
        """SIGKILL a container."""

    def freeze_task(self, runtime_id: str) -> Callable[[], None]:
        """Stop a container's processes where they stand; returns what lets them go on."""

    def agents(self) -> Mapping[str, str]:
        """What tells the running Consul agent of each node from its successor, by node."""

    def kill_agent(self, node: str) -> None:
        """SIGKILL a node's Consul agent."""

    def freeze_agent(self, node: str) -> Callable[[], None]:
        """Cut a node's Consul agent off: it neither sends nor answers; returns what lets it go on."""
