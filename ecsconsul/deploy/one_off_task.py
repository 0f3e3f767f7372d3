"""Runs a one-off task: another command in a container of a service's task definition, once.

The task belongs to no service, and a variable keeps the Registrator from registering its ports, so it gets no traffic.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..aws_tags import as_items
from ..errors import LabError, WrongUsage
from ..targets.client_errors import client_error, is_throttled
from ..targets.commands import CommandTarget, TaskOutput

Json = dict[str, Any]

STARTED_BY = "ecsconsul"
# how long a task may take until its containers run, in seconds: its image may be large, and an instance slow
START_TIMEOUT = 600.0
# how long a task may take to stop, in seconds: longer than Docker waits before SIGKILL, unless stopTimeout is raised
STOP_TIMEOUT = 60.0
_STARTING = ("PROVISIONING", "PENDING", "ACTIVATING")
_HINTS = {
    "CannotPullContainer": "`ecsconsul up` publishes the service's image",
    "CannotStartContainer": "the command must exist in the image: `ecsconsul exec` shows what a running task has",
    "CannotCreateContainer": "the command must exist in the image: `ecsconsul exec` shows what a running task has",
    "ResourceInitialization": "a secret or a log group that the task definition names can't be read",
    "OutOfMemory": "give the service more `memory`",
}
_PLACES = {
    "RESOURCE:MEMORY": "stop other tasks with `ecsconsul scale`, or increase `instances`",
    "RESOURCE:CPU": "stop other tasks with `ecsconsul scale`, or increase `instances`",
    "RESOURCE:PORTS": "a one-off task of a service with a host_port needs an instance on which the port is free: "
    "increase `instances`, or run the command in a running task with `ecsconsul exec`",
}


@dataclass(frozen=True)
class OneOff:
    """What to run: `command` is empty for the container's own, `container` is None for the service's main one."""

    service: str
    command: tuple[str, ...] = ()
    container: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StartedTask:
    """A task that was placed, and the container whose command and output count."""

    arn: str
    definition: Mapping[str, Any]
    container: str
    # None if it can't be read
    output: TaskOutput | None

    @property
    def id(self) -> str:
        """The last part of its ARN."""
        return self.arn.rpartition("/")[2]

    @property
    def revision(self) -> str:
        """FAMILY:REVISION of its task definition."""
        return str(self.definition["taskDefinitionArn"]).rpartition("/")[2]


@dataclass(frozen=True)
class Ended:
    """How a task ended: its container's exit code, None if that never ran, and why the task stopped."""

    exit_code: int | None
    reason: str


