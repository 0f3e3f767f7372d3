"""A runtime whose containers are no processes, but live, end and resist as the image's name says."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ecsconsul.region.ecs.model import Binding, Task
from ecsconsul.region.instances import ConsulPorts, Ec2Instance
from ecsconsul.region.runtimes.addresses import Ports
from ecsconsul.region.runtimes.processes.containers import CannotStart
from ecsconsul.region.runtimes.registration import SelfRegistration

PATIENCE = 10.0


@dataclass
class FakeContainer:
    """`steady` runs until it is asked to end, `stubborn` until it is killed, `crash:3` ends at once with 3."""

    image: str
    bindings: tuple[Binding, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    runtime_id: str = "1"
    _ended: threading.Event = field(default_factory=threading.Event)
    _code: int = 0

    def __post_init__(self) -> None:
        if self.image.startswith("crash:"):
            self.end(int(self.image.removeprefix("crash:")))

    def end(self, code: int) -> None:
        if not self._ended.is_set():
            self._code = code
            self._ended.set()

    def wait(self) -> int:
        self._ended.wait()
        return self._code

    def terminate(self) -> None:
        if self.image != "stubborn":
            self.end(143)

    def kill(self) -> None:
        self.end(137)


class FakeRuntime:
    """Starts fake containers; `absent` cannot be pulled, `broken` is a fault of the runtime itself."""

    def __init__(self) -> None:
        self.containers: dict[tuple[str, str], FakeContainer] = {}
        self.cleaned: list[str] = []
        self.overrides: dict[str, Any] = {}

    def start(
        self, task: Task, definition: dict[str, Any], machine: Ec2Instance, log: Path, overrides: dict[str, Any]
    ) -> FakeContainer:
        image = definition["image"]
        if image == "absent":
            raise CannotStart("CannotPullContainerError: no image absent was published to this lab")
        if image == "broken":
            raise ZeroDivisionError("a fault that nobody thought of")
        bindings = tuple(
            Binding(m["containerPort"], m.get("hostPort") or m["containerPort"], m.get("protocol", "tcp"))
            for m in definition.get("portMappings") or ()
        )
        told = {i["name"]: i["value"] for i in (*definition.get("environment", ()), *overrides.get("environment", ()))}
        container = FakeContainer(image, bindings, told)
        self.containers[task.id, definition["name"]] = container
        self.overrides[task.id] = overrides
        return container

    def clean_up(self, task_id: str, machine: Ec2Instance, bindings: tuple[Binding, ...]) -> None:
        self.cleaned.append(task_id)

    def registration(self, task: Task, machine: Ec2Instance) -> SelfRegistration:
        return SelfRegistration(task, machine)

    def kill(self, image: str) -> None:
        """End all containers of an image."""
        for container in self._all():
            if container.image == image:
                container.kill()

    def close(self) -> None:
        for container in self._all():
            container.kill()

    def _all(self) -> list[FakeContainer]:
        """Those that there are now; the scheduler may be starting more."""
        return list(self.containers.values())


def machine(
    folder: Path, instance_id: str = "i-1", address: str = "127.0.0.1", http: int = 9, **more: Any
) -> Ec2Instance:
    """A machine whose Consul listens at `http`; at port 9, where nothing does, unless a test says more."""
    ports = ConsulPorts(http=http)
    return Ec2Instance(instance_id, "ecs-instance", address, ports, Ports(address), folder / instance_id, **more)
