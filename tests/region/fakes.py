"""Fake containers that run, exit or ignore SIGTERM as their image's name says, and an instance without an agent."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ecsconsul.consul.agent_config import ConsulPorts
from ecsconsul.region.ecs.model import Binding, Task
from ecsconsul.region.runtimes.addresses import Ports
from ecsconsul.region.runtimes.interface import CannotStart, Ec2Instance, RunningContainer
from ecsconsul.region.runtimes.processes.process_engine import ProcessEngine, new_container_id
from ecsconsul.registrator.rules import Container, PortBinding


@dataclass
class FakeContainer:
    """`steady` runs until SIGTERM, `stubborn` until SIGKILL, and `crash:3` exits at once with code 3."""

    image: str
    bindings: tuple[Binding, ...]
    snapshot: Container
    engine: ProcessEngine
    name: str
    runtime: FakeContainers
    runtime_id: str = "1"
    settled: bool = True
    note: str = ""
    _exited: threading.Event = field(default_factory=threading.Event)
    _code: int = 0

    def __post_init__(self) -> None:
        self.engine.started(self.snapshot)
        if self.image.startswith("crash:"):
            self.end(int(self.image.removeprefix("crash:")))

    def end(self, code: int) -> None:
        if not self._exited.is_set():
            self._code = code
            self.engine.exited(self.snapshot.id, code)
            self._exited.set()

    def look(self, age: float) -> bool:
        return False

    def wait(self) -> int:
        self._exited.wait()
        return self._code

    def probe(self, words: Sequence[str], timeout: float) -> str:
        """Healthy, unless the test says otherwise."""
        return self.runtime.failures.get(self.name, "")

    def terminate(self) -> None:
        self.runtime.stopped.append(self.name)
        if self.image != "stubborn":
            self.end(143)

    def kill(self) -> None:
        self.runtime.killed.append((self.name, len(self.runtime.stopped)))
        self.end(137)


class FakeContainers:
    """Starts fake containers. The image `absent` cannot be pulled, and `broken` raises an unexpected error."""

    def __init__(self) -> None:
        self.containers: dict[tuple[str, str], FakeContainer] = {}
        self.cleaned: list[str] = []
        self.overrides: dict[str, Any] = {}
        # why the checks of containers fail, and the containers that were told to stop, by their names
        self.failures: dict[str, str] = {}
        self.stopped: list[str] = []
        # the containers that were killed, and how many had been told to stop before
        self.killed: list[tuple[str, int]] = []
        self._engines: dict[str, ProcessEngine] = {}

    def engine(self, instance: Ec2Instance) -> ProcessEngine:
        return self._engines.setdefault(instance.instance_id, ProcessEngine(instance.instance_id))

    def start(
        self, task: Task, definition: dict[str, Any], instance: Ec2Instance, log: Path, overrides: dict[str, Any]
    ) -> FakeContainer:
        image = definition["image"]
        if image == "absent":
            raise CannotStart("CannotPullContainerError: no image absent was published to this lab")
        if image == "broken":
            raise ZeroDivisionError("a bug")
        bindings = tuple(
            Binding(m["containerPort"], m.get("hostPort") or m["containerPort"], m.get("protocol", "tcp"))
            for m in definition.get("portMappings") or ()
        )
        variables = {
            i["name"]: i["value"] for i in (*definition.get("environment", ()), *overrides.get("environment", ()))
        }
        snapshot = Container(
            id=new_container_id(),
            name=task.container_name(definition["name"]),
            image=image,
            environment=tuple(f"{name}={value}" for name, value in variables.items()),
            ports=tuple(
                PortBinding(b.container_port, b.protocol, b.host_port, instance.host_address) for b in bindings
            ),
        )
        container = FakeContainer(image, bindings, snapshot, self.engine(instance), definition["name"], self)
        self.containers[task.id, definition["name"]] = container
        self.overrides[task.id] = overrides
        return container

    def not_played(self, definition: dict[str, Any]) -> list[str]:
        return []

    def clean_up(self, task_id: str, instance: Ec2Instance, containers: Sequence[RunningContainer]) -> None:
        self.cleaned.append(task_id)
        for container in containers:
            self.engine(instance).removed(container.snapshot.id)

    def kill(self, image: str) -> None:
        """Kill all containers of an image."""
        for container in self._all():
            if container.image == image:
                container.kill()

    def close(self) -> None:
        for container in self._all():
            container.kill()

    def _all(self) -> list[FakeContainer]:
        """A copy, since the control loop may be starting more."""
        return list(self.containers.values())


def ec2_instance(
    folder: Path, instance_id: str = "i-1", address: str = "127.0.0.1", http: int = 9, **more: Any
) -> Ec2Instance:
    """An instance whose Consul listens on port `http`; by default on port 9, where nothing listens."""
    ports = ConsulPorts(http=http)
    return Ec2Instance(instance_id, "ecs-instance", address, ports, Ports(address), folder / instance_id, **more)
