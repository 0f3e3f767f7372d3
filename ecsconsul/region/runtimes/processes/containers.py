"""How the containers of a task are run: what any runtime offers, and the one that runs them as plain processes.

A runtime knows nothing of ECS's services; that of containers/ is the other one.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ...ecs.model import Binding, Task
from ...instances import Ec2Instance
from .. import lab_processes as processes
from ..lab_dir import LabDir, remove
from ..registration import SelfRegistration, TaskRegistration
from .images import Image, ImageStore, copy_for_task

log = logging.getLogger(__name__)


class CannotStart(Exception):
    """A container that cannot be started; the text begins with ECS's error type, as a stop reason does."""


class RunningContainer(Protocol):
    """A container that was started; `environment` are all its variables, as Docker's inspect shows them."""

    @property
    def bindings(self) -> tuple[Binding, ...]: ...
    @property
    def environment(self) -> Mapping[str, str]: ...
    @property
    def runtime_id(self) -> str: ...

    def wait(self) -> int:
        """Block until it ends; the exit code as Docker gives it (128 + signal)."""

    def terminate(self) -> None:
        """Ask it to end; fine when it has."""

    def kill(self) -> None:
        """End it and all that it started; fine when it has ended."""


class ContainerRunner(Protocol):
    """Starts containers, and clears up after them."""

    def start(
        self, task: Task, definition: dict[str, Any], machine: Ec2Instance, log: Path, overrides: dict[str, Any]
    ) -> RunningContainer:
        """Start one container definition of a task. Raises CannotStart."""

    def clean_up(self, task_id: str, machine: Ec2Instance, bindings: tuple[Binding, ...]) -> None:
        """Remove what a task that has ended leaves behind."""

    def registration(self, task: Task, machine: Ec2Instance) -> TaskRegistration:
        """How the task's services enter and leave the catalog."""


@dataclass
class RunningProcess:
    """One process that stands for a container; `environment` are all its variables, as Docker's inspect shows them."""

    process: subprocess.Popen[bytes]
    bindings: tuple[Binding, ...]
    environment: Mapping[str, str]

    @property
    def runtime_id(self) -> str:
        return str(self.process.pid)

    def wait(self) -> int:
        """Block until it ends; the exit code as Docker gives it (128 + signal). What it left running ends too."""
        code = self.process.wait()
        processes.signal_group(self.process.pid, signal.SIGKILL)
        return code if code >= 0 else 128 - code

    def terminate(self) -> None:
        """Ask it to end (SIGTERM to the main process, as Docker does)."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it and all that it started."""
        processes.signal_group(self.process.pid, signal.SIGKILL)


class ProcessContainers:
    """Starts containers as processes on a machine's address."""

    def __init__(self, home: LabDir, images: ImageStore) -> None:
        self._home = home
        self._images = images

    def start(
        self, task: Task, definition: dict[str, Any], machine: Ec2Instance, log: Path, overrides: dict[str, Any]
    ) -> RunningProcess:
        """Start one container definition of a task. Raises CannotStart."""
        image = self._images.get(definition["image"])
        if image is None:
            raise CannotStart(f"CannotPullContainerError: no image {definition['image']} was published to this lab")
        folder = self._home.tasks / task.id / definition["name"]
        bindings: tuple[Binding, ...] = ()
        try:
            copy_for_task(image, folder)
            bindings = _bind(definition, machine)
            environment = _environment(image, definition, overrides, machine, bindings)
            process = processes.start(
                _argv(image, folder, definition, overrides),
                home=self._home.root,
                log=log,
                env=environment,
                cwd=_inside(image, folder, image.dockerfile.workdir),
            )
        except (OSError, ValueError) as error:
            # ValueError: a name, a value or an argument that no process can be given
            _give_back(machine, bindings)
            raise CannotStart(f"CannotStartContainerError: {error}") from error
        return RunningProcess(process, bindings, environment)

    def clean_up(self, task_id: str, machine: Ec2Instance, bindings: tuple[Binding, ...]) -> None:
        """Remove what a task that has ended leaves behind."""
        _give_back(machine, bindings)
        try:
            remove(self._home.tasks / task_id)
        except OSError as error:
            # a folder that it made read-only, a process that it detached and that still writes
            log.warning("what task %s left is still there: %s", task_id, error)

    def registration(self, task: Task, machine: Ec2Instance) -> TaskRegistration:
        return SelfRegistration(task, machine)


def _bind(definition: dict[str, Any], machine: Ec2Instance) -> tuple[Binding, ...]:
    """A host port for each port mapping: the one asked for, else the next free one of the machine's address.

    Machines that share one address cannot all have the port asked for: theirs is dynamic, and the door leads to it.
    """
    bindings = []
    for mapping in definition.get("portMappings") or ():
        asked = mapping.get("hostPort") or None
        real = asked if asked and machine.own_address else machine.ports.take()
        bindings.append(Binding(mapping["containerPort"], real, mapping.get("protocol", "tcp"), asked))
    return tuple(bindings)


def _give_back(machine: Ec2Instance, bindings: tuple[Binding, ...]) -> None:
    for binding in bindings:
        machine.ports.give_back(binding.host_port)


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
    machine: Ec2Instance,
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
        "CONSUL_DNS": machine.dns,
        **told,
        **listen,
        "HOST": machine.address,
    }