class OneOffRun:
    """Starts, follows and stops one-off tasks of a lab. `pause` waits between two looks, in seconds."""

    def __init__(self, cluster: str, target: CommandTarget, pause: Callable[[float], object] | None = None) -> None:
        self._cluster = cluster
        self._target = target
        self._ecs = target.client("ecs")
        self._pause = pause or threading.Event().wait

    def start(self, request: OneOff) -> StartedTask:
        """Start the task. Raises LabError when the service doesn't exist or no instance takes the task."""
        service = self._service(request.service)
        found = self._ecs.describe_task_definition(taskDefinition=service["taskDefinition"])
        definition = found["taskDefinition"]
        container = main_container(definition, request.service, request.container)
        try:
            answer = self._ecs.run_task(
                cluster=self._cluster,
                taskDefinition=definition["taskDefinitionArn"],
                count=1,
                startedBy=STARTED_BY,
                overrides={"containerOverrides": overrides(definition, container, request)},
                **_runs_on(service),
            )
        except client_error() as error:
            raise LabError(f"ECS refuses to run a task of {request.service}", why=str(error)) from error
        if answer["failures"]:
            raise _not_placed(request.service, answer["failures"][0])
        arn = str(answer["tasks"][0]["taskArn"])
        output = self._target.task_output(arn.rpartition("/")[2], definition, container)
        return StartedTask(arn, definition, container, output)

    def follow(self, task: StartedTask, show: Callable[[str], None], timeout: float) -> Ended:
        """Show each line that the container writes until the task has stopped.

        Raises LabError, and stops the task, when its containers haven't been started after START_TIMEOUT or it still
        runs after `timeout` seconds.
        """
        output, begun = task.output, time.monotonic()
        while True:
            state = self._describe(task)
            if state and state["lastStatus"] == "STOPPED":
                _show_all(output, show)
                self._show_late(output, show)
                return self._ended(task, state)
            # one read in each turn: a task that never stops writing must not keep this from looking at it
            lines = output.read() if output else []
            _show_each(lines, show)
            passed = time.monotonic() - begun
            if passed > timeout:
                raise self._give_up(task, f"The task still runs after {timeout:.0f} s", "--timeout allows more")
            if state and passed > START_TIMEOUT and state["lastStatus"] in _STARTING:
                what = f"The task hasn't started within {START_TIMEOUT:.0f} s"
                raise self._give_up(task, what, "the service's events (`ecsconsul status`) may say more")
            if not lines:
                self._pause(self._target.polling.delay)

    def stop(self, task: StartedTask, reason: str) -> None:
        """Request that the task stops; fine if it has."""
        self._ecs.stop_task(cluster=self._cluster, task=task.arn, reason=reason)

    def _service(self, name: str) -> Json:
        try:
            found = self._ecs.describe_services(cluster=self._cluster, services=[name])["services"]
        except self._ecs.exceptions.ClusterNotFoundException:
            found = []
        active = [one for one in found if one["status"] == "ACTIVE"]
        if not active:
            where, why = f"lab {self._cluster}", "a one-off task runs the task definition of its service"
            raise LabError(f"There is no service {name} in ECS", where=where, why=why, hint="`ecsconsul up` creates it")
        return dict(active[0])

    def _describe(self, task: StartedTask) -> Json | None:
        """The task; None if ECS doesn't show it yet, or throttles the request."""
        try:
            found = self._ecs.describe_tasks(cluster=self._cluster, tasks=[task.arn])["tasks"]
        except client_error() as error:
            if not is_throttled(error):
                raise
            return None
        return found[0] if found else None

    def _show_late(self, output: TaskOutput | None, show: Callable[[str], None]) -> None:
        """Show what arrives after the task has stopped."""
        end = time.monotonic() + (output.late_seconds if output else 0.0)
        while output and time.monotonic() < end:
            self._pause(self._target.polling.delay)
            _show_all(output, show)
        if output and (rest := output.rest()):
            show(rest)

    def _ended(self, task: StartedTask, state: Mapping[str, Any]) -> Ended:
        container = next(one for one in state["containers"] if one["name"] == task.container)
        reasons = [state.get("stoppedReason", ""), container.get("reason", "")]
        if state.get("stopCode") == "EssentialContainerExited":
            # the container exited by itself, and its exit code says it all
            del reasons[0]
        reason = ": ".join(dict.fromkeys(filter(None, reasons)))
        if container.get("exitCode") is None and state.get("stopCode") != "UserInitiated":
            hint = next((hint for kind, hint in _HINTS.items() if kind in reason), "`ecsconsul logs` may say more")
            raise LabError("The task didn't start", where=f"task {task.id}", why=reason or "ECS gives none", hint=hint)
        return Ended(container.get("exitCode"), reason)

    def _give_up(self, task: StartedTask, what: str, hint: str) -> LabError:
        self.stop(task, what)
        return LabError(what, where=f"task {task.id}", why="it has been stopped", hint=hint)


def main_container(definition: Mapping[str, Any], service: str, chosen: str | None) -> str:
    """The container that runs the command: the chosen one, else the one named like its service, else the first.

    Raises WrongUsage when there is no such container.
    """
    names = [str(one["name"]) for one in definition["containerDefinitions"]]
    if chosen is None:
        return service if service in names else names[0]
    if chosen not in names:
        raise WrongUsage(f"The task of {service} has no container {chosen}", hint=f"it has: {', '.join(names)}")
    return chosen


def overrides(definition: Mapping[str, Any], container: str, request: OneOff) -> list[Json]:
    """RunTask's containerOverrides: the command and variables, and none of the ports in Consul."""
    found = []
    for one in definition["containerDefinitions"]:
        ports = [mapping["containerPort"] for mapping in one.get("portMappings") or ()]
        environment = {"SERVICE_IGNORE": "true", **{f"SERVICE_{port}_IGNORE": "true" for port in ports}}
        override: Json = {"name": one["name"]}
        if one["name"] == container:
            environment |= request.environment
            override |= {"command": list(request.command)} if request.command else {}
        found.append({**override, "environment": as_items(environment, key="name")})
    return found


def _runs_on(service: Mapping[str, Any]) -> Json:
    """Where the service's own tasks run."""
    keys = ("capacityProviderStrategy", "placementConstraints", "networkConfiguration")
    found = {key: service[key] for key in keys if service.get(key)}
    return found if "capacityProviderStrategy" in found else {**found, "launchType": service.get("launchType", "EC2")}


def _not_placed(service: str, failure: Mapping[str, str]) -> LabError:
    reason, detail = failure.get("reason", ""), failure.get("detail", "")
    why = ": ".join(filter(None, (reason, detail)))
    return LabError(f"ECS found no place for a task of {service}", why=why, hint=_PLACES.get(reason, ""))


def _show_all(output: TaskOutput | None, show: Callable[[str], None]) -> None:
    """Show everything that a stopped task has left; each read is bounded."""
    while output and (lines := output.read()):
        _show_each(lines, show)


def _show_each(lines: Sequence[str], show: Callable[[str], None]) -> None:
    for line in lines:
        show(line)
