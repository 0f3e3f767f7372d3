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

from ..errors import LabError
from ..registrator.rules import Options, registrations
from .container_health import HealthCheck, HealthMonitor
from .container_start import ContainerStarter
from .ecs.container_order import next_deadline, next_step, stop_levels
from .ecs.model import DEPROVISIONING, HEALTHY, PENDING, RUNNING, STOPPED, UNHEALTHY, ContainerState, Task
from .registrators import Registrators
from .runtimes.interface import CannotStart, Containers, Ec2Instance, RunningContainer
from .runtimes.lab_dir import LabDir
from .secret_values import SecretStore

log = logging.getLogger(__name__)

# The delay between checks of a new task is a tenth of its age, so that a fast start is noticed fast.
MIN_DELAY, MAX_DELAY = 0.02, 1.0
# A service without a check is taken for passing once it is registered, which by then proves that its port is its own;
# later it is waited for this long until it is known where it listens.
TRUSTED_FOR, AWAITED_FOR = 1.0, 10.0
LEAVE_TIMEOUT = 2.0
# A caller that looked the task up just before it left the catalog may still connect, and on a busy machine it may take
# a while until the program reads its request: a server that is told to stop drops connections that it hasn't read from.
DRAIN_SECONDS = 1.0
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


@dataclass(frozen=True)
class HealthChanged:
    """A container's own check says something else than before, and why it failed."""

    container: ContainerState
    health: str
    why: str


