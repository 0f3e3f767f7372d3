"""Runs the containers of tasks as plain processes at their instance's address."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....registrator.rules import Container, PortBinding
from ...ecs.model import Binding, Task
from .. import lab_processes
from ..interface import CannotStart, Ec2Instance, RunningContainer
from ..lab_dir import LabDir, remove
from .engine import ProcessEngine, new_container_id
from .images import Image, ImageStore, copy_for_task

log = logging.getLogger(__name__)


@dataclass
class ProcessContainer:
    """A process that stands for a container."""

    process: subprocess.Popen[bytes]
    bindings: tuple[Binding, ...]
    snapshot: Container
    engine: ProcessEngine

    @property
    def runtime_id(self) -> str:
        return str(self.process.pid)

    def wait(self) -> int:
        """Block until it exits, and kill what it left running; the exit code as Docker reports it (128 + signal)."""
        code = self.process.wait()
        code = code if code >= 0 else 128 - code
        self.engine.exited(self.snapshot.id, code)
        lab_processes.signal_group(self.process.pid, signal.SIGKILL)
        return code

    def terminate(self) -> None:
        """Send SIGTERM to the main process alone, as Docker does."""
        if self.process.poll() is None:
            self.engine.stopping(self.snapshot.id)
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        lab_processes.signal_group(self.process.pid, signal.SIGKILL)


@dataclass
class ProcessContainers:
    """Starts containers as processes."""

    lab_dir: LabDir
    images: ImageStore
    _engines: dict[str, ProcessEngine] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def engine(self, instance: Ec2Instance) -> ProcessEngine:
        """The engine of an instance."""
        with self._lock:
            return self._engines.setdefault(instance.instance_id, ProcessEngine(instance.instance_id))

    def start(
        self, task: Task, definition: dict[str, Any], instance: Ec2Instance, log: Path, overrides: dict[str, Any]
    ) -> ProcessContainer:
        """Start one container definition of a task. Raises CannotStart."""
        image = self.images.get(definition["image"])
        if image is None:
            raise CannotStart(f"CannotPullContainerError: no image {definition['image']} was published to this lab")
        folder = self.lab_dir.tasks / task.id / definition["name"]
        bindings: tuple[Binding, ...] = ()
        try:
            copy_for_task(image, folder)
            bindings = _bind(definition, instance)
            environment = _environment(image, definition, overrides, instance, bindings)
            process = lab_processes.start(
                _argv(image, folder, definition, overrides),
                root=self.lab_dir.root,
                log=log,
                env=environment,
                cwd=_inside(image, folder, image.dockerfile.workdir),
            )
        except (OSError, ValueError) as error:
            # ValueError: a name, a value or an argument that no process can be given
            _give_back(instance, bindings)
            raise CannotStart(f"CannotStartContainerError: {error}") from error
        snapshot = _snapshot(task, definition, environment, instance.host_address, bindings)
        container = ProcessContainer(process, bindings, snapshot, self.engine(instance))
        container.engine.started(snapshot)
        return container

    def clean_up(self, task_id: str, instance: Ec2Instance, containers: Sequence[RunningContainer]) -> None:
        """Remove what a stopped task leaves behind."""
        for container in containers:
            _give_back(instance, container.bindings)
            self.engine(instance).removed(container.snapshot.id)
        try:
            remove(self.lab_dir.tasks / task_id)
        except OSError as error:
            # a folder that it made read-only, or a detached process that still writes
            log.warning("what task %s left behind is still there: %s", task_id, error)


def _snapshot(
    task: Task, definition: Mapping[str, Any], environment: Mapping[str, str], address: str, bindings: Sequence[Binding]
) -> Container:
    """The container as Docker would show it to the Registrator; named as the ECS agent names it.

    It has no address of its own, as a process listens at its host port itself.
    """
    return Container(
        id=new_container_id(),
        name=task.container_name(definition["name"]),
        image=definition["image"],
        environment=tuple(f"{name}={value}" for name, value in environment.items()),
        labels=definition.get("dockerLabels") or {},
        ports=tuple(PortBinding(b.container_port, b.protocol, b.host_port, address) for b in bindings),
    )


def _bind(definition: dict[str, Any], instance: Ec2Instance) -> tuple[Binding, ...]:
    """A host port for each port mapping: the one asked for, else the next free one of the machine's address.

    Machines that share one address cannot all have the port asked for: theirs is dynamic, and the door leads to it.
    """
    bindings = []
    for mapping in definition.get("portMappings") or ():
        asked = mapping.get("hostPort") or None
        real = asked if asked and instance.own_address else instance.ports.take()
        bindings.append(Binding(mapping["containerPort"], real, mapping.get("protocol", "tcp"), asked))
    return tuple(bindings)


def _give_back(instance: Ec2Instance, bindings: tuple[Binding, ...]) -> None:
    for binding in bindings:
        instance.ports.give_back(binding.host_port)


def _inside(image: Image, folder: Path, path: str) -> Path:
    """Where a path of the image is in the task's copy; what lies outside the copied folder is the folder itself."""
    root = image.dockerfile.root.rstrip("/")
    inside = path.removeprefix(root).lstrip("/") if path == root or path.startswith(f"{root}/") else ""
    return folder / inside


def _argv(image: Image, folder: Path, definition: dict[str, Any], overrides: dict[str, Any]) -> list[str]:
    """Docker's rule: an entry point that is given anew drops the image's command."""
    entrypoint = definition.get("entryPoint") or list(image.dockerfile.entrypoint)
    own_command = [] if definition.get("entryPoint") else list(image.dockerfile.command)
    command = overrides.get("command") or definition.get("command") or own_command
    root = image.dockerfile.root.rstrip("/")
    words = [
        str(_inside(image, folder, w)) if root and w.startswith(f"{root}/") else w for w in (*entrypoint, *command)
    ]
    program = shutil.which(words[0], path=f"{image.programs}:{_path()}") if words else None
    return [program or words[0], *words[1:]]


def _path() -> str:
    return os.environ.get("PATH", os.defpath)


def _environment(
    image: Image,
    definition: dict[str, Any],
    overrides: dict[str, Any],
    instance: Ec2Instance,
    bindings: tuple[Binding, ...],
) -> dict[str, str]:
    """The image's variables, the task definition's, the overrides', and where to listen and to look names up.

    A process has no port mapping and no resolver of its own, so PORT, HOST and CONSUL_DNS stand in for them.
    """
    told = {item["name"]: item.get("value", "") for item in definition.get("environment") or ()}
    told |= {item["name"]: item.get("value", "") for item in overrides.get("environment") or ()}
    listen = {f"PORT_{b.container_port}": str(b.host_port) for b in bindings[1:]}
    if bindings:
        listen |= {"PORT": str(bindings[0].host_port)}
    return {
        **image.dockerfile.environment,
        "PATH": f"{image.programs}:{_path()}",
        "PYTHONUNBUFFERED": "1",
        "CONSUL_DNS": instance.dns,
        **told,
        **listen,
        "HOST": instance.address,
    }
