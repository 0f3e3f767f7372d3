"""Waits for an ECS service's rollout, and tells the root cause as soon as it cannot succeed."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from ..config.lab import Lab, ServiceSpec
from ..errors import LabError, StepFailed
from ..targets.base import Target
from .service_poller import ServicePoller
from .step import Report

# A first task may fail for want of something that comes up with it; a second one that fails tells.
FAILURES_THAT_TELL = 2
# what no second task does better, in the words of ECS and Docker
HOPELESS = ("manifest unknown", "not found", "no matching manifest", "exec format error", "access denied")
# how long a task may find no place before that is the answer, in seconds; and while another is on its way out
PLACEMENT_PATIENCE = 10.0
STOP_PATIENCE = 90.0
# The ECS agent of an instance starts when its boot script has ended, which is when a new stack is complete. For
# instances that are only added CloudFormation does not wait: they have yet to boot.
JOIN_PATIENCE = 60.0
BOOT_PATIENCE = 600.0
# for so long an answer of ECS may be older than the change that was asked for, in seconds
SETTLED_AFTER = 15.0
LOG_LINES = 15


class Rollout:
    """The rollout of one task definition of a service."""

    def __init__(
        self, lab: Lab, service: ServiceSpec, task_definition: str | None, target: Target, watch: ServicePoller
    ) -> None:
        self._target = target
        self._watch = watch
        self._lab = lab
        self._service = service
        self._arn = task_definition
        self._lost = 0
        self._began: tuple[Any, Any] | None = None

    def began_as(self, service: Mapping[str, Any]) -> None:
        """What ECS answered when the rollout was asked for: looks that are older than that are not heeded."""
        self._began = _form(service)

    def await_stable(self, report: Report, since: float) -> str:
        """Wait for the rollout that was begun at `since` (seconds since the epoch). Raises StepFailed."""
        last, event = "", ""

        def judge(service: dict[str, Any] | None) -> str | None:
            nonlocal last, event
            if service is None:
                raise StepFailed(f"The service {self._service.name} was deleted while it was waited for")
            if self._is_older(service, since):
                return None
            if is_stable(service) and service["taskDefinition"] == self._arn:
                return counts(service)
            report.under_way(f"service {self._service.name}: {counts(service)}")
            self._fail_fast(service, since)
            event = next((event["message"] for event in service.get("events") or ()), "")
            if counts(service) != last:
                last = counts(service)
                report.say(last)
            return None

        try:
            return self._watch.until(self._service.name, judge, report)
        except TimeoutError as error:
            said = [f"ECS says: {event}"] if event else []
            why = "\n".join([f"{last}; {error}", *said, self._consul_says(), *self._wrote(None)])
            raise self._failure("does not become healthy", why) from error

    def _is_older(self, service: dict[str, Any], since: float) -> bool:
        """Whether this is the service as it was before: ECS's answers are consistent only after a while."""
        if self._began == _form(service) or time.time() - since > SETTLED_AFTER:
            self._began = None
        return self._began is not None

    def _fail_fast(self, service: dict[str, Any], since: float) -> None:
        """Raise as soon as it is known that the deployment cannot succeed, not when a breaker trips."""
        if service["taskDefinition"] != self._arn or has_failed(service):
            raise self._failure("does not start", self._root_cause())
        self._look_at_losses(service, since)
        self._look_at_places(service, since)

    def _look_at_losses(self, service: dict[str, Any], since: float) -> None:
        """Tasks that were started and are not there any more, as the events tell.

        ECS's own count of failures ends as soon as a task has run, however shortly.
        """
        before, self._lost = self._lost, _lost_tasks(service, since)
        # the stopped tasks are looked at once for each that is lost, and not once a poll
        task = self._last_failed() if self._lost > max(before, 0) else None
        if task and "stoppedAt" not in task:
            # its last words are yet to be written
            self._lost = before
            return
        if task and (self._lost >= FAILURES_THAT_TELL or _is_hopeless(task)):
            raise self._failure("does not start", self._told_of(task))

    def _look_at_places(self, service: dict[str, Any], since: float) -> None:
        waited = time.time() - since
        unplaced = _unplaced(service, since)
        too_long = unplaced and time.time() - unplaced[0] > placement_patience(service)
        if unplaced and too_long and not self._awaits_instances(waited):
            raise self._failure("has no place to run", unplaced[1])
        idle = service["desiredCount"] and not service["runningCount"]
        if idle and not unplaced and waited > JOIN_PATIENCE and not self._instances():
            why = f"no instance has joined the cluster {self._lab.name} within {waited:.0f} s"
            raise self._failure("has no place to run", why)

    def _awaits_instances(self, waited: float) -> bool:
        """Whether there will be more room soon, as instances are yet to join."""
        return waited < BOOT_PATIENCE and self._instances() < self._lab.instances

    def _instances(self) -> int:
        """How many container instances the cluster has."""
        found = self._target.client("ecs").describe_clusters(clusters=[self._lab.name])["clusters"]
        return sum(int(cluster.get("registeredContainerInstancesCount") or 0) for cluster in found)

    def _root_cause(self) -> str:
        task = self._last_failed()
        return self._told_of(task) if task else "no stopped task tells why"

    def _told_of(self, task: dict[str, Any]) -> str:
        """The stop reason and exit code of a task, and the last lines that it wrote."""
        task_id = task["taskArn"].rpartition("/")[2]
        codes = [f"{c['name']} exited with code {c['exitCode']}" for c in task["containers"] if "exitCode" in c]
        said = self._wrote(task_id)
        stopped, *reasons = _reasons(task)
        return "\n".join([f"task {task_id[:8]}: {stopped}", *codes, *reasons, *said])

    def _wrote(self, task_id: str | None) -> list[str]:
        """The last lines of a task, or of any of the service's."""
        found = self._target.last_lines(self._service.name, LOG_LINES, task_id)[-LOG_LINES:]
        return ["its last log lines:", *(f"  {line.text}" for line in found)] if found else ["it wrote no log"]

    def _last_failed(self) -> dict[str, Any] | None:
        """The last task that failed; one that is still on its way out has no stoppedAt yet."""
        failed = self._stopped_tasks()
        ended = [task for task in failed if "stoppedAt" in task]
        return max(ended, key=lambda one: one["stoppedAt"]) if ended else next(reversed(failed), None)

    def _stopped_tasks(self) -> list[dict[str, Any]]:
        """Those of this task definition that were not stopped by ECS itself, which has its reasons."""
        ecs, mine = self._target.client("ecs"), {"cluster": self._lab.name}
        arns = ecs.list_tasks(**mine, serviceName=self._service.name, desiredStatus="STOPPED")["taskArns"]
        tasks = ecs.describe_tasks(**mine, tasks=arns[-100:])["tasks"] if arns else []
        return [
            t for t in tasks if t["taskDefinitionArn"] == self._arn and t.get("stopCode") != "ServiceSchedulerInitiated"
        ]

    def _consul_says(self) -> str:
        """What Consul's checks of the service see."""
        from ..consul.catalog import Consul

        try:
            with self._target.consul() as address:
                instances = Consul(address.http_host, address.http_port).catalog().get(self._service.name, [])
        except LabError as error:
            return str(error)
        seen = [
            f"  {i.id}: {check.status}: {check.output}"
            for i in instances
            for check in i.checks
            if check.status != "passing"
        ]
        return "\n".join(["Consul's checks:", *seen]) if seen else "Consul knows no failing instance of it"

    def _failure(self, what: str, why: str) -> StepFailed:
        return StepFailed(
            f"The service {self._service.name} {what}",
            where=f"step services/{self._service.name}, {self._service.path}",
            why=why,
            hint=f"mend it and run `ecsconsul up` again; `ecsconsul logs {self._service.name}` shows more",
        )


