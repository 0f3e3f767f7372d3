"""What is seen of a lab at one moment, and the events that lead from one moment to the next. Pure.

`diff` compares two snapshots. ECS's own times are kept where it tells them; Consul tells none, so its events have the
time at which they were seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, TypeVar

import msgspec

from ..consul.catalog import SEVERITY, Instance, Member

Kind = Literal[
    "task-created",
    "task-running",
    "task-stopping",
    "task-stopped",
    "container-started",
    "container-stopped",
    "service-created",
    "service-deleted",
    "service-scaled",
    "service-deployed",
    "service-event",
    "instance-entered",
    "instance-left",
    "instance-changed",
    "member-joined",
    "member-left",
    "member-changed",
    "leader-changed",
    "source-lost",
    "source-back",
]
Source = Literal["ECS", "Consul"]
RUNNING, STOPPED = "RUNNING", "STOPPED"
SHORT_ID = 8
# of a check's output, in an event
OUTPUT_LENGTH = 160


class Endpoint(msgspec.Struct, frozen=True, gc=False):
    """One instance of a service in Consul's catalog. `status` is passing, warning or critical; `output` says why."""

    service: str
    id: str
    node: str
    address: str
    port: int
    status: str
    tags: tuple[str, ...] = ()
    output: str = ""

    @property
    def at(self) -> str:
        """Its address and port."""
        return f"{self.address}:{self.port}"


class Container(msgspec.Struct, frozen=True, gc=False):
    """One container of a task. `ports` are its ports on the instance; limits are 0 if there are none.

    `cpu` is in CPU units, 1,024 for each vCPU, and `memory` in MiB.
    """

    name: str
    status: str
    ports: tuple[int, ...] = ()
    exit_code: int | None = None
    reason: str = ""
    runtime_id: str = ""
    cpu: int = 0
    memory: int = 0


class Task(msgspec.Struct, frozen=True):
    """One ECS task; `service` is "" for a standalone one, `node` its EC2 instance. Times are seconds since the epoch.

    The states are ECS's:
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
    """

    id: str
    service: str
    node: str
    status: str
    desired: str
    revision: str = ""
    containers: tuple[Container, ...] = ()
    created: float = 0.0
    started: float | None = None
    stopping: float | None = None
    stopped: float | None = None
    stop_code: str = ""
    reason: str = ""

    @property
    def short(self) -> str:
        """The first digits of its ID."""
        return self.id[:SHORT_ID]

    @property
    def ports(self) -> frozenset[int]:
        """The ports of all its containers on the instance."""
        return frozenset(port for container in self.containers for port in container.ports)

    @property
    def exit_codes(self) -> str:
        """The exit codes of its containers in a few words; "" if no container has exited."""
        ended = [one for one in self.containers if one.exit_code is not None]
        if len(self.containers) == 1:
            return "".join(f"exit code {one.exit_code}" for one in ended)
        return ", ".join(f"{one.name}: exit code {one.exit_code}" for one in ended)


class ServiceEvent(msgspec.Struct, frozen=True, gc=False):
    """What ECS says about a service."""

    id: str
    time: float
    text: str


class Service(msgspec.Struct, frozen=True):
    """One ECS service; `revision` is its task definition as family:revision, `rollout` ECS's rollout state.

    Its events are the newest first.
    """

    name: str
    desired: int
    running: int
    pending: int = 0
    revision: str = ""
    rollout: str = ""
    events: tuple[ServiceEvent, ...] = ()


class EcsState(msgspec.Struct, frozen=True):
    """The tasks and services of a lab at one moment.

    `version` is handed back to wait for the next state. `own_clock`: ECS's times are by this machine's clock.
    """

    version: int
    tasks: tuple[Task, ...] = ()
    services: tuple[Service, ...] = ()
    own_clock: bool = False


class ConsulState(msgspec.Struct, frozen=True):
    """Consul's catalog at one moment, without the service `consul` itself."""

    endpoints: tuple[Endpoint, ...] = ()


class Members(msgspec.Struct, frozen=True):
    """The members of Consul's datacenter as one agent sees them, and the leader's address, "" without one."""

    members: tuple[Member, ...] = ()
    leader: str = ""


