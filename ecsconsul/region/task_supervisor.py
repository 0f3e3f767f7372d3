"""One task from its start to its end: containers started, looked at, registered in Consul, watched, and ended.

The order that nobody may feel: a task enters the catalog as passing as soon as it answers, and has left it before
it is asked to stop.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import LabError, Unreachable
from ..registrator.rules import Container, Options, PortBinding, Registration, registrations
from .ecs.model import DEPROVISIONING, RUNNING, STOPPED, ContainerState, Task
from .instances import Ec2Instance
from .runtimes.lab_dir import LabDir
from .runtimes.processes.containers import CannotStart, ContainerRunner, RunningContainer

log = logging.getLogger(__name__)

# Between two first looks: a tenth of the task's age, so that what starts fast is seen fast.
SHORTEST_PACE, LONGEST_PACE = 0.02, 1.0
# Between two questions whether Consul still knows the task, as Registrator asks it.
RECALL_PACE = 5.0
LEAVE_WAIT = 2.0
# Whoever looked the task up just before it left the catalog may still call it.
DRAIN_SECONDS = 0.5
# ECS_CONTAINER_STOP_TIMEOUT's default
STOP_TIMEOUT = 30.0


@dataclass(frozen=True)
class Exited:
    """A container's process ended."""

    container: ContainerState
    code: int


@dataclass(frozen=True)
class StopAsked:
    """The task must end; `hurry` leaves out the farewell (its machine is gone, or the lab goes down)."""

    hurry: bool = False


@dataclass(frozen=True)
class AgentBack:
    """The machine's Consul agent was started anew; what it remembers may not be what it was told last."""


Event = Exited | StopAsked | AgentBack


