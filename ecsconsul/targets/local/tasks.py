"""What the commands do with one task on this machine: run a command in it, read its output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...region.runtimes.lab_dir import DOCKER, LabDir, RegionInfo

if TYPE_CHECKING:
    from ...observe.states import Container, Task
    from ...observe.usage import Usage
    from ...region.task_output import TaskLog


def execute(ecs: Any, cluster: str, info: RegionInfo, service: str, argv: Sequence[str], task: str | None) -> int:
    """Run a command in a running task, attached to this terminal; its exit code. Raises LabError."""
    from ...region.runtimes.docker.task_command import run_in_container
    from ...region.runtimes.processes.task_command import exec_in_process
    from ..running_container import running_container

    runtime_id = running_container(ecs, cluster, service, task).runtime_id
    if info.runtime == DOCKER:
        return run_in_container(info.engine, runtime_id, argv)
    exec_in_process(int(runtime_id), argv)


def output(lab_dir: LabDir, task: str, definition: Mapping[str, Any], container: str) -> TaskLog:
    """What a container of a standalone task writes."""
    from ...region.ecs.model import log_name
    from ...region.task_output import TaskLog

    containers = len(definition["containerDefinitions"])
    name = log_name(definition["family"], lab_dir.lab)
    return TaskLog(lab_dir.task_log(name, task, container if containers > 1 else ""))


def usage(info: RegionInfo, containers: Sequence[tuple[Task, Container]], seconds: float) -> list[Usage]:
    """What running containers use. Raises LabError."""
    from .task_usage import measure

    return measure(info, containers, seconds)
