"""Runs the containers of tasks as plain processes at their instance's address."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ....errors import LabError
from ....registrator.rules import Container, PortBinding
from ...ecs.model import Binding, Task, environment_of
from .. import lab_processes
from ..interface import CannotStart, Ec2Instance, RunningContainer
from ..lab_dir import LabDir, remove
from ..volumes import mounts
from .images import Image, ImageStore, copy_for_task
from .listening import PortWatch, who_else
from .process_engine import ProcessEngine, new_container_id
from .process_probe import ProcessProbe
from .task_files import MountedFolder, TaskFiles, can_have_own_root

log = logging.getLogger(__name__)

# no container has a name with a dot
_VOLUMES = ".volumes"
_UNMOUNTED = (
    "this kernel allows no mounts of your own, so only paths in the command, in variables and relative to the image's"
    " folders lead to it, and readOnly has no effect"
)


@dataclass
class ProcessContainer:
    """A process that plays a container."""

    process: subprocess.Popen[bytes]
    given: tuple[Binding, ...]
    snapshot: Container
    engine: ProcessEngine
    watch: PortWatch
    prober: ProcessProbe
    note: str = ""

    @property
    def bindings(self) -> tuple[Binding, ...]:
        return self.watch.bindings

    @property
    def settled(self) -> bool:
        return self.watch.settled

    def look(self, age: float) -> bool:
        """Look where it really listens, and let the Registrator know. Raises CannotStart."""
        if not self.watch.look(age):
            return False
        self.note = self.watch.note
        if self.note:
            _write(self.watch.log, self.note)
        ports = _published(self.bindings, self.watch.address)
        if ports != self.snapshot.ports:
            self.snapshot = replace(self.snapshot, ports=ports)
            self.engine.moved(self.snapshot)
        return True

    @property
    def runtime_id(self) -> str:
        return str(self.process.pid)

    def wait(self) -> int:
        """Block until it exits, and kill what it left running; the exit code as Docker reports it (128 + signal)."""
        code = self.process.wait()
        code = code if code >= 0 else 128 - code
        # it leaves the catalog before anybody looks for the reason
        self.engine.exited(self.snapshot.id, code)
        lab_processes.signal_group(self.process.pid, signal.SIGKILL)
        self.note = (self.watch.conflict() if code else "") or self.note
        return code

    def probe(self, words: Sequence[str], timeout: float) -> str:
        """Run a program where the process is; "" if it exits with 0."""
        return self.prober.run(self.process.pid, self.bindings, words, timeout)

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
    own_roots: bool | None = None  # whether tasks have a root folder of their own; None: where the kernel permits it
    _engines: dict[str, ProcessEngine] = field(default_factory=dict)
    _leaders: dict[int, str] = field(default_factory=dict)  # what each container's process is called in a message
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def engine(self, instance: Ec2Instance) -> ProcessEngine:
        """The engine of an instance."""
        with self._lock:
            return self._engines.setdefault(instance.instance_id, ProcessEngine(instance.instance_id))

    def _own_roots(self) -> bool:
        with self._lock:
            if self.own_roots is None:
                self.own_roots = can_have_own_root(self.lab_dir.root)
            return self.own_roots

    def start(
        self, task: Task, definition: dict[str, Any], instance: Ec2Instance, log: Path, overrides: dict[str, Any]
    ) -> ProcessContainer:
        """Start one container definition of a task. Raises CannotStart."""
        image = self.images.get(definition["image"])
        if image is None:
            raise CannotStart(_no_image(definition["image"]))
        folder = self.lab_dir.tasks / task.id / definition["name"]
        bindings: tuple[Binding, ...] = ()
        try:
            copy_for_task(image, folder)
            bindings = _bind(definition, instance)
            files = TaskFiles(
                image,
                folder,
                self._own_roots(),
                definition.get("workingDirectory") or "",
                self._mounted(task, definition, instance),
                _limits(definition),
            )
            files.prepare()
            environment = {**files.environment(_path()), **_environment(definition, overrides, instance, bindings)}
            argv, cwd = files.command_line(_words(image, definition, overrides), environment["PATH"])
            process = lab_processes.start(argv, root=self.lab_dir.root, log=log, env=environment, cwd=cwd)
        except (OSError, ValueError, LabError) as error:
            # ValueError: an argument or a variable that no process can have, such as one with a null byte.
            # LabError: the links of the image lead in a circle.
            _release_ports(instance, bindings)
            raise CannotStart(f"CannotStartContainerError: {error}") from error
        snapshot = _snapshot(task, definition, environment, instance.host_address, bindings, process.pid)
        watch = PortWatch(process.pid, instance.host_address, bindings, log, self._who_else)
        prober = ProcessProbe(files, lab_processes.environment(self.lab_dir.root, environment), cwd, instance.address)
        container = ProcessContainer(process, bindings, snapshot, self.engine(instance), watch, prober)
        self._leaders[process.pid] = f"{task.service or definition['name']}'s task {task.id[:8]}"
        container.engine.started(snapshot)
        return container

    def _who_else(self, port: int, address: str, own: Set[int]) -> str:
        return who_else(port, address, own, dict(self._leaders))

    def _mounted(self, task: Task, definition: dict[str, Any], instance: Ec2Instance) -> tuple[MountedFolder, ...]:
        """The folders of a container's volumes. A volume of the task alone goes with the task's own folder."""
        own = self.lab_dir.tasks / task.id / _VOLUMES
        found = mounts(task.id, task.task_definition, definition, instance.instance_id)
        return tuple(
            MountedFolder(
                (own if one.volume.task else self.lab_dir.volumes) / one.volume.name,
                one.path,
                one.read_only,
                one.volume.starts_with_image,
            )
            for one in found
        )

    def not_played(self, definition: dict[str, Any]) -> list[str]:
        """What a process can't have."""
        user = str(definition.get("user") or "")
        notes = [f"user {user}: a process runs as you"] if user and user.partition(":")[0] not in ("root", "0") else []
        keys = ("readonlyRootFilesystem", "extraHosts", "hostname", "interactive", "pseudoTerminal")
        notes += [f"{key} has no effect on a process" for key in keys if definition.get(key)]
        if not self._own_roots():
            paths = [one["containerPath"] for one in definition.get("mountPoints") or () if one.get("containerPath")]
            notes += [f"volume at {path}: {_UNMOUNTED}" for path in paths]
        return notes

    def clean_up(self, task_id: str, instance: Ec2Instance, containers: Sequence[RunningContainer]) -> None:
        """Remove what a stopped task leaves behind."""
        for container in containers:
            if isinstance(container, ProcessContainer):
                _release_ports(instance, container.given)
                self._leaders.pop(container.process.pid, None)
            self.engine(instance).removed(container.snapshot.id)
        try:
            remove(self.lab_dir.tasks / task_id)
        except OSError as error:
            # The task made a folder read-only, or a detached process still writes to it.
            log.warning("the files of task %s were not removed: %s", task_id, error)