@dataclass
class TaskSupervisor:
    """Runs one task in a thread of its own. `changed` is called, without any lock, whenever the task's state is new."""

    task: Task
    machine: Ec2Instance
    runtime: ContainerRunner
    home: LabDir
    changed: Callable[[], None]
    _events: queue.Queue[Event] = field(default_factory=queue.Queue)
    _running: dict[str, RunningContainer] = field(default_factory=dict)
    _asked_to_stop: bool = False

    def __post_init__(self) -> None:
        self._registration = self.runtime.registration(self.task, self.machine)
        self._thread = threading.Thread(target=self._run, name=f"task-{self.task.id[:8]}", daemon=True)

    def begin(self) -> None:
        """Start the task's thread."""
        self._thread.start()

    def tell(self, event: Event) -> None:
        """Let the task know of something."""
        self._events.put(event)

    def ask_to_stop(self, *, hurry: bool) -> None:
        """Ask for the end, once."""
        if not self._asked_to_stop:
            self._asked_to_stop = True
            self.tell(StopAsked(hurry))

    @property
    def longest_stop(self) -> float:
        """Seconds within which the task has ended after it was asked to."""
        timeouts = [float(state.definition.get("stopTimeout") or STOP_TIMEOUT) for state in self.task.containers]
        return LEAVE_WAIT + DRAIN_SECONDS + max(timeouts) + 5.0

    @property
    def service_ids(self) -> tuple[str, ...]:
        """The ids under which Consul knows this task."""
        return tuple(registration.id for registration, _ in self._registrations())

    def join(self, timeout: float) -> None:
        """Wait for the task's end."""
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            self._live()
        finally:
            # a fault of ours is in the region's log; the task must not seem to run on without anyone to run it
            if self.task.last_status != STOPPED:
                self._give_up("InternalError: the task could not be run; the region's log tells why")

    def _live(self) -> None:
        try:
            self._start_containers()
        except CannotStart as error:
            self._give_up(str(error))
            return
        self._watch()

    def _give_up(self, reason: str) -> None:
        self._stop_containers(default_timeout=0.0)
        self._finish("TaskFailedToStart", reason)

    def _start_containers(self) -> None:
        for state in self.task.containers:
            override = _override(self.task, state.name)
            running = self.runtime.start(self.task, state.definition, self.machine, self._log(state), override)
            self._running[state.name] = running
            state.bindings, state.runtime_id, state.status = running.bindings, running.runtime_id, RUNNING
            threading.Thread(target=self._await_exit, args=(state, running), daemon=True).start()
        self.task.last_status, self.task.started_at = RUNNING, time.time()
        self.changed()

    def _await_exit(self, state: ContainerState, running: RunningContainer) -> None:
        self._events.put(Exited(state, running.wait()))

    def _watch(self) -> None:
        """Read events as they come; look at the task in between until it is seen passing, and then at its entry."""
        looking, begun = True, time.monotonic()
        while True:
            pace = min(max((time.monotonic() - begun) / 10, SHORTEST_PACE), LONGEST_PACE)
            try:
                event = self._events.get(timeout=pace if looking else RECALL_PACE)
            except queue.Empty:
                looking, begun = (not self._look(), begun) if looking else (self._is_lost(), time.monotonic())
                continue
            if isinstance(event, AgentBack):
                self._registration.agent_is_back()
                looking, begun = True, time.monotonic()
            elif isinstance(event, StopAsked):
                self._end(event)
                return
            elif self._exited(event):
                return

    def _exited(self, event: Exited) -> bool:
        """Note an exit; True when it was the task's end."""
        self._note_exit(event)
        if not event.container.essential:
            self._leave_catalog([event.container], wait=False)
            self.changed()
            return False
        self.task.passing = False
        # the scheduler may replace it at once, however long the rest of it takes to end
        self._decide_end("EssentialContainerExited", "Essential container in task exited")
        self._leave_catalog(self.task.containers, wait=False)
        self._stop_containers(STOP_TIMEOUT)
        self._finish("EssentialContainerExited", "Essential container in task exited")
        return True

    def _end(self, asked: StopAsked) -> None:
        self.task.passing = False
        self.task.last_status = DEPROVISIONING
        self.changed()
        if not asked.hurry:
            self._leave_catalog(self.task.containers, wait=True)
        self._stop_containers(STOP_TIMEOUT, at_once=not asked.hurry and self._hurried_while_it_drains())
        self._finish(self.task.stop_code, self.task.stopped_reason)

    def _hurried_while_it_drains(self) -> bool:
        """Let calls that were already on their way arrive; over at once when the containers end by themselves."""
        end = time.monotonic() + DRAIN_SECONDS
        while (left := end - time.monotonic()) > 0 and any(c.status == RUNNING for c in self.task.containers):
            try:
                event = self._events.get(timeout=left)
            except queue.Empty:
                return False
            if isinstance(event, StopAsked) and event.hurry:
                return True
            if isinstance(event, Exited):
                self._note_exit(event)
        return False

    def _note_exit(self, event: Exited) -> None:
        event.container.status, event.container.exit_code = STOPPED, event.code

    def _stop_containers(self, default_timeout: float, *, at_once: bool = False) -> None:
        """SIGTERM to all, SIGKILL to each that is still there after its stopTimeout, or as soon as there is a hurry."""
        asked = time.monotonic()
        alive = [state for state in self.task.containers if state.status == RUNNING]
        deadlines = {s.name: asked + float(s.definition.get("stopTimeout") or default_timeout) for s in alive}
        if at_once:
            deadlines = dict.fromkeys(deadlines, asked)
        for name in deadlines:
            self._running[name].terminate()
        killed: set[str] = set()
        while deadlines:
            event = self._next_event(min(deadlines.values()))
            if isinstance(event, Exited):
                self._note_exit(event)
                deadlines.pop(event.container.name, None)
            elif isinstance(event, StopAsked) and event.hurry:
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
                log.error("task %s: container %s does not end", self.task.id, name)
                del deadlines[name]
            else:
                self._running[name].kill()
                killed.add(name)
                # a killed process cannot stay; its end is only a moment away
                deadlines[name] = now + LEAVE_WAIT

    def _decide_end(self, code: str, reason: str) -> None:
        """The task is to end for this reason, unless it had one already."""
        if self.task.wanted:
            self.task.stop_code, self.task.stopped_reason = code, reason
            self.task.stopping_at = time.time()
            self.task.desired_status = STOPPED
            self.changed()

    def _finish(self, code: str, reason: str) -> None:
        self._decide_end(code, reason)
        bindings = tuple(b for running in self._running.values() for b in running.bindings)
        try:
            self.runtime.clean_up(self.task.id, self.machine, bindings)
        finally:
            for state in self.task.containers:
                state.status = STOPPED
            self.task.stopped_at = time.time()
            self.task.last_status = STOPPED
            self.changed()

    # Consul

    def _look(self) -> bool:
        """Look at each service; register what was seen. True when all are passing in the catalog."""
        try:
            passing = self._registration.enter(self._registrations())
        except Unreachable as error:
            log.warning("task %s is not registered yet: %s", self.task.id, error)
            return False
        except LabError as error:
            log.error("task %s cannot be registered: %s", self.task.id, error)
            return False
        if passing and not self.task.passing:
            self.task.passing = True
            self.changed()
        return passing

    def _is_lost(self) -> bool:
        """Whether Consul does not know the task any more, and it must enter again."""
        try:
            return self._registration.has_lost()
        except LabError as error:
            # an agent that is away is told of its tasks when it is back
            log.info("task %s: whether Consul knows it is not known: %s", self.task.id, error)
            return False

    def _leave_catalog(self, states: Iterable[ContainerState], *, wait: bool) -> None:
        try:
            self._registration.leave(states, LEAVE_WAIT if wait else 0.0)
        except LabError as error:
            # an agent that is away takes its services with it, and is told again when it is back
            log.warning("task %s could not leave the catalog: %s", self.task.id, error)

    def _registrations(self) -> list[tuple[Registration, ContainerState]]:
        """The services of the containers that run."""
        running = [state for state in self.task.containers if state.status == RUNNING]
        return [(registration, state) for state in running for registration in self._registrations_of(state)]

    def _registrations_of(self, state: ContainerState) -> tuple[Registration, ...]:
        return registrations(self._as_container(state), self._options()).registrations

    def _options(self) -> Options:
        return Options(hostname=self.machine.instance_id, host_address=self.machine.host_address)

    def _as_container(self, state: ContainerState) -> Container:
        """The container as Docker would show it to Registrator; the name is the one that the ECS agent gives."""
        variables = tuple(f"{name}={value}" for name, value in self._running[state.name].environment.items())
        address = self.machine.host_address
        return Container(
            id=self.task.id,
            name=self.task.container_name(state.name),
            image=state.definition["image"],
            environment=variables,
            labels=state.definition.get("dockerLabels") or {},
            ports=tuple(PortBinding(b.container_port, b.protocol, b.host_port, address) for b in state.bindings),
            ip=address,
        )

    def _log(self, state: ContainerState) -> Path:
        folder = self.home.service_logs(self.task.service or self.task.task_definition["family"])
        alone = len(self.task.containers) == 1
        return folder / (f"{self.task.id}.log" if alone else f"{self.task.id}-{state.name}.log")


def _override(task: Task, container: str) -> dict[str, object]:
    overrides = task.overrides.get("containerOverrides") or ()
    return next((dict(o) for o in overrides if o.get("name") == container), {})