class Snapshot(msgspec.Struct, frozen=True):
    """All that is seen of a lab; None for what has not been seen yet. `time` is in seconds since the epoch.

    `lost` says of each source that doesn't answer why; what it told last is still there.
    """

    time: float
    ecs: EcsState | None = None
    consul: ConsulState | None = None
    members: Members | None = None
    lost: Mapping[str, str] = {}

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return self.consul.endpoints if self.consul else ()

    @property
    def tasks(self) -> tuple[Task, ...]:
        return self.ecs.tasks if self.ecs else ()

    @property
    def services(self) -> tuple[Service, ...]:
        return self.ecs.services if self.ecs else ()

    @property
    def is_complete(self) -> bool:
        """Whether each source has either answered or is known not to."""
        return (self.ecs is not None or "ECS" in self.lost) and (
            (self.consul is not None and self.members is not None) or "Consul" in self.lost
        )

    def task_of(self, endpoint: Endpoint) -> Task | None:
        """The task behind an endpoint: the one with this port on this node; of several, the newest."""
        return tasks_by_port(self.tasks).get((endpoint.node, endpoint.port))

    def endpoints_of(self, service: str) -> list[Endpoint]:
        """The endpoints of a service, by address and port."""
        return sorted(
            (one for one in self.endpoints if one.service == service), key=lambda one: (one.address, one.port)
        )


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One change. `time` is in seconds since the epoch, `task` a task's whole ID, `instance` a service ID in Consul.

    An event about an instance has its `endpoint`, as it is now or was last.
    """

    time: float
    kind: Kind
    text: str
    service: str = ""
    task: str = ""
    instance: str = ""
    node: str = ""
    endpoint: Endpoint | None = None


T = TypeVar("T")
K = TypeVar("K")


def diff(before: Snapshot, after: Snapshot) -> list[Event]:
    """The events between two snapshots, in the order in which they happened as far as that is known.

    What is seen for the first time is no event: nobody knows when it came.
    """
    found: list[Event] = []
    if before.ecs and after.ecs and before.ecs is not after.ecs:
        found += _services(before.ecs, after.ecs, after.time)
        found += _tasks(before.ecs, after.ecs, after.time)
    if before.consul and after.consul and before.consul is not after.consul:
        found += _endpoints(before, after)
    if before.members and after.members and before.members is not after.members:
        found += _members(before.members, after.members, after.time)
    found += _sources(before.lost, after.lost, after.time)
    # the sort is stable: what has one time stays as it is above
    return sorted(found, key=lambda event: event.time)


def endpoints_in(catalog: Mapping[str, Sequence[Instance]]) -> tuple[Endpoint, ...]:
    """The endpoints of a catalog, without the servers of Consul itself."""
    return tuple(
        Endpoint(name, one.id, one.node, one.address, one.port, one.status, one.tags, output_of(one))
        for name in catalog
        if name != "consul"
        for one in catalog[name]
    )


def output_of(instance: Instance) -> str:
    """What the worst check of an instance says; "" if all pass."""
    failing = [check for check in instance.checks if check.status != "passing"]
    worst = max(failing, key=lambda check: SEVERITY.index(check.status), default=None)
    if worst is None:
        return ""
    return " ".join(f"{worst.name}: {worst.output}".split())[:OUTPUT_LENGTH]


def tasks_by_port(tasks: Iterable[Task]) -> dict[tuple[str, int], Task]:
    """Each node's host ports with the task that has them; a port that was used twice belongs to the newer task."""
    ordered = sorted(tasks, key=lambda task: (task.status != STOPPED, task.created))
    return {(task.node, port): task for task in ordered for port in task.ports}


# ECS


def _tasks(before: EcsState, after: EcsState, now: float) -> Iterator[Event]:
    known = {task.id: task for task in before.tasks}
    for task in after.tasks:
        old = known.get(task.id)
        if old != task:
            yield from _task(old, task, now)


def _task(old: Task | None, new: Task, now: float) -> Iterator[Event]:
    def event(kind: Kind, time: float | None, text: str) -> Event:
        return Event(time or now, kind, f"{_name(new)} {text}", new.service, new.id, node=new.node)

    if old is None:
        yield event("task-created", new.created, f"is to start on {new.node or 'an instance'}")
    yield from _containers(old, new, now)
    if new.started and not (old and old.started):
        yield event("task-running", new.started, f"is running {new.revision}".rstrip())
    if new.stopping and not (old and old.stopping):
        yield event("task-stopping", new.stopping, f"is stopping: {new.reason or 'no reason given'}")
    if new.status == STOPPED and not (old and old.status == STOPPED):
        codes = f" ({new.exit_codes})" if new.exit_codes else ""
        yield event("task-stopped", new.stopped, f"has stopped{codes}: {new.reason or 'no reason given'}")


def _containers(old: Task | None, new: Task, now: float) -> Iterator[Event]:
    known = {one.name: one for one in old.containers} if old else {}
    for one in new.containers:
        before = known.get(one.name)
        was = before.status if before else ""
        name = f"{_name(new)}: container {one.name}"
        if one.status == RUNNING and was != RUNNING:
            ports = f", port {', '.join(map(str, one.ports))}" if one.ports else ""
            # ECS's time is that of the task, which runs once all its containers do
            yield Event(new.started or now, "container-started", f"{name} has started{ports}", new.service, new.id)
        # a container that never ran has no exit code
        if one.exit_code is not None and (before is None or before.exit_code is None):
            reason = f": {one.reason}" if one.reason else ""
            text = f"{name} has exited with code {one.exit_code}{reason}"
            yield Event(min(new.stopped or now, now), "container-stopped", text, new.service, new.id)


