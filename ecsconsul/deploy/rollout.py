"""Waits for an ECS service's rollout, and reports the root cause as soon as it can't succeed."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from ..config.lab import Lab, ServiceSpec
from ..errors import LabError, StepFailed
from ..targets.base import Target
from ..targets.client_errors import client_error, items_of
from .batching import DESCRIBE_TASKS_MAX, in_chunks
from .port_hints import port_hint
from .service_poller import ServicePoller
from .step import Report

# The first task may fail because something that it needs isn't up yet; a second failure counts.
FAILURE_LIMIT = 2
# errors of ECS and Docker that another task would only repeat
PERMANENT_ERRORS = (
    "manifest unknown", "not found", "no matching manifest", "exec format error", "access denied", "portinuse",
)  # fmt: skip
# how long a task may stay unplaced before the rollout fails, and how long while an old task stops; in seconds
PLACEMENT_TIMEOUT = 10.0
STOP_TIMEOUT = 90.0
# An instance's ECS agent starts after its boot script, with which a new stack is complete. CloudFormation doesn't wait
# for instances that an update adds: they have yet to boot.
JOIN_TIMEOUT = 60.0
BOOT_TIMEOUT = 600.0
# how long ECS's managed scaling may take until another instance has joined: an alarm comes before the boot
SCALE_OUT_TIMEOUT = 900.0
# What ECS says of a task whose container fails its own check, in the service's events and as the task's reason:
# https://repost.aws/knowledge-center/ecs-task-container-health-check-failures
UNHEALTHY = "failed container health checks"
# how long ECS may describe a service as it was before a change, in seconds
CONSISTENT_AFTER = 15.0
LOG_LINES = 15


class Rollout:
    """The rollout of one task definition of a service."""

    def __init__(
        self,
        lab: Lab,
        service: ServiceSpec,
        task_definition: str | None,
        target: Target,
        poller: ServicePoller,
        *,
        canary_of: str = "",
    ) -> None:
        """A canary's logs are its own on this machine; in AWS they're those of the service that it is a canary of."""
        self._target = target
        self._poller = poller
        self._lab = lab
        self._service = service
        self._arn = task_definition
        self._known_as = canary_of or service.name
        self._what = f"canary of {canary_of}" if canary_of else f"service {service.name}"
        self._lost = 0
        self._unhealthy = 0
        self._awaited = ""
        self._started: tuple[Any, Any] | None = None

    def started_as(self, service: Mapping[str, Any]) -> None:
        """Record ECS's response to the request, so that descriptions from before it can be ignored."""
        self._started = _version(service)

    def await_stable(self, report: Report, since: float) -> str:
        """Wait for the rollout that started at `since` (seconds since the epoch). Raises StepFailed."""
        last, event = "", ""
        report.in_progress(f"service {self._service.name}: requested")

        def judge(service: dict[str, Any] | None) -> str | None:
            nonlocal last, event
            if service is None:
                raise StepFailed(f"Someone deleted the service {self._service.name} during its rollout")
            if self._is_outdated(service, since):
                return None
            if is_stable(service) and service["taskDefinition"] == self._arn:
                return counts(service)
            report.in_progress(f"service {self._service.name}: {counts(service)}")
            self._fail_fast(service, since, report)
            event = next((event["message"] for event in service.get("events") or ()), "")
            if counts(service) != last:
                last = counts(service)
                report.say(last)
            return None

        try:
            return self._poller.poll_until(self._service.name, judge, report)
        except TimeoutError as error:
            events = [f"last ECS event: {event}"] if event else []
            why = "\n".join([f"{last}; {error}", *events, self._consul_checks(), *self.log_of_newest()])
            raise self._failure("does not become healthy", why) from error

    def failure_of_task(self) -> StepFailed | None:
        """Why the task that failed last did; None while ECS lists none that has stopped."""
        task = self._last_failed()
        return self._task_failure(task) if task and "stoppedAt" in task else None

    def _is_outdated(self, service: dict[str, Any], since: float) -> bool:
        """Whether this describes the service before the change: ECS is only eventually consistent."""
        if self._started == _version(service) or time.time() - since > CONSISTENT_AFTER:
            self._started = None
        return self._started is not None

    def _fail_fast(self, service: dict[str, Any], since: float, report: Report) -> None:
        """Raise as soon as the deployment can't succeed, without waiting for the circuit breaker."""
        if service["taskDefinition"] != self._arn or has_failed(service):
            task = self._last_failed()
            if task is None:
                raise self._failure("does not start", "ECS lists no stopped task that would show why")
            raise self._task_failure(task)
        self._check_lost_tasks(service, since)
        self._check_health(service, since)
        self._check_placement(service, since, report)

    def _check_lost_tasks(self, service: dict[str, Any], since: float) -> None:
        """Fail when tasks that were started, according to the events, don't run any more.

        ECS resets its own count of failed tasks as soon as one has run, however briefly.
        """
        before, self._lost = self._lost, _lost_tasks(service, since)
        # stopped tasks are described once for each lost task, and not in every poll
        task = self._last_failed() if self._lost > max(before, 0) else None
        if task and "stoppedAt" not in task:
            # its last log lines aren't written yet
            self._lost = before
            return
        if task and (self._lost >= FAILURE_LIMIT or _is_permanent(task)):
            raise self._task_failure(task)

    def _check_health(self, service: dict[str, Any], since: float) -> None:
        """Fail when tasks of this definition failed their health checks, which ECS replaces before it stops them."""
        before, self._unhealthy = self._unhealthy, sum(UNHEALTHY in text for _, text in _events(service, since))
        if self._unhealthy < FAILURE_LIMIT or self._unhealthy == before:
            return
        tasks = [task for task in self._failed_tasks() if _is_unhealthy(task)]
        if len(tasks) >= FAILURE_LIMIT:
            raise self._task_failure(tasks[-1])

    def _check_placement(self, service: dict[str, Any], since: float, report: Report) -> None:
        waited = time.time() - since
        unplaced = _unplaced(service, since)
        too_long = unplaced and time.time() - unplaced[0] > placement_timeout(service)
        if unplaced and too_long and not self._awaits_instances(waited, report):
            raise self._failure("cannot be placed", unplaced[1], port_hint(self._service, unplaced[1]))
        idle = service["desiredCount"] and not service["runningCount"]
        if idle and not unplaced and waited > JOIN_TIMEOUT and not self._instances():
            why = f"no instance has joined the cluster {self._lab.name} within {waited:.0f} s"
            raise self._failure("cannot be placed", why)

    def _awaits_instances(self, waited: float, report: Report) -> bool:
        """Whether instances that have yet to join will make room: the lab's first ones, or those that ECS adds."""
        joined, lab = self._instances(), self._lab
        bound = BOOT_TIMEOUT if joined < lab.min_instances else SCALE_OUT_TIMEOUT
        awaited = f"waiting for another instance: {joined} have joined of up to {lab.max_instances}"
        is_coming = waited < bound and joined < lab.max_instances
        if is_coming and self._awaited != awaited:
            self._awaited = awaited
            report.say(awaited)
        return is_coming

    def _instances(self) -> int:
        """How many container instances the cluster has."""
        found = self._target.client("ecs").describe_clusters(clusters=[self._lab.name])["clusters"]
        return sum(int(cluster.get("registeredContainerInstancesCount") or 0) for cluster in found)

    def _explain(self, task: dict[str, Any]) -> str:
        """The stop reason and exit codes of a task, and the last lines of its log."""
        task_id = task["taskArn"].rpartition("/")[2]
        codes = [f"{c['name']} exited with code {c['exitCode']}" for c in task["containers"] if "exitCode" in c]
        stopped, *reasons = _reasons(task)
        return "\n".join([f"task {task_id[:8]}: {stopped}", *codes, *reasons, *self._log(task_id)])

    def log_of_newest(self) -> list[str]:
        """The last log lines of the newest task of this task definition, which doesn't become healthy."""
        try:
            own = [task for task in self._running_tasks() if task["taskDefinitionArn"] == self._arn]
        except client_error() as error:
            # must not hide what is known already
            return [str(error)]
        if not own:
            return ["no task of it runs"]
        return self._log(max(own, key=_created_at)["taskArn"].rpartition("/")[2])

    def _running_tasks(self) -> list[dict[str, Any]]:
        ecs, cluster = self._target.client("ecs"), {"cluster": self._lab.name}
        asked = {**cluster, "serviceName": self._service.name, "desiredStatus": "RUNNING"}
        arns = items_of(ecs, "list_tasks", "taskArns", **asked)
        chunks = in_chunks(arns, DESCRIBE_TASKS_MAX)
        return [task for some in chunks for task in ecs.describe_tasks(**cluster, tasks=some)["tasks"]]

    def _log(self, task_id: str) -> list[str]:
        """The last log lines of a task."""
        try:
            logs = (
                self._target.last_lines(name, LOG_LINES, task_id)
                for name in dict.fromkeys([self._service.name, self._known_as])
            )
            found = next(filter(None, logs), [])[-LOG_LINES:]
        except LabError as error:
            return [str(error)]
        return ["its last log lines:", *(f"  {line.text}" for line in found)] if found else ["its log is empty"]

    def _last_failed(self) -> dict[str, Any] | None:
        """The task that failed last; a task that is still stopping has no stoppedAt."""
        failed = self._failed_tasks()
        ended = [task for task in failed if "stoppedAt" in task]
        return max(ended, key=lambda one: one["stoppedAt"]) if ended else next(reversed(failed), None)

    def _failed_tasks(self) -> list[dict[str, Any]]:
        """The stopped tasks of this task definition, without those that ECS stopped to scale or to deploy."""
        ecs, cluster = self._target.client("ecs"), {"cluster": self._lab.name}
        arns = ecs.list_tasks(**cluster, serviceName=self._service.name, desiredStatus="STOPPED")["taskArns"]
        tasks = ecs.describe_tasks(**cluster, tasks=arns[-DESCRIBE_TASKS_MAX:])["tasks"] if arns else []
        own = [task for task in tasks if task["taskDefinitionArn"] == self._arn]
        return [one for one in own if one.get("stopCode") != "ServiceSchedulerInitiated" or _is_unhealthy(one)]

    def _consul_checks(self) -> str:
        """The service's checks that don't pass in Consul."""

        try:
            with self._target.consul() as address:
                catalog = address.client().catalog()
        except LabError as error:
            return str(error)
        instances = [one for name in self._service.registered_names for one in catalog.get(name, [])]
        checks = [(instance.id, check) for instance in instances for check in instance.checks]
        failing = [f"  {name}: {one.status}: {one.output}" for name, one in checks if one.status != "passing"]
        return "\n".join(["Consul's checks:", *failing]) if failing else "Consul has no failing instance of it"

    def _task_failure(self, task: dict[str, Any]) -> StepFailed:
        if hint := port_hint(self._service, " ".join(_reasons(task))):
            return self._failure("does not start", self._explain(task), hint)
        if not _is_unhealthy(task):
            return self._failure("does not start", self._explain(task))
        hint = "if its image has no shell, ECS can't make the check: set `check: {container: false}`"
        return self._failure("does not become healthy", self._explain(task), hint)

    def _failure(self, what: str, why: str, hint: str = "") -> StepFailed:
        more = f"fix the cause and run `ecsconsul up` again; `ecsconsul logs {self._known_as}` shows more"
        return StepFailed(
            f"The {self._what} {what}",
            where=f"step services/{self._known_as}, {self._service.path or self._service.image}",
            why=why,
            hint=f"{more}\n{hint}" if hint else more,
        )


