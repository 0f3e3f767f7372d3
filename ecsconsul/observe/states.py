"""What is seen of a lab at one moment, and the events that lead from one moment to the next. Data only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

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
