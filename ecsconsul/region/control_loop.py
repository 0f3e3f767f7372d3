"""Plays the ECS agents: makes what the API was asked for really run, and keeps the state true to what runs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable

from ..consul.catalog import Consul
from ..errors import LabError, Unreachable
from .ecs import scheduler
from .ecs.model import DRAINING, STOPPED, ContainerInstance, Service, Task
from .ecs.placement import Unplaceable
from .ecs.state import Ecs
from .instances import Ec2Instance
from .runtimes.lab_dir import LabDir
from .runtimes.processes.containers import ContainerRunner
from .task_supervisor import AgentBack, StopAsked, TaskSupervisor

log = logging.getLogger(__name__)

AGENT_PATIENCE = 60.0
# A task that failed sooner than this counts as one that cannot start, and the next one waits longer.
GOOD_LIFE = 10.0
FAULT_PAUSE = 1.0


class Agent:
    """The scheduler's hands: one thread that advances all services, and one for each running task."""

    def __init__(self, ecs: Ecs, runtime: ContainerRunner, home: LabDir) -> None:
        self._ecs = ecs
        self._runtime = runtime
        self._home = home
        self._machines: dict[str, Ec2Instance] = {}
        self._runs: dict[str, TaskSupervisor] = {}
        self._closing = threading.Event()
        self.on_pass: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._loop, name="scheduler", daemon=True)

    def begin(self) -> None:
        """Start to act."""
        self._thread.start()

    def join_instance(self, machine: Ec2Instance, instance: ContainerInstance) -> None:
        """A machine is ready for tasks; one that goes away already is not."""
        with self._ecs.lock:
            if machine.stopping.is_set():
                return
            self._machines[machine.instance_id] = machine
            self._ecs.add_instance(instance)

    def lose_instance(self, instance_id: str) -> None:
        """A machine is going away; its tasks end with it."""
        with self._ecs.lock:
            self._ecs.remove_instance(instance_id)
        self._wait_for_end(self._runs_on(instance_id))
        with self._ecs.lock:
            self._machines.pop(instance_id, None)

    def consul_is_back(self, machine: Ec2Instance) -> None:
        """The machine's Consul agent was started anew: say again what runs there, and take back what does not."""
        if not self.await_consul(machine):
            return
        self._drop_ghosts(machine)
        for run in self._runs_on(machine.instance_id):
            run.tell(AgentBack())

    def close(self) -> None:
        """End all tasks; bounded by their stop timeouts."""
        self._closing.set()
        self._ecs.changed.set()
        self._thread.join()
        runs = self._all_runs()
        for run in runs:
            run.tell(StopAsked(hurry=True))
        self._wait_for_end(runs)

    def _loop(self) -> None:
        while not self._closing.is_set():
            self._ecs.changed.wait(timeout=self._until_next_start())
            self._ecs.changed.clear()
            try:
                self._pass()
            except Exception:
                # one pass that fails, as on a full disk, must not be the last
                log.exception("the services could not be advanced; trying again")
                self._closing.wait(FAULT_PAUSE)
                self._ecs.changed.set()

    def _pass(self) -> None:
        with self._ecs.lock:
            for service in self._ecs.services():
                self._advance(service)
            self._act_on_tasks()
            self._ecs.forget_old_tasks()
            self.on_pass()

    def _until_next_start(self) -> float | None:
        """Seconds until a service that was throttled may start a task again."""
        with self._ecs.lock:
            now = time.time()
            waits = [s.not_before - now for s in self._ecs.services() if s.not_before > now]
        return min(waits, default=None)

    def _advance(self, service: Service) -> None:
        tasks = self._ecs.tasks_of_service(service)
        self._count_failures(service, tasks)
        self._judge(service, tasks)
        plan = scheduler.plan(service, tasks, time.time())
        for task, reason in plan.stop:
            self._ecs.stop_task(task, "ServiceSchedulerInitiated", reason)
        if plan.stop:
            self._ecs.event(service, f"has stopped {len(plan.stop)} running tasks: {_named(t for t, _ in plan.stop)}.")
        started = [task for task in (self._start_one(service) for _ in range(plan.start)) if task]
        if started:
            self._ecs.event(service, f"has started {len(started)} tasks: {_named(started)}.")
        self._ecs.forget_old_deployments(service)
        if service.status == DRAINING and all(task.last_status == STOPPED for task in tasks):
            self._ecs.retire(service)

    def _start_one(self, service: Service) -> Task | None:
        definition = service.primary.task_definition
        placed = self._ecs.add_task(
            service.cluster, definition, f"service:{service.name}", overrides={}, service=service
        )
        if isinstance(placed, Unplaceable):
            self._ecs.event(
                service,
                "was unable to place a task because no container instance met all of its requirements. "
                f"Reason: {placed.reason}.",
            )
            return None
        return placed

    def _count_failures(self, service: Service, tasks: Iterable[Task]) -> None:
        """A task that ended without being asked delays the next start, the longer the more of them in a row."""
        for task in tasks:
            if task.wanted or task.counted:
                continue
            task.counted = True
            if task.stop_code not in ("EssentialContainerExited", "TaskFailedToStart"):
                continue
            self._throttle(service, task)
            if task.deployment_id == service.primary.id and service.primary.rollout_state == "IN_PROGRESS":
                service.primary.failed_tasks += 1

    def _throttle(self, service: Service, task: Task) -> None:
        """Tasks that fail together are one failure in a row: those that were there when the last one was counted."""
        if task.created_at < service.failed_at:
            return
        lived = (task.stopping_at or 0.0) - (task.started_at or task.created_at)
        service.failures = service.failures + 1 if lived < GOOD_LIFE else 1
        service.failed_at = time.time()
        service.not_before = service.failed_at + scheduler.pause(service.failures)

    def _judge(self, service: Service, tasks: list[Task]) -> None:
        """Close a deployment that is complete, and give up one that the circuit breaker trips."""
        primary = service.primary
        if scheduler.breaker_trips(service):
            primary.rollout_state, primary.updated_at = "FAILED", time.time()
            primary.rollout_reason = f"ECS deployment circuit breaker: tasks failed to start. {primary.id}"
            self._ecs.event(service, f"(deployment {primary.id}) deployment failed: tasks failed to start.")
            # a rollback that fails as well would be rolled back for ever
            if service.circuit_breaker.get("rollback") and service.stable_before and not primary.is_rollback:
                self._ecs.event(service, f"rolling back to deployment of {service.stable_before['taskDefinitionArn']}.")
                self._ecs.deploy(service, service.stable_before, is_rollback=True)
        elif scheduler.completed(service, tasks):
            fresh = primary.rollout_state != "COMPLETED" or len(service.deployments) > 1
            service.deployments = [primary]
            if fresh:
                primary.rollout_state, primary.updated_at = "COMPLETED", time.time()
                primary.rollout_reason = f"ECS deployment {primary.id} completed."
                self._ecs.event(service, f"(deployment {primary.id}) deployment completed.")
                self._ecs.event(service, "has reached a steady state.")

    def _act_on_tasks(self) -> None:
        """Begin the runs of new tasks, end those of tasks that are not wanted, forget those that are over."""
        for task in self._ecs.tasks():
            run = self._runs.get(task.id)
            if run is None and task.last_status != STOPPED:
                self._begin(task)
            elif run and task.last_status == STOPPED:
                del self._runs[task.id]
            elif run and not task.wanted:
                run.ask_to_stop(hurry=task.instance_id not in self._machines)

    def _begin(self, task: Task) -> None:
        machine = self._machines.get(task.instance_id)
        if machine is None or not task.wanted:
            self._ecs.end_unstarted(task)
            return
        run = TaskSupervisor(task, machine, self._runtime, self._home, self._ecs.changed.set)
        self._runs[task.id] = run
        run.begin()

    def _all_runs(self) -> list[TaskSupervisor]:
        with self._ecs.lock:
            return list(self._runs.values())

    def _runs_on(self, instance_id: str) -> list[TaskSupervisor]:
        return [run for run in self._all_runs() if run.task.instance_id == instance_id]

    def _wait_for_end(self, runs: Iterable[TaskSupervisor]) -> None:
        for run in runs:
            run.join(run.longest_stop)

    def await_consul(self, machine: Ec2Instance) -> bool:
        """Wait until the machine's agent answers; False when it does not, or the lab is closing."""
        consul = Consul(machine.address, machine.consul.http)
        end = time.monotonic() + AGENT_PATIENCE
        while time.monotonic() < end and not self._closing.is_set():
            try:
                consul.agent_services()
            except Unreachable:
                # nothing tells when a process begins to listen; ask again soon
                if machine.stopping.wait(0.1):
                    return False
            else:
                return True
        return False

    def _drop_ghosts(self, machine: Ec2Instance) -> None:
        """An agent remembers its services on disk, those included whose task ended while it was away."""
        consul = Consul(machine.address, machine.consul.http)
        try:
            known = consul.agent_services()
            # asked after Consul, so that a task that has just registered itself is no ghost
            runs = self._runs_on(machine.instance_id)
            alive = {service_id for run in runs if run.task.wanted for service_id in run.service_ids}
            for service_id in known:
                if service_id.startswith(f"{machine.instance_id}:") and service_id not in alive:
                    consul.deregister(service_id)
        except LabError as error:
            log.warning("ghosts on %s could not be looked for: %s", machine.instance_id, error)


def _named(tasks: Iterable[Task]) -> str:
    return " ".join(f"(task {task.id})" for task in tasks)
