"""Joins a snapshot's tasks with their instances in Consul, service by service, for what is drawn of a lab. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from ..consul.catalog import Member
from .states import RUNNING, STOPPED, Endpoint, Service, Snapshot, Task, tasks_by_port

# of a row: Consul's own words, and what can be said of a task that it doesn't list, or an instance without a task
PASSING, WARNING, CRITICAL = "passing", "warning", "critical"
STARTING, STOPPING, ABSENT, GHOST, RUNS = "starting", "stopping", "not in Consul", "ghost", "running"


class Row(msgspec.Struct, frozen=True):
    """A task with one of its instances in Consul. One of both may be None: not registered, or no task is known.

    `health` is Consul's, or why there is none.
    """

    health: str
    task: Task | None = None
    endpoint: Endpoint | None = None

    @property
    def node(self) -> str:
        return self.task.node if self.task else self.endpoint.node if self.endpoint else ""

    @property
    def at(self) -> str:
        """Its address and port in Consul; "" if it isn't there."""
        return self.endpoint.at if self.endpoint else ""

    @property
    def revision(self) -> str:
        return self.task.revision if self.task else ""

    @property
    def since(self) -> float | None:
        """When its task started, or was created if it hasn't; None if no task is known."""
        return (self.task.started or self.task.created) if self.task else None

    @property
    def key(self) -> str:
        """What a row keeps from one snapshot to the next."""
        return f"{self.task.id if self.task else ''}/{self.endpoint.id if self.endpoint else ''}"


class ServiceRows(msgspec.Struct, frozen=True):
    """A service with its rows; `service` is None for one that only Consul knows, and for standalone tasks ("")."""

    name: str
    service: Service | None
    rows: tuple[Row, ...]

    @property
    def desired(self) -> int:
        return self.service.desired if self.service else 0

    @property
    def running(self) -> int:
        """Its running tasks."""
        return len({one.task.id for one in self.rows if one.task and is_running(one.task)})

    @property
    def passing(self) -> int:
        """Its tasks of which everything registered passes."""
        worst: dict[str, bool] = {}
        for one in self.rows:
            if one.task and one.endpoint:
                worst[one.task.id] = worst.get(one.task.id, True) and one.health == PASSING
        return sum(worst.values())

    @property
    def revision(self) -> str:
        return self.service.revision if self.service else ""

    @property
    def rolling(self) -> tuple[int, int] | None:
        """While a deployment rolls: how many of its tasks pass, and how many are to. None when none does."""
        if self.service is None or self.desired == 0:
            return None
        older = any(one.task and one.revision != self.revision for one in self.rows)
        new = {one.task.id for one in self.rows if one.task and one.revision == self.revision and one.health == PASSING}
        if not older and self.service.rollout != "IN_PROGRESS":
            return None
        return min(len(new), self.desired), self.desired

    @property
    def is_well(self) -> bool:
        """Whether what should run is running, and all of it passes."""
        return self.service is None or (self.desired == self.running and not any(map(is_bad, self.rows)))


class Node(msgspec.Struct, frozen=True):
    """An instance: its name, what Consul says of it ("" if it is no member), and the rows of its tasks."""

    name: str
    member: Member | None
    rows: tuple[tuple[str, Row], ...]


class Overview(msgspec.Struct, frozen=True):
    """What a snapshot shows. `nodes` are those that run tasks, or could: Consul's servers are in `servers`."""

    time: float
    services: tuple[ServiceRows, ...]
    nodes: tuple[Node, ...]
    servers: tuple[Member, ...]
    leader: str
    lost: tuple[tuple[str, str], ...] = ()

    @property
    def leading(self) -> str:
        """The leader's name as far as only one server has its address, its address otherwise; "" without a leader."""
        address = self.leader.rpartition(":")[0]
        names = [one.name for one in self.servers if one.address == address]
        return names[0] if len(names) == 1 else self.leader


def is_running(task: Task) -> bool:
    """Whether a task runs and isn't about to stop."""
    return task.status == RUNNING and task.desired != STOPPED


def is_bad(row: Row) -> bool:
    """Whether somebody should look at a row."""
    return row.health in (WARNING, CRITICAL, ABSENT, GHOST)


def overview(snapshot: Snapshot, order: Sequence[str] = (), registers: Iterable[str] | None = None) -> Overview:
    """Join a snapshot. `order` are the services that come first; the others follow by name.

    `registers` are the services whose tasks belong in Consul, None for all.
    """
    expected = None if registers is None else frozenset(registers)
    rows = _rows(snapshot, expected)
    services = {one.name: one for one in snapshot.services}
    listed = [name for name in order if name in services or name in rows]
    names = dict.fromkeys([*listed, *sorted(services), *sorted(name for name in rows if name), *sorted(rows)])
    found = tuple(ServiceRows(name, services.get(name), tuple(rows.get(name, ()))) for name in names)
    members = snapshot.members.members if snapshot.members else ()
    servers = tuple(one for one in members if one.role == "server")
    leader = snapshot.members.leader if snapshot.members else ""
    lost = tuple(sorted(snapshot.lost.items()))
    return Overview(snapshot.time, found, _nodes(found, members), servers, leader, lost)


def _rows(snapshot: Snapshot, expected: frozenset[str] | None) -> dict[str, list[Row]]:
    """The rows by service: a row for each instance in Consul, and one for each task without any."""
    live = [task for task in snapshot.tasks if task.status != STOPPED]
    by_port = tasks_by_port(live)
    rows: dict[str, list[Row]] = {}
    registered = set()
    for one in snapshot.endpoints:
        task = by_port.get((one.node, one.port))
        if task:
            registered.add(task.id)
            stopping = task.desired == STOPPED or task.stopping is not None
            rows.setdefault(task.service, []).append(Row(STOPPING if stopping else one.status, task, one))
        else:
            # without ECS's answer nobody knows whether it has a task
            rows.setdefault(one.service, []).append(Row(GHOST if snapshot.ecs else one.status, None, one))
    for task in live:
        if task.id not in registered:
            is_expected = bool(task.service) and (expected is None or task.service in expected)
            known = is_expected and snapshot.consul is not None and "Consul" not in snapshot.lost
            rows.setdefault(task.service, []).append(Row(_unregistered(task, known), task))
    for found in rows.values():
        found.sort(key=lambda row: (row.since or 0.0, row.node, row.at))
    return rows


def _unregistered(task: Task, is_expected: bool) -> str:
    if task.desired == STOPPED or task.stopping is not None:
        return STOPPING
    if task.status != RUNNING:
        return STARTING
    return ABSENT if is_expected else RUNS


def _nodes(services: Iterable[ServiceRows], members: Sequence[Member]) -> tuple[Node, ...]:
    clients = {one.name: one for one in members if one.role != "server"}
    rows: dict[str, list[tuple[str, Row]]] = {name: [] for name in sorted(clients)}
    for service in services:
        for row in service.rows:
            rows.setdefault(row.node, []).append((service.name, row))
    known = {one.name: one for one in members}
    return tuple(Node(name, known.get(name), tuple(found)) for name, found in rows.items())