def _services(before: EcsState, after: EcsState, now: float) -> Iterator[Event]:
    known, left = {one.name: one for one in before.services}, {one.name for one in after.services}
    for name in known.keys() - left:
        yield Event(now, "service-deleted", f"{name} is no service any more", name)
    for new in after.services:
        old = known.get(new.name)
        if old is None:
            text = f"{new.name} is a service now, with {new.revision} and a desired count of {new.desired}"
            yield Event(now, "service-created", text, new.name)
        elif old != new:
            yield from _service(old, new, now)
        seen = {one.id for one in old.events} if old else set()
        for one in reversed(new.events):
            if one.id not in seen:
                yield Event(one.time, "service-event", one.text, new.name)


def _service(old: Service, new: Service, now: float) -> Iterator[Event]:
    if old.desired != new.desired:
        text = f"{new.name} is scaled from {old.desired} to {new.desired}"
        yield Event(now, "service-scaled", text, new.name)
    if old.revision != new.revision:
        text = f"{new.name} is deployed: {new.revision} instead of {old.revision}"
        yield Event(now, "service-deployed", text, new.name)


def _name(task: Task) -> str:
    return f"{task.service or 'standalone task'} {task.short}"


# Consul


def _endpoints(before: Snapshot, after: Snapshot) -> Iterator[Event]:
    old = {(one.service, one.node, one.id): one for one in before.endpoints}
    new = {(one.service, one.node, one.id): one for one in after.endpoints}
    tasks = tasks_by_port((*before.tasks, *after.tasks))
    own_clock = bool(after.ecs and after.ecs.own_clock)

    def event(kind: Kind, one: Endpoint, text: str) -> Event:
        task = tasks.get((one.node, one.port))
        name = f"{one.service} {task.short}" if task else one.service
        return Event(
            after.time, kind, f"{name} {text}", one.service, task.id if task else "", one.id, one.node, one
        )  # fmt: skip

    for key in old.keys() - new.keys():
        yield event("instance-left", old[key], f"left Consul, where it was at {old[key].at}")
    for key, one in new.items():
        earlier = old.get(key)
        if earlier is None:
            task = tasks.get((one.node, one.port))
            since = _since(task, after.time) if own_clock else ""
            state = "" if one.status == "passing" else f" as {one.status}"
            yield event("instance-entered", one, f"entered Consul at {one.at}{state}{since}")
        elif earlier != one:
            yield from (event("instance-changed", one, text) for text in _changes(earlier, one))


def _since(task: Task | None, now: float) -> str:
    """How long after its task's start an instance was seen, where one clock tells both."""
    if task is None or task.started is None or now < task.started:
        return ""
    return f", {(now - task.started) * 1000:.0f} ms after its task started"


def _changes(old: Endpoint, new: Endpoint) -> Iterator[str]:
    if old.status != new.status:
        why = f": {new.output}" if new.output else ""
        yield f"is {new.status} in Consul, after {old.status}{why}"
    if old.at != new.at:
        yield f"is at {new.at} in Consul, no longer at {old.at}"
    if old.tags != new.tags:
        yield f"has the tags {', '.join(new.tags) or '(none)'} in Consul, no longer {', '.join(old.tags) or '(none)'}"


def _members(before: Members, after: Members, now: float) -> Iterator[Event]:
    old, new = {one.name: one for one in before.members}, {one.name: one for one in after.members}
    for name in new.keys() - old.keys():
        one = new[name]
        yield Event(now, "member-joined", f"{one.role} {name} joined Consul at {one.address}", node=name)
    for name in old.keys() - new.keys():
        yield Event(now, "member-left", f"{old[name].role} {name} is no member of Consul any more", node=name)
    for name in new.keys() & old.keys():
        if old[name].status != new[name].status:
            text = f"{new[name].role} {name} is {new[name].status} in Consul, after {old[name].status}"
            yield Event(now, "member-changed", text, node=name)
    if before.leader != after.leader:
        text = f"Consul's leader is {after.leader}" if after.leader else "Consul has no leader"
        yield Event(now, "leader-changed", f"{text}, after {before.leader or 'none'}")


def _sources(before: Mapping[str, str], after: Mapping[str, str], now: float) -> Iterator[Event]:
    for name in after.keys() - before.keys():
        yield Event(now, "source-lost", f"{name} does not answer: {after[name]}")
    for name in before.keys() - after.keys():
        yield Event(now, "source-back", f"{name} answers again")


def of_service(events: Iterable[Event], service: str) -> list[Event]:
    """The events of one service."""
    return [event for event in events if event.service == service]