def _snapshot(
    task: Task,
    definition: Mapping[str, Any],
    environment: Mapping[str, str],
    address: str,
    bindings: Sequence[Binding],
    process: int,
) -> Container:
    """The container as Docker would show it to the Registrator.

    It has no address of its own, since a process listens on its host port itself.
    """
    return Container(
        id=new_container_id(),
        name=task.container_name(definition["name"]),
        image=definition["image"],
        environment=tuple(f"{name}={value}" for name, value in environment.items()),
        labels=definition.get("dockerLabels") or {},
        ports=_published(bindings, address),
        process=process,
    )


def _published(bindings: Sequence[Binding], address: str) -> tuple[PortBinding, ...]:
    return tuple(PortBinding(b.container_port, b.protocol, b.host_port, b.host_ip or address) for b in bindings)


def _write(log: Path, note: str) -> None:
    """Add a line of ecsconsul's own to a task's log."""
    with contextlib.suppress(OSError), log.open("a") as file:
        file.write(f"ecsconsul: {note}\n")


def _bind(definition: dict[str, Any], instance: Ec2Instance) -> tuple[Binding, ...]:
    """A host port for each port mapping: the fixed one, else the next free one of the instance's address.

    Instances that share an address cannot share a fixed port: they get a dynamic one, and the fixed one is forwarded.
    """
    bindings: list[Binding] = []
    chosen: dict[int, int] = {}
    for mapping in definition.get("portMappings") or ():
        requested = mapping.get("hostPort") or None
        if requested and instance.own_address:
            host_port = requested
        else:
            # A server that answers TCP and UDP at one port gets one for both.
            host_port = chosen.get(mapping["containerPort"]) or instance.ports.take()
        chosen[mapping["containerPort"]] = host_port
        protocol = mapping.get("protocol", "tcp")
        bindings.append(Binding(mapping["containerPort"], host_port, protocol, requested, seen=not requested))
    return tuple(bindings)


def _release_ports(instance: Ec2Instance, bindings: tuple[Binding, ...]) -> None:
    for binding in bindings:
        instance.ports.give_back(binding.host_port)


def _words(image: Image, definition: dict[str, Any], overrides: dict[str, Any]) -> list[str]:
    """The command line, by Docker's rule: an overridden entry point drops the image's command."""
    entrypoint = definition.get("entryPoint") or list(image.config.entrypoint)
    own_command = [] if definition.get("entryPoint") else list(image.config.command)
    return [*entrypoint, *(overrides.get("command") or definition.get("command") or own_command)]


def _limits(definition: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    return {one["name"]: (int(one["softLimit"]), int(one["hardLimit"])) for one in definition.get("ulimits") or ()}


def _no_image(reference: str) -> str:
    return (
        f"CannotPullContainerError: no image {reference} was published to this lab, and processes can only run images"
        " built from a folder: give the service a folder with a Dockerfile (path), or run the lab in containers"
        " (ecsconsul up --runtime docker)"
    )


def _path() -> str:
    return os.environ.get("PATH", os.defpath)


def _environment(
    definition: dict[str, Any], overrides: dict[str, Any], instance: Ec2Instance, bindings: tuple[Binding, ...]
) -> dict[str, str]:
    """The variables of the task definition and the overrides, plus PORT, HOST and CONSUL_DNS.

    A process has no port mapping and no resolver of its own, so these say where to listen and how to resolve names.
    """
    listen = {f"PORT_{b.container_port}": str(b.host_port) for b in bindings[1:]}
    if bindings:
        listen |= {"PORT": str(bindings[0].host_port)}
    return {
        "PYTHONUNBUFFERED": "1",
        "CONSUL_DNS": instance.dns,
        **environment_of(definition, overrides),
        **listen,
        "HOST": instance.address,
    }
