"""Records what happens in the lab, all the time: the region observes itself, and its logs hold the journal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from ..consul.catalog import Consul
from ..errors import TargetAbsent
from ..observe.journal import Journal
from ..observe.observation import Observation
from ..observe.states import EcsState
from .ecs_changes import EcsChanges
from .runtimes.lab_dir import LabDir


class Recorder:
    """An observation of the region by itself."""

    def __init__(self, lab_dir: LabDir, changes: EcsChanges, consul_address: Callable[[], str]) -> None:
        """`consul_address` is the host:port of Consul's HTTP API, "" while it can't be asked."""
        self._changes = changes
        self._consul_address = consul_address
        self._journal = Journal(lab_dir.journal)
        self._observation = Observation(self, journal=self._journal)

    def start(self) -> None:
        """Begin to observe."""
        self._journal.open()
        self._observation.__enter__()

    def close(self) -> None:
        """End the record."""
        self._observation.close()

    def ecs_state(self, since: int, wait: float) -> tuple[EcsState, float]:
        """The region's own ECS."""
        return self._changes.state(since, wait)

    @contextlib.contextmanager
    def consul(self) -> Iterator[ConsulOnLoopback]:
        """The way to Consul that the region's clients use. Raises TargetAbsent."""
        address = self._consul_address()
        if not address:
            raise TargetAbsent("The lab has no Consul yet")
        yield ConsulOnLoopback(address)


class ConsulOnLoopback:
    """Consul's HTTP API at host:port."""

    def __init__(self, address: str) -> None:
        self._host, _, self._port = address.rpartition(":")

    def client(self) -> Consul:
        """A client that reads what everybody may read."""
        return Consul(self._host, int(self._port))
