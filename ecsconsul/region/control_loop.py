"""The control loop: makes ECS's desired state run, as the ECS scheduler and the ECS agents do."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace

from ..errors import Unreachable
from ..registrator.consul_client import ConsulClient
from .consul_acl import ConsulAcl
from .ecs import scheduler
from .ecs.daemons import plan_daemon
from .ecs.model import (
    ACTIVE,
    DAEMON,
    DRAINING,
    STOPPED,
    UNHEALTHY,
    UNHEALTHY_REASON,
    ContainerInstance,
    Service,
    Task,
    fixed_endpoints,
)
from .ecs.placement import Unplaceable, filled
from .ecs.state import Ecs
from .registrators import Registrators
from .runtimes.interface import Containers, Ec2Instance
from .runtimes.lab_dir import LabDir
from .task_supervisor import TaskSupervisor

log = logging.getLogger(__name__)

AGENT_TIMEOUT = 60.0
# A task that fails sooner than this counts as one that cannot start, and the next one is delayed longer.
STABLE_AFTER = 10.0
RETRY_DELAY = 1.0


class ControlLoop:
    """One thread that advances all services, and a supervisor for each running task."""

    def __init__(self, ecs: Ecs, containers: Containers, lab_dir: LabDir, acl: ConsulAcl, token: str) -> None:
        """`token` is the Consul token of the instances' Registrators."""
        self._ecs = ecs
        self._containers = containers
        self._lab_dir = lab_dir
        self._acl = acl
        self._registrators = Registrators(containers.engine, token)
        self._instances: dict[str, Ec2Instance] = {}
        self._supervisors: dict[str, TaskSupervisor] = {}
        self._closing = threading.Event()
        # notified after each pass, which `passes` counts
        self.passed = threading.Condition(ecs.lock)
        self.passes = 0
        self.on_pass: Callable[[], None] = lambda: None
        self.awaits_capacity: Callable[[Service], bool] = lambda service: False
        self._thread = threading.Thread(target=self._loop, name="scheduler", daemon=True)

    def start(self) -> None:
        """Start the loop's thread."""
        self._thread.start()

    def add_instance(self, instance: Ec2Instance, container_instance: ContainerInstance) -> None:
        """Let an instance run tasks, unless it is stopping already."""
        with self._ecs.lock:
            if instance.stopping.is_set():
                return
            self._instances[instance.instance_id] = instance
            self._ecs.add_instance(container_instance)

    def remove_instance(self, instance: Ec2Instance) -> None:
        """An instance is going away: stop its tasks."""
        with self._ecs.lock:
            self._ecs.remove_instance(instance.instance_id)
        _join([one for one in self._all_supervisors() if one.instance is instance])
        self._registrators.forget(instance)
        with self._ecs.lock:
            self._instances.pop(instance.instance_id, None)

    def drain_instance(self, instance_id: str, seconds: float) -> bool:
        """Drain an instance; True once no task is left on it, False when some are after that many seconds.

        Without another instance that takes tasks there is nowhere to go: the tasks of services stay, and it's False.
        """
        with self.passed:
            instance = self._ecs.instance(instance_id)
            if instance and instance.status == ACTIVE:
                self._ecs.set_instance_status(instance, DRAINING)
            self.passed.wait_for(lambda: self._closing.is_set() or not self._drains(instance_id), seconds)
            return not self._is_busy(instance_id)

    def _drains(self, instance_id: str) -> bool:
        instance = self._ecs.instance(instance_id)
        others = self._ecs.instances_of(instance.cluster) if instance else []
        return self._is_busy(instance_id) and any(other.status == ACTIVE for other in others)

    def _is_busy(self, instance_id: str) -> bool:
        return any(task.last_status != STOPPED for task in self._ecs.tasks_on(instance_id))

    def use_token(self, token: str) -> None:
        """Let all Registrators send this Consul token."""
        self._registrators.use_token(token)

    def close(self) -> None:
        """Stop all tasks; takes as long as their stop timeouts at most."""
        self._closing.set()
        self._ecs.changed.set()
        self._thread.join()
        with self.passed:
            self.passed.notify_all()
        supervisors = self._all_supervisors()
        for supervisor in supervisors:
            supervisor.request_stop(hurry=True)
        _join(supervisors)
        self._registrators.close()

    def await_agent(self, instance: Ec2Instance) -> bool:
        """Wait until the instance's Consul agent answers; False when it does not, or the lab is closing."""
        end = time.monotonic() + AGENT_TIMEOUT
        with closing(ConsulClient(instance.http)) as consul:
            while time.monotonic() < end and not self._closing.is_set():
                try:
                    consul.services()
                except Unreachable:
                    # Nothing tells when a process begins to listen.
                    if instance.stopping.wait(0.02):
                        return False
                else:
                    return True
        return False

    def _loop(self) -> None:
        while not self._closing.is_set():
            self._ecs.changed.wait(timeout=self._seconds_until_next_start())
            self._ecs.changed.clear()
            try:
                self._pass()
            except Exception:
                # A failed pass, as on a full disk, must not be the last one.
                log.exception("the services could not be advanced; trying again")
                self._closing.wait(RETRY_DELAY)
                self._ecs.changed.set()

    def _pass(self) -> None:
        with self._ecs.lock:
            for service in self._ecs.services():
                self._advance(service)
            self._reconcile_tasks()
            self._ecs.forget_old_tasks()
            self.on_pass()
            self.passes += 1
            self.passed.notify_all()

    def _seconds_until_next_start(self) -> float | None:
        """Seconds until a throttled service may start a task again."""
        with self._ecs.lock:
            now = time.time()
            waits = [s.not_before - now for s in self._ecs.services() if s.not_before > now]
        return min(waits, default=None)

    def _advance(self, service: Service) -> None:
        tasks = self._ecs.tasks_of_service(service)
        self._count_instances(service)
        self._count_failures(service, tasks)
        self._report_unhealthy(service, tasks)
        self._judge_deployment(service, tasks)
        plan = self._plan(service, tasks)
        for task, reason in plan.stop:
            self._ecs.stop_task(task, "ServiceSchedulerInitiated", reason)
        if plan.stop:
            stopped = _task_list(task for task, _ in plan.stop)
            self._ecs.event(service, f"has stopped {len(plan.stop)} running tasks: {stopped}.")
        service.unplaced = False
        places = [*plan.start_on, *[""] * plan.start]
        started = [task for task in (self._start_task(service, place) for place in places) if task]
        if started:
            self._ecs.event(service, f"has started {len(started)} tasks: {_task_list(started)}.")
        self._ecs.forget_old_deployments(service)
        if service.status == DRAINING and all(task.last_status == STOPPED for task in tasks):
            self._ecs.retire(service)

    def _plan(self, service: Service, tasks: list[Task]) -> scheduler.Plan:
        if service.strategy != DAEMON:
            return scheduler.plan(_stopping_first(service, tasks), tasks, time.time())
        active = [one.instance_id for one in self._ecs.instances_of(service.cluster) if one.status == ACTIVE]
        busy = {task.instance_id for task in self._ecs.tasks() if task.last_status != STOPPED and not task.daemon}
        return plan_daemon(service, tasks, active, busy, time.time())

    def _count_instances(self, service: Service) -> None:
        """A daemon wants one task for each instance that takes tasks."""
        if service.strategy == DAEMON and service.status == ACTIVE:
            service.desired = sum(one.status == ACTIVE for one in self._ecs.instances_of(service.cluster))

    def _start_task(self, service: Service, instance: str) -> Task | None:
        definition, group = service.primary.task_definition, f"service:{service.name}"
        placed = self._ecs.add_task(service.cluster, definition, group, overrides={}, service=service, on=instance)
        if not isinstance(placed, Unplaceable):
            return placed
        service.unplaced = True
        if self.awaits_capacity(service):
            # In AWS the task is PROVISIONING, and there is no event.
            return None
        unable = "was unable to place a task because no container instance met all of its requirements."
        self._ecs.event(service, f"{unable} Reason: {placed.reason}.")
        return None

    def _count_failures(self, service: Service, tasks: Iterable[Task]) -> None:
        """Delay the next start after a task has failed; the more fail in a row, the longer the delay."""
        for task in tasks:
            if task.should_run or task.counted:
                continue
            task.counted = True
            failed = task.stop_code in ("EssentialContainerExited", "TaskFailedToStart")
            if not failed and task.stopped_reason != UNHEALTHY_REASON:
                continue
            self._throttle(service, task)
            if task.deployment_id == service.primary.id and service.primary.rollout_state == "IN_PROGRESS":
                service.primary.failed_tasks += 1

    def _report_unhealthy(self, service: Service, tasks: Iterable[Task]) -> None:
        for task in tasks:
            if task.should_run and task.health == UNHEALTHY and not task.reported:
                task.reported = True
                self._ecs.event(service, f"(task {task.id}) failed container health checks.")

    def _throttle(self, service: Service, task: Task) -> None:
        """Tasks that fail together, because they ran when the last failure was counted, are one failure in a row."""
        if task.created_at < service.failed_at:
            return
        lifetime = (task.stopping_at or 0.0) - (task.started_at or task.created_at)
        service.failures = service.failures + 1 if lifetime < STABLE_AFTER else 1
        service.failed_at = time.time()
        service.not_before = service.failed_at + scheduler.restart_delay(service.failures)

    def _judge_deployment(self, service: Service, tasks: list[Task]) -> None:
        """Complete the deployment, or fail it when the circuit breaker trips."""
        if scheduler.breaker_trips(service):
            self._fail_deployment(service)
        elif scheduler.completed(service, tasks):
            self._complete_deployment(service)

    def _fail_deployment(self, service: Service) -> None:
        primary = service.primary
        primary.rollout_state, primary.updated_at = "FAILED", time.time()
        primary.rollout_reason = f"ECS deployment circuit breaker: tasks failed to start. {primary.id}"
        self._ecs.event(service, f"(deployment {primary.id}) deployment failed: tasks failed to start.")
        # A rollback that fails too would be rolled back forever.
        if service.circuit_breaker.get("rollback") and service.stable_before and not primary.is_rollback:
            self._ecs.event(service, f"rolling back to deployment of {service.stable_before['taskDefinitionArn']}.")
            self._ecs.deploy(service, service.stable_before, is_rollback=True)

    def _complete_deployment(self, service: Service) -> None:
        primary = service.primary
        fresh = primary.rollout_state != "COMPLETED" or len(service.deployments) > 1
        service.deployments = [primary]
        if fresh:
            primary.rollout_state, primary.updated_at = "COMPLETED", time.time()
            primary.rollout_reason = f"ECS deployment {primary.id} completed."
            self._ecs.event(service, f"(deployment {primary.id}) deployment completed.")
        # recorded once, and again after each change, as when tasks have left a draining instance
        self._ecs.event(service, "has reached a steady state.")

    def _reconcile_tasks(self) -> None:
        """Start new tasks, stop those that are no longer desired, forget those that have stopped."""
        for task in self._ecs.tasks():
            supervisor = self._supervisors.get(task.id)
            if supervisor is None and task.last_status != STOPPED:
                self._supervise(task)
            elif supervisor and task.last_status == STOPPED:
                del self._supervisors[task.id]
            elif supervisor and not task.should_run:
                supervisor.request_stop(hurry=task.instance_id not in self._instances)

    def _supervise(self, task: Task) -> None:
        instance = self._instances.get(task.instance_id)
        if instance is None or not task.should_run:
            self._ecs.end_unstarted(task)
            return
        supervisor = TaskSupervisor(
            task,
            instance,
            self._containers,
            self._registrators,
            self._lab_dir,
            self._ecs.changed.set,
            self._acl.task_environment,
            self._ecs.moto,
        )
        self._supervisors[task.id] = supervisor
        supervisor.start()

    def _all_supervisors(self) -> list[TaskSupervisor]:
        with self._ecs.lock:
            return list(self._supervisors.values())


def _stopping_first(service: Service, tasks: Iterable[Task]) -> Service:
    """The service as the scheduler must see it.

    Where an outgoing task has a port on the whole machine, the next one can't start beside it, unlike in AWS.
    """
    outgoing = [task for task in tasks if task.should_run and not scheduler.is_current(service, task)]
    if not filled(outgoing) & fixed_endpoints(service.primary.task_definition):
        return service
    return replace(service, minimum_healthy_percent=0, maximum_percent=100)


def _join(supervisors: Iterable[TaskSupervisor]) -> None:
    # they stop side by side
    stopping = list(supervisors)
    end = time.monotonic() + max((one.max_stop_seconds for one in stopping), default=0.0)
    for one in stopping:
        one.join(max(end - time.monotonic(), 0.0))


def _task_list(tasks: Iterable[Task]) -> str:
    return " ".join(f"(task {task.id})" for task in tasks)
