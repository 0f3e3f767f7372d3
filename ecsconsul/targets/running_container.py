"""Finds the container of a service in which `exec` runs a command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import LabError, WrongUsage


@dataclass(frozen=True)
class Running:
    """A running container."""

    task_arn: str
    container: str
    runtime_id: str
    # the ARN of its container instance, and whether the task was started with ECS Exec enabled
    instance_arn: str = ""
    takes_commands: bool = False

    @property
    def task_id(self) -> str:
        """The last part of the task's ARN."""
        return self.task_arn.rpartition("/")[2]


def running_container(ecs: Any, cluster: str, service: str, task: str | None) -> Running:
    """The main container, or else the first running one, of the newest task or of that whose id begins with `task`.

    Raises LabError when no task is running, WrongUsage when the id matches none or several.
    """
    try:
        arns = ecs.list_tasks(cluster=cluster, serviceName=service, desiredStatus="RUNNING")["taskArns"]
    except (ecs.exceptions.ClusterNotFoundException, ecs.exceptions.ServiceNotFoundException):
        arns = []
    found = ecs.describe_tasks(cluster=cluster, tasks=arns)["tasks"] if arns else []
    running = sorted((t for t in found if t["lastStatus"] == "RUNNING"), key=lambda t: t["createdAt"])
    if not running:
        raise LabError(f"No task of {service} is running", where=f"lab {cluster}", hint="`ecsconsul status` shows why")
    if task is not None:
        running = [_select(running, task)]
    newest = running[-1]
    containers = [c for c in newest["containers"] if c["lastStatus"] == "RUNNING"]
    container = next((c for c in containers if c["name"] == service), containers[0])
    return Running(
        str(newest["taskArn"]),
        str(container["name"]),
        str(container["runtimeId"]),
        str(newest.get("containerInstanceArn") or ""),
        bool(newest.get("enableExecuteCommand")),
    )


def _select(running: list[Any], beginning: str) -> Any:
    matching = [one for one in running if _id(one).startswith(beginning)]
    if len(matching) == 1:
        return matching[0]
    known = ", ".join(_id(one)[:8] for one in running)
    what = "More than one task has" if matching else "No running task has"
    raise WrongUsage(f"{what} an id that begins with {beginning}", hint=f"running tasks: {known}")


def _id(task: Any) -> str:
    return str(task["taskArn"]).rpartition("/")[2]
