"""Supervises one task from start to stop: starts its containers, waits until Consul sees them passing, stops them.

Callers never notice a deployment because of the order: a task counts as healthy only once Consul's servers list it as
passing, and it has left the catalog before it receives SIGTERM.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import LabError
from ..registrator.rules import Options, registrations
from .ecs.model import DEPROVISIONING, RUNNING, STOPPED, ContainerState, Task, environment_of
from .registrators import Registrators
from .runtimes.interface import CannotStart, Containers, Ec2Instance, RunningContainer
from .runtimes.lab_dir import LabDir

log = logging.getLogger(__name__)

# The delay between checks of a new task is a tenth of its age, so that a fast start is noticed fast.
MIN_DELAY, MAX_DELAY = 0.02, 1.0
# A service without a check is taken for passing once it is registered, which by then proves that its port is its own;
# later it is waited for this long until it is known where it listens.
TRUSTED_FOR, AWAITED_FOR = 1.0, 10.0
LEAVE_TIMEOUT = 2.0
# A caller that looked the task up just before it left the catalog may still connect.
DRAIN_SECONDS = 0.5
# The default of ECS_CONTAINER_STOP_TIMEOUT
STOP_TIMEOUT = 30.0


@dataclass(frozen=True)
class Exited:
    """A container exited."""

    container: ContainerState
    code: int


@dataclass(frozen=True)
class StopRequested:
    """The task must stop; `hurry` skips draining, because its instance or the whole lab is going away."""

    hurry: bool = False


Event = Exited | StopRequested


@dataclass
class TaskSupervisor:
    """Runs one task in a thread of its own. `changed` is called, without any lock, on each change of its state.

    `consul_variables` gives the variables with which a container reports to Consul; it raises CannotStart.
    """

    task: Task
    instance: Ec2Instance
    containers: Containers
    registrators: Registrators
    lab_dir: LabDir
    changed: Callable[[], None]
    consul_variables: Callable[[Mapping[str, str], Ec2Instance], dict[str, str]]
    drain_seconds: float = DRAIN_SECONDS
    _events: queue.Queue[Event] = field(default_factory=queue.Queue)
    _running: dict[str, RunningContainer] = field(default_factory=dict)
    _requested: StopRequested | None = None

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name=f"task-{self.task.id[:8]}", daemon=True)

    def start(self) -> None:
        """Start the task's thread."""
        self._thread.start()

    def request_stop(self, *, hurry: bool) -> None:
        """Request that the task stops; a later request with `hurry` makes it stop faster."""
        if self._requested is None or (hurry and not self._requested.hurry):
            self._requested = StopRequested(hurry)
            self._events.put(self._requested)

    @property
    def max_stop_seconds(self) -> float:
        """Seconds within which the task has stopped after a request."""
        timeouts = [float(state.definition.get("stopTimeout") or STOP_TIMEOUT) for state in self.task.containers]
        return LEAVE_TIMEOUT + self.drain_seconds + max(timeouts) + 5.0

    def join(self, timeout: float) -> None:
        """Wait until the task has stopped."""
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            self._supervise()
        finally:
            # After an unexpected error, which the log shows, the task must not look as if it still ran.
            if self.task.last_status != STOPPED:
                self._give_up("InternalError: the task could not be run; see the region's log")

    def _supervise(self) -> None:
        try:
            self._start_containers()
        except CannotStart as error:
            self._give_up(str(error))
            return
        self._handle_events()

    def _give_up(self, reason: str) -> None:
        self._stop_containers(default_timeout=0.0)
        self._finish("TaskFailedToStart", reason)

    def _start_containers(self) -> None:
        for state in self.task.containers:
            override = self._override(state)
            running = self.containers.start(
                self.task, state.definition, self.instance, log_of(self.lab_dir, self.task, state), override
            )
            self._running[state.name] = running
            state.bindings, state.runtime_id, state.status = running.bindings, running.runtime_id, RUNNING
            threading.Thread(target=self._await_exit, args=(state, running), daemon=True).start()
        self.task.last_status, self.task.started_at = RUNNING, time.time()
        self.changed()

    def _override(self, state: ContainerState) -> dict[str, Any]:
        """The container's override, with variables for Consul that the container doesn't set itself."""
        override = _override(self.task, state.name)
        given = environment_of(state.definition, override)
        own = self.consul_variables(given, self.instance)
        added = [{"name": name, "value": value} for name, value in own.items() if name not in given]
        return {**override, "environment": [*(override.get("environment") or ()), *added]}

    def _await_exit(self, state: ContainerState, running: RunningContainer) -> None:
        code = running.wait()
        state.reason = running.note
        self._events.put(Exited(state, code))

    def _handle_events(self) -> None:
        """Handle events as they come; until the task is passing, ask the Registrator in between."""
        started = time.monotonic()
        while True:
            delay = min(max((time.monotonic() - started) / 10, MIN_DELAY), MAX_DELAY)
            try:
                event = self._events.get(timeout=None if self._has_settled() else delay)
            except queue.Empty:
                try:
                    self._check_passing(time.monotonic() - started)
                except CannotStart as error:
                    self._leave_catalog(self.task.containers, seconds=0.0)
                    self._give_up(str(error))
                    return
                continue
            if isinstance(event, StopRequested):
                self._stop(event)
                return
            if self._handle_exit(event):
                return

    def _has_settled(self) -> bool:
        return self.task.passing and all(one.settled for one in self._running.values())

    def _look(self, age: float) -> bool:
        """Look where the containers really listen; whether they may count as passing. Raises CannotStart."""
        for state in self.task.containers:
            running = self._running[state.name]
            if state.status == RUNNING and running.look(age):
                state.bindings, state.reason = running.bindings, running.note
                log.info("task %s: %s", self.task.id, running.note)
                self.changed()
        return age < TRUSTED_FOR or age > AWAITED_FOR or all(one.settled for one in self._running.values())

    def _check_passing(self, age: float) -> None:
        """Raises CannotStart."""
        if not self._look(age) or self.task.passing:
            return
        try:
            passing = self.registrators.is_passing(self.instance, self._expected())
        except LabError as error:
            log.warning("task %s is not registered yet: %s", self.task.id, error)
            return
        if passing:
            self.task.passing = True
            self.changed()

    def _expected(self) -> dict[str, set[str]]:
        """The IDs of the services that each running container must have in Consul, by container id."""
        options = Options(hostname=self.instance.instance_id, host_address=self.instance.host_address)
        running = [self._running[state.name].snapshot for state in self.task.containers if state.status == RUNNING]
        services = {one.id: {found.id for found in registrations(one, options).registrations} for one in running}
        return {container: ids for container, ids in services.items() if ids}

    def _handle_exit(self, event: Exited) -> bool:
        """Record an exit; True when it stops the task."""
        self._record_exit(event)
        if not event.container.essential:
            self._leave_catalog([event.container], seconds=0.0)
            self.changed()
            return False
        self.task.passing = False
        # The scheduler may replace the task now, however long the rest of it takes to stop.
        self._mark_stopping("EssentialContainerExited", "Essential container in task exited")
        self._leave_catalog(self.task.containers, seconds=0.0)
        self._stop_containers(STOP_TIMEOUT)
        self._finish("EssentialContainerExited", "Essential container in task exited")
        return True

    def _stop(self, requested: StopRequested) -> None:
        self.task.passing = False
        self.task.last_status = DEPROVISIONING
        self.changed()
        if not requested.hurry:
            self._leave_catalog(self.task.containers, seconds=LEAVE_TIMEOUT)
        self._stop_containers(STOP_TIMEOUT, at_once=not requested.hurry and self._drain())
        self._finish(self.task.stop_code, self.task.stopped_reason)

    def _drain(self) -> bool:
        """Wait for requests in flight, unless all containers exit first; True when a hurry interrupts it."""
        end = time.monotonic() + self.drain_seconds
        while (left := end - time.monotonic()) > 0 and any(c.status == RUNNING for c in self.task.containers):
            try:
                event = self._events.get(timeout=left)
            except queue.Empty:
                return False
            if isinstance(event, StopRequested) and event.hurry:
                return True
            if isinstance(event, Exited):
                self._record_exit(event)
        return False

    def _record_exit(self, event: Exited) -> None:
        event.container.status, event.container.exit_code = STOPPED, event.code

    def _stop_containers(self, default_timeout: float, *, at_once: bool = False) -> None:
        """SIGTERM to all; SIGKILL to each that still runs after its stopTimeout, or as soon as there is a hurry."""
        requested = time.monotonic()
        alive = [state for state in self.task.containers if state.status == RUNNING]
        deadlines = {s.name: requested + float(s.definition.get("stopTimeout") or default_timeout) for s in alive}
        if at_once:
            deadlines = dict.fromkeys(deadlines, requested)
        for name in deadlines:
            self._running[name].terminate()
        killed: set[str] = set()
        while deadlines:
            event = self._next_event(min(deadlines.values()))
            if isinstance(event, Exited):
                self._record_exit(event)
                deadlines.pop(event.container.name, None)
            elif isinstance(event, StopRequested) and event.hurry:
                deadlines = dict.fromkeys(deadlines, time.monotonic())
            elif event is None:
                self._kill_overdue(deadlines, killed)

    def _next_event(self, deadline: float) -> Event | None:
        try:
            return self._events.get(timeout=max(deadline - time.monotonic(), 0.01))
        except queue.Empty:
            return None

    def _kill_overdue(self, deadlines: dict[str, float], killed: set[str]) -> None:
        now = time.monotonic()
        for name in [name for name, deadline in deadlines.items() if deadline <= now]:
            if name in killed:
                log.error("task %s: container %s survives SIGKILL", self.task.id, name)
                del deadlines[name]
            else:
                self._running[name].kill()
                killed.add(name)
                # A killed process exits within moments.
                deadlines[name] = now + LEAVE_TIMEOUT

    def _mark_stopping(self, code: str, reason: str) -> None:
        """Record why the task stops, unless that is known already."""
        if self.task.should_run:
            self.task.stop_code, self.task.stopped_reason = code, reason
            self.task.stopping_at = time.time()
            self.task.desired_status = STOPPED
            self.changed()

    def _finish(self, code: str, reason: str) -> None:
        self._mark_stopping(code, reason)
        try:
            self.containers.clean_up(self.task.id, self.instance, list(self._running.values()))
        finally:
            codes = {state.name: state.exit_code for state in self.task.containers}
            log.info("task %s (%s) has stopped: %s; exit codes %s", self.task.id, self.task.group, reason, codes)
            for state in self.task.containers:
                state.status = STOPPED
            self.task.stopped_at = time.time()
            self.task.last_status = STOPPED
            self.changed()

    def _leave_catalog(self, states: Iterable[ContainerState], *, seconds: float) -> None:
        ids = [self._running[state.name].snapshot.id for state in states if state.name in self._running]
        try:
            self.registrators.leave(self.instance, ids, seconds)
        except LabError as error:
            # The Registrator deregisters it as soon as the agent is back.
            log.warning("task %s has not left the catalog yet: %s", self.task.id, error)


def log_of(lab_dir: LabDir, task: Task, state: ContainerState) -> Path:
    """The log file of one of a task's containers."""
    return lab_dir.task_log(task.log_name, task.id, "" if len(task.containers) == 1 else state.name)


def _override(task: Task, container: str) -> dict[str, Any]:
    overrides = task.overrides.get("containerOverrides") or ()
    return next((dict(o) for o in overrides if o.get("name") == container), {})