Event = Exited | StopRequested | HealthChanged


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
    secrets: SecretStore
    drain_seconds: float = DRAIN_SECONDS
    _events: queue.Queue[Event] = field(default_factory=queue.Queue)
    _running: dict[str, RunningContainer] = field(default_factory=dict)
    _monitors: dict[str, HealthMonitor] = field(default_factory=dict)
    _requested: StopRequested | None = None
    _listed: bool = False
    _running_since: float = 0.0

    def __post_init__(self) -> None:
        self._starter = ContainerStarter(
            self.task, self.instance, self.containers, self.lab_dir, self.secrets, self.consul_variables
        )
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
        """Seconds within which the task has stopped after a request; containers that depend on others stop first."""
        timeouts = {c.name: float(c.definition.get("stopTimeout") or STOP_TIMEOUT) for c in self.task.containers}
        levels = stop_levels([state.definition for state in self.task.containers])
        stopping = sum(max(timeouts[name] for name in level) for level in levels)
        return LEAVE_TIMEOUT + self.drain_seconds + stopping + 5.0

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
            self._start_ready()
            self._handle_events()
        except CannotStart as error:
            self._give_up(str(error))

    def _give_up(self, reason: str) -> None:
        self._leave_catalog(self.task.containers, seconds=0.0)
        self._stop_containers(default_timeout=0.0)
        self._finish("TaskFailedToStart", reason)

    def _start_ready(self) -> None:
        """Start each container whose dependencies are met. Raises CannotStart if an essential one can't start."""
        while self.task.last_status == PENDING:
            step = next_step(self.task.containers, time.monotonic())
            for state, reason in step.fail:
                self._fail(state, CannotStart(reason))
            for state in step.start:
                self._start(state)
            if all(state.status != PENDING for state in self.task.containers):
                self.task.last_status, self.task.started_at = RUNNING, time.time()
                self._running_since = time.monotonic()
            self.changed()
            if not (step.start or step.fail):
                return

    def _start(self, state: ContainerState) -> None:
        try:
            running = self._starter.start(state, self._running)
        except CannotStart as error:
            self._fail(state, error)
            return
        self._running[state.name] = running
        state.bindings, state.runtime_id, state.status = running.bindings, running.runtime_id, RUNNING
        state.started_at = time.monotonic()
        threading.Thread(target=self._await_exit, args=(state, running), daemon=True).start()
        if check := HealthCheck.of(state.definition):
            self._monitor(state, check, running)

    def _fail(self, state: ContainerState, error: CannotStart) -> None:
        """A container can't start: so can't the task, if it's essential. Raises CannotStart."""
        if state.essential:
            raise error
        state.status, state.reason = STOPPED, str(error)
        self._starter.note(state, str(error))

    def _monitor(self, state: ContainerState, check: HealthCheck, running: RunningContainer) -> None:
        def report(health: str, why: str) -> None:
            self._events.put(HealthChanged(state, health, why))

        is_woken = len(self.task.containers) == 1 and bool(self._services_of(running))
        monitor = HealthMonitor(check, running.probe, report, self.task.id[:8], is_woken=is_woken)
        self._monitors[state.name] = monitor
        monitor.start()

    def _await_exit(self, state: ContainerState, running: RunningContainer) -> None:
        code = running.wait()
        state.reason = running.note
        self._events.put(Exited(state, code))

    def _handle_events(self) -> None:
        """Handle events as they come; until the task is passing, ask the Registrator in between."""
        while True:
            event = self._await_event()
            if isinstance(event, StopRequested):
                self._stop(event)
                return
            if isinstance(event, Exited) and self._handle_exit(event):
                return
            if isinstance(event, HealthChanged):
                self._record_health(event)
            if self.task.last_status == PENDING:
                self._start_ready()
            elif not (self.task.passing and self._has_settled()):
                self._check_passing(time.monotonic() - self._running_since)

    def _await_event(self) -> Event | None:
        """The next event; None when it's time to look at something that has none."""
        timeout = None
        if self.task.last_status == PENDING:
            deadline = next_deadline(self.task.containers)
            timeout = max(deadline - time.monotonic(), MIN_DELAY) if deadline else None
        elif not (self._listed and self._has_settled()):
            timeout = min(max((time.monotonic() - self._running_since) / 10, MIN_DELAY), MAX_DELAY)
        try:
            return self._events.get(timeout=timeout)
        except queue.Empty:
            return None

    def _has_settled(self) -> bool:
        return all(one.settled for one in self._running.values())

    def _look(self, age: float) -> bool:
        """Look where the containers really listen; whether they may count as passing. Raises CannotStart."""
        for state in self.task.containers:
            if state.status == RUNNING and (running := self._running[state.name]).look(age):
                state.bindings, state.reason = running.bindings, running.note
                log.info("task %s: %s", self.task.id, running.note or "its program listens where it should")
                self.changed()
        return age < TRUSTED_FOR or age > AWAITED_FOR or self._has_settled()

    def _is_seen(self, age: float) -> bool:
        """Whether it's known where fixed ports lead: who sees a task pass uses them at once. Raises CannotStart."""
        if all(one.seen for one in self.task.bindings) or age > AWAITED_FOR:
            return True
        self._look(max(age, TRUSTED_FOR))
        return all(one.seen for one in self.task.bindings)

    def _check_passing(self, age: float) -> None:
        """See whether Consul lists the task as passing; then its containers' own checks decide. Raises CannotStart."""
        if not self._look(age) or self.task.passing:
            return
        try:
            self._listed = self._listed or self.registrators.is_passing(self.instance, self._expected())
        except LabError as error:
            log.warning("task %s is not registered yet: %s", self.task.id, error)
            return
        if not self._listed or not self._is_seen(age):
            return
        waiting = [state for state in self.task.containers if state.is_checked and state.health != HEALTHY]
        for state in waiting:
            self._monitors[state.name].wake()
        if not waiting:
            self.task.passing = True
            self.changed()

    def _record_health(self, event: HealthChanged) -> None:
        state = event.container
        if state.status != RUNNING:
            return
        if event.health == UNHEALTHY:
            self._starter.note(state, f"the health check failed: {event.why}")
            if state.is_checked:
                self.task.passing = False
        # last: who sees the task unhealthy doesn't see it passing
        state.health = event.health
        self.changed()

    def _expected(self) -> dict[str, set[str]]:
        """The IDs of the services that each running container must have in Consul, by container id."""
        running = [self._running[state.name] for state in self.task.containers if state.status == RUNNING]
        services = {one.snapshot.id: self._services_of(one) for one in running}
        return {container: ids for container, ids in services.items() if ids}

    def _services_of(self, running: RunningContainer) -> set[str]:
        options = Options(hostname=self.instance.instance_id, host_address=self.instance.host_address)
        return {found.id for found in registrations(running.snapshot, options).registrations}

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
        if monitor := self._monitors.get(event.container.name):
            monitor.close()

    def _stop_containers(self, default_timeout: float, *, at_once: bool = False) -> None:
        """Stop all containers, those that depend on others first."""
        for monitor in self._monitors.values():
            monitor.close()
        known = {state.name: state for state in self.task.containers}
        for level in stop_levels([state.definition for state in self.task.containers]):
            alive = [known[name] for name in level if known[name].status == RUNNING]
            at_once = self._stop_level(alive, default_timeout, at_once=at_once)

    def _stop_level(self, alive: list[ContainerState], default_timeout: float, *, at_once: bool) -> bool:
        """SIGTERM to all; SIGKILL to each that still runs after its stopTimeout, or as soon as there is a hurry.

        Returns whether there is a hurry.
        """
        requested = time.monotonic()
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
                at_once, deadlines = True, dict.fromkeys(deadlines, time.monotonic())
            elif event is None:
                self._kill_overdue(deadlines, killed)
        return at_once

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