def has_failed(service: Mapping[str, Any]) -> bool:
    """Whether the newest deployment was given up, or has nothing to show but tasks that failed."""
    primary = _primary(service)
    failed = (primary.get("failedTasks") or 0) >= FAILURES_THAT_TELL and not primary.get("runningCount")
    return failed or primary.get("rolloutState") == "FAILED"


def is_stable(service: Mapping[str, Any]) -> bool:
    """One deployment, complete, with as many tasks as wanted."""
    deployments = service["deployments"]
    complete = len(deployments) == 1 and deployments[0].get("rolloutState", "COMPLETED") == "COMPLETED"
    return bool(complete and service["status"] == "ACTIVE" and service["runningCount"] == service["desiredCount"])


def placement_patience(service: Mapping[str, Any]) -> float:
    """How long a task may find no place, in seconds since ECS has said so, which it does once.

    ECS places what fits, waits until that runs, stops as many old ones, and goes on.
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages.html
    """
    running, desired = service["runningCount"], service["desiredCount"]
    if service.get("pendingCount") or running > desired:
        return math.inf
    return STOP_PATIENCE if running < desired and len(service["deployments"]) > 1 else PLACEMENT_PATIENCE


def counts(service: Mapping[str, Any]) -> str:
    """What `status` and `plan` say of a service."""
    text = f"{service['runningCount']}/{service['desiredCount']} running"
    return f"{text}, deploying" if len(service["deployments"]) > 1 else text


def _form(service: Mapping[str, Any]) -> tuple[Any, Any]:
    """By which an older look is told from a newer one: the newest deployment, and how many tasks are wanted."""
    daemon = service.get("schedulingStrategy") == "DAEMON"
    return _primary(service).get("id"), None if daemon else service["desiredCount"]


def _reasons(task: Mapping[str, Any]) -> list[str]:
    """Why a task stopped, in ECS's words and then in those of its containers."""
    return [task.get("stoppedReason") or "stopped", *(c["reason"] for c in task["containers"] if c.get("reason"))]


def _is_hopeless(task: Mapping[str, Any]) -> bool:
    said = " ".join(_reasons(task)).lower()
    return any(words in said for words in HOPELESS)


def _primary(service: Mapping[str, Any]) -> Mapping[str, Any]:
    """The newest deployment; nothing where there is none."""
    return next((d for d in service["deployments"] if d.get("status", "PRIMARY") == "PRIMARY"), {})


def _events(service: Mapping[str, Any], since: float) -> list[tuple[float, str]]:
    """When what happened, newest first."""
    told = [(event["createdAt"].timestamp(), event["message"]) for event in service.get("events") or ()]
    return [(at, message) for at, message in told if at >= since - 1]


def _lost_tasks(service: Mapping[str, Any], since: float) -> int:
    """How many of the tasks that were started since are neither running nor on their way."""
    started = sum(text.count("(task ") for _, text in _events(service, since) if " has started " in text)
    primary = _primary(service)
    alive = (primary.get("runningCount") or 0) + (primary.get("pendingCount") or 0)
    return 0 if alive >= service["desiredCount"] else started - int(alive)


def _unplaced(service: Mapping[str, Any], since: float) -> tuple[float, str] | None:
    """When a task could first not be placed, and ECS's reason, if that is the last thing that happened."""
    first = next(iter(_events(service, since)), None)
    return first if first and "unable to place" in first[1] else None