def has_failed(service: Mapping[str, Any]) -> bool:
    """Whether ECS gave up the newest deployment, or all of its tasks have failed."""
    primary = _primary(service)
    failed = (primary.get("failedTasks") or 0) >= FAILURE_LIMIT and not primary.get("runningCount")
    return failed or primary.get("rolloutState") == "FAILED"


def is_stable(service: Mapping[str, Any]) -> bool:
    """Whether there is one deployment, it is complete, and as many tasks run as desired."""
    deployments = service["deployments"]
    complete = len(deployments) == 1 and deployments[0].get("rolloutState", "COMPLETED") == "COMPLETED"
    return bool(complete and service["status"] == "ACTIVE" and service["runningCount"] == service["desiredCount"])


def placement_timeout(service: Mapping[str, Any]) -> float:
    """How long a task may stay unplaced, in seconds since ECS's event, which ECS sends once.

    ECS places what fits, waits until that runs, stops as many old tasks, and goes on.
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html
    """
    running, desired = service["runningCount"], service["desiredCount"]
    if service.get("pendingCount") or running > desired:
        return math.inf
    return STOP_TIMEOUT if running < desired and len(service["deployments"]) > 1 else PLACEMENT_TIMEOUT


def counts(service: Mapping[str, Any]) -> str:
    """A service's state, as `status` and `plan` show it."""
    text = f"{service['runningCount']}/{service['desiredCount']} running"
    return f"{text}, deploying" if len(service["deployments"]) > 1 else text


