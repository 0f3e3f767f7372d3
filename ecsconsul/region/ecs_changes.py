"""Lets clients follow the region's ECS: its tasks and services as `observe.states` has them, and a wait for changes."""

from __future__ import annotations

import threading

from ..observe.states import Container, EcsState, ServiceEvent
from ..observe.states import Service as SeenService
from ..observe.states import Task as SeenTask
from .control_loop import ControlLoop
from .ecs.model import INACTIVE, RUNNING, ContainerState, Service, Task
from .ecs.state import Ecs

# the longest that one question may wait, far below the time that a client waits for an answer
MOST_SECONDS = 20.0
# of a service's hundred
MOST_EVENTS = 20


class EcsChanges:
    """Answers with the state once it is another than the one that the asker knows."""

    def __init__(self, ecs: Ecs, control_loop: ControlLoop) -> None:
        self._ecs = ecs
        self._passed: threading.Condition = control_loop.passed
        self._loop = control_loop
        self._seen = -1
        self._state = EcsState(0)
        self._closed = False

    def state(self, since: int, wait: float) -> tuple[EcsState, float]:
        """The state once its version isn't `since`, or after `wait` seconds; and 0, since it can be asked again now."""
        with self._passed:
            self._passed.wait_for(lambda: self._closed or self._now().version != since, min(wait, MOST_SECONDS))
            return self._now(), 0.0

    def close(self) -> None:
        """Let nobody wait any longer."""
        with self._passed:
            self._closed = True
            self._passed.notify_all()

    def _now(self) -> EcsState:
        """The state now; read once for each pass of the control loop, however many wait."""
        if self._seen != self._loop.passes:
            self._seen = self._loop.passes
            found = read(self._ecs, self._state.version + 1)
            if (found.tasks, found.services) != (self._state.tasks, self._state.services):
                self._state = found
        return self._state


def read(ecs: Ecs, version: int) -> EcsState:
    """All tasks and services. Hold the lock of `ecs`."""
    tasks = ecs.tasks()
    running: dict[tuple[str, str], int] = {}
    for task in tasks:
        if task.service and task.last_status == RUNNING:
            running[task.cluster, task.service] = running.get((task.cluster, task.service), 0) + 1
    services = [one for one in ecs.services() if one.status != INACTIVE]
    return EcsState(
        version,
        tuple(map(_task, tasks)),
        tuple(_service(one, running.get((one.cluster, one.name), 0)) for one in services),
        own_clock=True,
    )


def _task(task: Task) -> SeenTask:
    definition = task.task_definition
    return SeenTask(
        id=task.id,
        service=task.service or "",
        node=task.instance_id,
        status=task.last_status,
        desired=task.desired_status,
        revision=f"{definition['family']}:{definition['revision']}",
        containers=tuple(map(_container, task.containers)),
        created=task.created_at,
        started=task.started_at,
        stopping=task.stopping_at,
        stopped=task.stopped_at,
        stop_code=task.stop_code,
        reason=task.stopped_reason,
    )


def _container(one: ContainerState) -> Container:
    return Container(
        name=one.name,
        status=one.status,
        ports=tuple(binding.host_port for binding in one.bindings),
        exit_code=one.exit_code,
        reason=one.reason,
        runtime_id=one.runtime_id,
        cpu=int(one.definition.get("cpu") or 0),
        memory=int(one.definition.get("memory") or 0),
    )


def _service(one: Service, running: int) -> SeenService:
    definition = one.primary.task_definition
    events = [ServiceEvent(event["id"], event["createdAt"], event["message"]) for event in one.events]
    return SeenService(
        name=one.name,
        desired=one.desired,
        running=running,
        revision=f"{definition['family']}:{definition['revision']}",
        rollout=one.primary.rollout_state,
        events=tuple(events[:MOST_EVENTS]),
    )
