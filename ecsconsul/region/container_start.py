"""Starts a container of a task with everything that its definition leaves to the ECS agent: secrets, links, its log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .ecs.model import ContainerState, Task, environment_of
from .ecs.task_definitions import not_played
from .links import link_variables
from .runtimes.interface import Containers, Ec2Instance, RunningContainer
from .runtimes.lab_dir import LabDir
from .secret_values import SecretStore, secret_variables


@dataclass(frozen=True)
class ContainerStarter:
    """Starts the containers of one task. `consul_variables` gives those with which a container reports to Consul."""

    task: Task
    instance: Ec2Instance
    containers: Containers
    lab_dir: LabDir
    secrets: SecretStore
    consul_variables: Callable[[Mapping[str, str], Ec2Instance], dict[str, str]]

    def start(self, state: ContainerState, running: Mapping[str, RunningContainer]) -> RunningContainer:
        """Start a container; `running` are those of the task that were started before. Raises CannotStart."""
        override, log = self._override(state, running), self.log(state)
        self._write_notes(state, log)
        return self.containers.start(self.task, state.definition, self.instance, log, override)

    def note(self, state: ContainerState, text: str) -> None:
        """Add a line to a container's log."""
        _append(self.log(state), [text])

    def log(self, state: ContainerState) -> Path:
        """The file of a container's output."""
        return log_of(self.lab_dir, self.task, state)

    def _override(self, state: ContainerState, running: Mapping[str, RunningContainer]) -> dict[str, Any]:
        """The container's override, with the variables that neither its definition nor its override may show."""
        override = _override(self.task, state.name)
        secret = secret_variables(state.definition, self.secrets)
        given = {**environment_of(state.definition, override), **secret}
        own = {**link_variables(self.task, state.definition, running), **self.consul_variables(given, self.instance)}
        added = {**{name: value for name, value in own.items() if name not in given}, **secret}
        items = [{"name": name, "value": value} for name, value in added.items()]
        return {**override, "environment": [*(override.get("environment") or ()), *items]}

    def _write_notes(self, state: ContainerState, log: Path) -> None:
        definition = self.task.task_definition
        notes = [*not_played(definition, state.definition), *self.containers.not_played(state.definition)]
        _append(log, notes)


def log_of(lab_dir: LabDir, task: Task, state: ContainerState) -> Path:
    """The log file of one of a task's containers."""
    return lab_dir.task_log(task.log_name, task.id, "" if len(task.containers) == 1 else state.name)


def _append(log: Path, notes: list[str]) -> None:
    if notes:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            file.writelines(f"[ecsconsul] {note}\n" for note in notes)


def _override(task: Task, container: str) -> dict[str, Any]:
    overrides = task.overrides.get("containerOverrides") or ()
    return next((dict(o) for o in overrides if o.get("name") == container), {})
