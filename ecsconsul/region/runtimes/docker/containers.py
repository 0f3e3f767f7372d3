"""Runs the containers of tasks on a Docker engine, with the limits, ports, labels and DNS that the ECS agent sets."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from docker import APIClient
from docker.errors import APIError, DockerException, ImageNotFound
from requests.exceptions import RequestException

from ....docker.engine import INSTANCE_LABEL
from ....registrator.container_snapshot import parse_container
from ....registrator.docker_client import DockerClient
from ....registrator.rules import Container
from ....registrator.settings import Server
from ...ecs.container_order import link_aliases
from ...ecs.model import Binding, Task, environment_of
from ..interface import CannotStart, Ec2Instance, RunningContainer
from .bridge_network import LabNetwork
from .container_probe import ContainerProbe
from .engine_container import EngineContainer
from .image_pull import ImagePull
from .log_copy import LOG_CONFIG, LogCopy
from .security import SECURITY
from .task_volumes import TaskVolumes

MIB = 1024 * 1024
# Docker's minimums.
MIN_SHARES, MIN_MEMORY = 2, 6 * MIB
SEARCH_DOMAIN = "service.consul"
LOG_TIMEOUT = 2.0


@dataclass
class DockerContainer:
    """A container of a task."""

    container: EngineContainer
    bindings: tuple[Binding, ...]
    snapshot: Container
    log: LogCopy
    stop_signal: str
    prober: ContainerProbe
    # Docker maps its ports, wherever its program listens
    settled: ClassVar[bool] = True
    note: ClassVar[str] = ""

    def look(self, age: float) -> bool:
        return False

    @property
    def runtime_id(self) -> str:
        return self.container.id

    def wait(self) -> int:
        return self.container.wait()

    def probe(self, words: Sequence[str], timeout: float) -> str:
        return self.prober.run(words, timeout)

    def terminate(self) -> None:
        self.container.signal(self.stop_signal)

    def kill(self) -> None:
        self.container.signal("SIGKILL")


@dataclass
class DockerContainers:
    """Starts the containers of one lab's tasks on its network."""

    docker: APIClient
    network: LabNetwork
    labels: dict[str, str]
    socket: str
    lab: str = ""
    _not_removed: list[EngineContainer] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._volumes = TaskVolumes(self.docker, self.labels)
        self._images = ImagePull(self.docker, self.lab)

    def start(
        self, task: Task, definition: dict[str, Any], instance: Ec2Instance, log: Path, overrides: dict[str, Any]
    ) -> DockerContainer:
        """Start one container definition of a task. Raises CannotStart."""
        with _ecs_errors("CannotCreateContainerError"):
            binds = self._volumes.create(task, definition, instance.instance_id)
            container = self._created(task, definition, instance, overrides, binds)
        try:
            with _ecs_errors("CannotStartContainerError"):
                self.docker.start(container.id)
                inspected = container.inspect()
        except CannotStart:
            container.remove()
            raise
        return DockerContainer(
            container,
            bindings(definition, inspected),
            parse_container(inspected).container,
            LogCopy(self.docker, container.id, log),
            inspected["Config"].get("StopSignal") or "SIGTERM",
            ContainerProbe(self.docker, container.id),
        )

    def not_played(self, definition: dict[str, Any]) -> list[str]:
        """Nothing more than in any runtime."""
        return []

    def clean_up(self, task_id: str, instance: Ec2Instance, containers: Sequence[RunningContainer]) -> None:
        """Remove what a stopped task leaves behind."""
        stopped = [one for one in containers if isinstance(one, DockerContainer)]
        for one in stopped:
            one.log.join(LOG_TIMEOUT)
        # Retry containers that could not be removed earlier. Removing takes long, so it doesn't hold the lock.
        with self._lock:
            removing, self._not_removed = [*(one.container for one in stopped), *self._not_removed], []
        failed = [container for container in removing if not container.remove()]
        with self._lock:
            self._not_removed += failed
        self._volumes.remove(task_id)

    def engine(self, instance: Ec2Instance) -> DockerClient:
        """The Docker engine, limited to an instance's containers."""
        return DockerClient(Server(socket=self.socket), f"{INSTANCE_LABEL}={instance.instance_id}")

    def _created(self, task: Task, definition: dict[str, Any], *arguments: Any) -> EngineContainer:
        """Create a container, and pull its image first if the engine doesn't have it."""
        try:
            return EngineContainer(self.docker, self._create(task, definition, *arguments))
        except ImageNotFound:
            if not self._images.pull(definition["image"]):
                raise
        return EngineContainer(self.docker, self._create(task, definition, *arguments))

    def _create(
        self,
        task: Task,
        definition: dict[str, Any],
        instance: Ec2Instance,
        overrides: dict[str, Any],
        binds: Sequence[str],
    ) -> str:
        """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html."""
        docker = self.docker
        ports = [(m["containerPort"], m.get("protocol", "tcp")) for m in definition.get("portMappings") or ()]
        created = docker.create_container(
            definition["image"],
            command=overrides.get("command") or definition.get("command"),
            entrypoint=definition.get("entryPoint"),
            name=task.container_name(definition["name"]),
            user=definition.get("user"),
            hostname=definition.get("hostname"),
            tty=bool(definition.get("pseudoTerminal")),
            stdin_open=bool(definition.get("interactive")),
            working_dir=definition.get("workingDirectory"),
            environment=environment_of(definition, overrides),
            ports=ports or None,
            labels={
                **(definition.get("dockerLabels") or {}),
                **ecs_labels(task, definition),
                **self.labels,
                INSTANCE_LABEL: instance.instance_id,
            },
            host_config=docker.create_host_config(
                binds=list(binds) or None,
                extra_hosts={one["hostname"]: one["ipAddress"] for one in definition.get("extraHosts") or ()} or None,
                ulimits=[
                    {"Name": one["name"], "Soft": one["softLimit"], "Hard": one["hardLimit"]}
                    for one in definition.get("ulimits") or ()
                ],
                port_bindings={f"{port}/{protocol}": (self.network.gateway,) for port, protocol in ports},
                network_mode=self.network.id,
                dns=[instance.address],
                dns_search=[SEARCH_DOMAIN],
                log_config=LOG_CONFIG,
                read_only=bool(definition.get("readonlyRootFilesystem")),
                init=bool((definition.get("linuxParameters") or {}).get("initProcessEnabled")),
                **limits(definition),
                **SECURITY,
            ),
            networking_config=docker.create_networking_config({self.network.id: self._endpoint(task, definition)}),
        )
        return str(created["Id"])

    def _endpoint(self, task: Task, definition: Mapping[str, Any]) -> dict[str, Any]:
        """Its place on the lab's network, where the containers that it links have their aliases too."""
        links = {task.container_name(name): alias for name, alias in link_aliases(definition).items()}
        endpoint: dict[str, Any] = self.docker.create_endpoint_config(**({"links": links} if links else {}))
        return endpoint


