"""Runs the containers of a task on the Docker engine as the ECS agent does: limits, ports, labels, DNS."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....docker.engine import INSTANCE_LABEL
from ....registrator.container_snapshot import parse_container
from ....registrator.docker_client import DockerClient
from ....registrator.rules import Container
from ....registrator.settings import Server
from ...ecs.model import Binding, Task
from ..interface import CannotStart, Ec2Instance, RunningContainer
from .bridge_network import LabNetwork
from .engine_container import EngineContainer
from .log_copy import LOG_CONFIG, LogCopy
from .security import SECURITY

if TYPE_CHECKING:
    from docker import APIClient

MIB = 1024 * 1024
# Docker takes no fewer shares, and no less memory
LEAST_SHARES, LEAST_MEMORY = 2, 6 * MIB
SEARCH_DOMAIN = "service.consul"
LOG_TIMEOUT = 2.0


@dataclass
class TaskContainer:
    """One container of a task."""

    container: EngineContainer
    bindings: tuple[Binding, ...]
    snapshot: Container
    log: LogCopy
    stop_signal: str

    @property
    def runtime_id(self) -> str:
        return self.container.id

    def wait(self) -> int:
        return self.container.wait()

    def terminate(self) -> None:
        self.container.signal(self.stop_signal)

    def kill(self) -> None:
        self.container.signal("SIGKILL")


@dataclass
class DockerContainers:
    """Starts the tasks of one lab on its network."""

    docker: APIClient
    network: LabNetwork
    labels: dict[str, str]
    socket: str
    _not_removed: list[EngineContainer] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(
        self, task: Task, definition: dict[str, Any], instance: Ec2Instance, log: Path, overrides: dict[str, Any]
    ) -> TaskContainer:
        """Start one container definition of a task. Raises CannotStart."""
        with _as_ecs_says("CannotCreateContainerError"):
            container = EngineContainer(self.docker, self._create(task, definition, instance, overrides))
        try:
            with _as_ecs_says("CannotStartContainerError"):
                self.docker.start(container.id)
                facts = container.inspect()
        except CannotStart:
            container.remove()
            raise
        running = TaskContainer(
            container,
            bindings(definition, facts),
            parse_container(facts).container,
            LogCopy(self.docker, container.id, log),
            facts["Config"].get("StopSignal") or "SIGTERM",
        )
        return running

    def clean_up(self, task_id: str, instance: Ec2Instance, containers: Sequence[RunningContainer]) -> None:
        """Remove what a stopped task leaves behind."""
        stopped = [one for one in containers if isinstance(one, TaskContainer)]
        for one in stopped:
            one.log.join(LOG_TIMEOUT)
        # Containers that an unreachable engine kept are tried again with the next task; no lock is held meanwhile.
        with self._lock:
            removing, self._not_removed = [*(one.container for one in stopped), *self._not_removed], []
        left = [container for container in removing if not container.remove()]
        with self._lock:
            self._not_removed += left

    def engine(self, instance: Ec2Instance) -> DockerClient:
        """The Docker engine, of which an instance's Registrator sees the instance's containers alone."""
        return DockerClient(Server(socket=self.socket), f"{INSTANCE_LABEL}={instance.instance_id}")

    def _create(self, task: Task, definition: dict[str, Any], instance: Ec2Instance, overrides: dict[str, Any]) -> str:
        """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html."""
        docker = self.docker
        told = _environment_of(definition, overrides)
        ports = [(m["containerPort"], m.get("protocol", "tcp")) for m in definition.get("portMappings") or ()]
        made = docker.create_container(
            definition["image"],
            command=overrides.get("command") or definition.get("command"),
            entrypoint=definition.get("entryPoint"),
            name=f"{task.container_name(definition['name'])}",
            user=definition.get("user"),
            working_dir=definition.get("workingDirectory"),
            environment=told,
            ports=ports or None,
            labels={
                **(definition.get("dockerLabels") or {}),
                **ecs_labels(task, definition),
                **self.labels,
                INSTANCE_LABEL: instance.instance_id,
            },
            host_config=docker.create_host_config(
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
            networking_config=docker.create_networking_config({self.network.id: docker.create_endpoint_config()}),
        )
        return str(made["Id"])


def ecs_labels(task: Task, definition: Mapping[str, Any]) -> dict[str, str]:
    """The labels that the ECS agent gives each container."""
    prefix = "com.amazonaws.ecs"
    return {
        f"{prefix}.cluster": task.cluster,
        f"{prefix}.container-name": definition["name"],
        f"{prefix}.task-arn": task.arn,
        f"{prefix}.task-definition-family": task.task_definition["family"],
        f"{prefix}.task-definition-version": str(task.task_definition["revision"]),
    }


def limits(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Memory is a hard limit, a reservation a soft one; CPU units are shares, which count when the CPU is scarce."""
    found: dict[str, Any] = {"cpu_shares": max(int(definition.get("cpu") or 0), LEAST_SHARES)}
    if definition.get("memory"):
        found["mem_limit"] = max(int(definition["memory"]) * MIB, LEAST_MEMORY)
    if definition.get("memoryReservation"):
        found["mem_reservation"] = max(int(definition["memoryReservation"]) * MIB, LEAST_MEMORY)
    return found


def bindings(definition: Mapping[str, Any], facts: Mapping[str, Any]) -> tuple[Binding, ...]:
    """The host ports that Docker gave; every one is dynamic, and a fixed one that was asked for gets a door.

    A container that has ended already, as one that crashes at its start, has none any more.
    """
    published = facts["NetworkSettings"]["Ports"] or {}
    found = []
    for mapping in definition.get("portMappings") or ():
        port, protocol = mapping["containerPort"], mapping.get("protocol", "tcp")
        for given in (published.get(f"{port}/{protocol}") or ())[:1]:
            found.append(Binding(port, int(given["HostPort"]), protocol, mapping.get("hostPort") or None))
    return tuple(found)


def _environment_of(definition: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, str]:
    items = (*(definition.get("environment") or ()), *(overrides.get("environment") or ()))
    return {item["name"]: item.get("value", "") for item in items}


@contextlib.contextmanager
def _as_ecs_says(kind: str) -> Any:
    """Docker's refusals as the ECS agent words them in a stop reason."""
    from docker.errors import APIError, DockerException, ImageNotFound
    from requests.exceptions import RequestException

    try:
        yield
    except ImageNotFound as error:
        raise CannotStart(f"CannotPullContainerError: {error.explanation}") from error
    except APIError as error:
        raise CannotStart(f"{kind}: Error response from daemon: {error.explanation}") from error
    except (DockerException, RequestException) as error:
        raise CannotStart(f"DockerTimeoutError: {error}") from error