def _version(service: Mapping[str, Any]) -> tuple[Any, Any]:
    """Distinguishes descriptions from before and after a change: the newest deployment and the desired count."""
    daemon = service.get("schedulingStrategy") == "DAEMON"
    return _primary(service).get("id"), None if daemon else service["desiredCount"]


def _reasons(task: Mapping[str, Any]) -> list[str]:
    """Why a task stopped: ECS's reason, then those of its containers."""
    return [task.get("stoppedReason") or "stopped", *(c["reason"] for c in task["containers"] if c.get("reason"))]


def _created_at(task: Mapping[str, Any]) -> float:
    at = task.get("createdAt")
    return float(at.timestamp()) if at else 0.0


def _is_permanent(task: Mapping[str, Any]) -> bool:
    reasons = " ".join(_reasons(task)).lower()
    return any(error in reasons for error in PERMANENT_ERRORS)


def _is_unhealthy(task: Mapping[str, Any]) -> bool:
    """Whether ECS stopped the task because its container fails the health check, a container without a shell too."""
    return UNHEALTHY in " ".join(_reasons(task)).lower()


def _primary(service: Mapping[str, Any]) -> Mapping[str, Any]:
    """The newest deployment; empty when there is none."""
    return next((d for d in service["deployments"] if d.get("status", "PRIMARY") == "PRIMARY"), {})


def _events(service: Mapping[str, Any], since: float) -> list[tuple[float, str]]:
    """The time and message of each event, newest first."""
    events = [(event["createdAt"].timestamp(), event["message"]) for event in service.get("events") or ()]
    return [(at, message) for at, message in events if at >= since - 1]


def _lost_tasks(service: Mapping[str, Any], since: float) -> int:
    """How many of the tasks started since then neither run nor are pending."""
    started = sum(text.count("(task ") for _, text in _events(service, since) if " has started " in text)
    primary = _primary(service)
    alive = (primary.get("runningCount") or 0) + (primary.get("pendingCount") or 0)
    return 0 if alive >= service["desiredCount"] else started - int(alive)


def _unplaced(service: Mapping[str, Any], since: float) -> tuple[float, str] | None:
    """When ECS could not place a task, and its reason, if that is the latest event."""
    first = next(iter(_events(service, since)), None)
    return first if first and "unable to place" in first[1] else None