def ecs_labels(task: Task, definition: Mapping[str, Any]) -> dict[str, str]:
    """The labels that the ECS agent sets on each container."""
    prefix = "com.amazonaws.ecs"
    return {
        f"{prefix}.cluster": task.cluster,
        f"{prefix}.container-name": definition["name"],
        f"{prefix}.task-arn": task.arn,
        f"{prefix}.task-definition-family": task.task_definition["family"],
        f"{prefix}.task-definition-version": str(task.task_definition["revision"]),
    }


def limits(definition: Mapping[str, Any]) -> dict[str, Any]:
    """`memory` is a hard limit, `memoryReservation` a soft one; CPU units are shares, which apply under contention."""
    found: dict[str, Any] = {"cpu_shares": max(int(definition.get("cpu") or 0), MIN_SHARES)}
    if definition.get("memory"):
        found["mem_limit"] = max(int(definition["memory"]) * MIB, MIN_MEMORY)
    if definition.get("memoryReservation"):
        found["mem_reservation"] = max(int(definition["memoryReservation"]) * MIB, MIN_MEMORY)
    return found


def bindings(definition: Mapping[str, Any], inspected: Mapping[str, Any]) -> tuple[Binding, ...]:
    """The host ports that Docker assigned. All are dynamic; fixed ports are forwarded to them.

    A container that has already exited has none.
    """
    published = inspected["NetworkSettings"]["Ports"] or {}
    found = []
    for mapping in definition.get("portMappings") or ():
        port, protocol = mapping["containerPort"], mapping.get("protocol", "tcp")
        for host in (published.get(f"{port}/{protocol}") or ())[:1]:
            found.append(Binding(port, int(host["HostPort"]), protocol, mapping.get("hostPort") or None))
    return tuple(found)


@contextlib.contextmanager
def _ecs_errors(kind: str) -> Iterator[None]:
    """Raise Docker's errors as CannotStart, worded as the ECS agent does in a stop reason."""
    try:
        yield
    except ImageNotFound as error:
        raise CannotStart(f"CannotPullContainerError: {error.explanation}") from error
    except APIError as error:
        raise CannotStart(f"{kind}: Error response from daemon: {error.explanation}") from error
    except (DockerException, RequestException) as error:
        raise CannotStart(f"DockerTimeoutError: {error}") from error
