"""Rollouts that succeed, and rollouts that fail early with their root cause."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from ecsconsul.config.lab import InstanceRange, Lab, ServiceSpec
from ecsconsul.deploy.rollout import Rollout, counts, is_stable
from ecsconsul.deploy.service_poller import ServicePoller
from ecsconsul.errors import LabError, StepFailed
from ecsconsul.targets.base import ConsulAddress, LogLine
from tests.consul_server import AgentClient, ConsulServer
from tests.deploy.world import FakeTarget, RecordingReport

OLD, NEW = "arn:aws:ecs:us-east-1:1:task-definition/weather:1", "arn:aws:ecs:us-east-1:1:task-definition/weather:2"
TASK = "0123456789abcdef0123456789abcdef"
NOW = datetime.now(timezone.utc)
SPEC = ServiceSpec(name="weather", path="/lab/services/weather")


def deployment(definition: str = NEW, running: int = 1, **more: Any) -> dict[str, Any]:
    return {"taskDefinition": definition, "runningCount": running, "rolloutState": "COMPLETED", **more}


def service(*deployments: dict[str, Any], running: int = 1, desired: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "serviceName": "weather", "status": "ACTIVE", "taskDefinition": NEW, "events": [],
        "runningCount": running, "desiredCount": desired, "deployments": list(deployments or [deployment()]), **more,
    }  # fmt: skip


def task(minute: int, **more: Any) -> dict[str, Any]:
    return {
        "taskArn": f"arn:aws:ecs:us-east-1:1:task/blue/{TASK}", "taskDefinitionArn": NEW, "lastStatus": "STOPPED",
        "stopCode": "EssentialContainerExited", "stoppedReason": "Essential container in task exited",
        "stoppedAt": NOW + timedelta(minutes=minute), "containers": [{"name": "weather", "exitCode": 3}], **more,
    }  # fmt: skip


class Answers:
    """An ECS that gives these responses in order and refuses other requests."""

    def __init__(self) -> None:
        credentials = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        self.client = boto3.client("ecs", region_name="us-east-1", **credentials)
        self._stubber = Stubber(self.client)
        self._stubber.activate()
        self.target = FakeTarget(None, clients={"ecs": self.client})
        self.rollout = Rollout(Lab(name="blue"), SPEC, NEW, self.target, ServicePoller(self.target, "blue"))

    def shows(self, *services: dict[str, Any]) -> None:
        """Each is the response to one poll."""
        for one in services:
            self._stubber.add_response("describe_services", {"services": [one]})

    def stopped(self, *tasks: dict[str, Any]) -> None:
        asked = {"cluster": "blue", "serviceName": "weather", "desiredStatus": "STOPPED"}
        self._stubber.add_response("list_tasks", {"taskArns": [one["taskArn"] for one in tasks]}, asked)
        if tasks:
            self._stubber.add_response("describe_tasks", {"tasks": list(tasks)}, {"cluster": "blue", "tasks": ANY})

    def running(self, *tasks: dict[str, Any]) -> None:
        asked = {"cluster": "blue", "serviceName": "weather", "desiredStatus": "RUNNING"}
        self._stubber.add_response("list_tasks", {"taskArns": [one["taskArn"] for one in tasks]}, asked)
        if tasks:
            self._stubber.add_response("describe_tasks", {"tasks": list(tasks)}, {"cluster": "blue", "tasks": ANY})

    def joined(self, instances: int) -> None:
        cluster = {"clusterName": "blue", "registeredContainerInstancesCount": instances}
        self._stubber.add_response("describe_clusters", {"clusters": [cluster]})

    def gone(self) -> None:
        self._stubber.add_response("describe_services", {"services": []})

    def failure(self, since: float | None = None) -> StepFailed:
        with pytest.raises(StepFailed) as raised:
            self.rollout.await_stable(RecordingReport(), time.time() if since is None else since)
        self._stubber.assert_no_pending_responses()
        return raised.value


@pytest.fixture
def ecs() -> Answers:
    return Answers()


# --- what is seen of a service


@pytest.mark.parametrize(
    ("found", "stable"),
    [
        (service(), True),
        (service(running=0, desired=0), True),
        (service(running=1, desired=2), False),
        (service(running=2, desired=1), False),
        (service(deployment(), deployment(OLD)), False),
        (service(deployment(rolloutState="IN_PROGRESS")), False),
        (service(deployment(rolloutState="FAILED")), False),
        (service(status="DRAINING"), False),
    ],
)
def test_is_stable(found: dict[str, Any], stable: bool) -> None:
    assert is_stable(found) == stable


def test_counts() -> None:
    assert counts(service(running=2, desired=3)) == "2/3 running"
    assert counts(service(deployment(), deployment(OLD))) == "1/1 running, deploying"


# --- a rollout that comes to its end


def test_progress_is_reported_once_per_change(ecs: Answers) -> None:
    begins = deployment(running=0, rolloutState="IN_PROGRESS")
    half = deployment(running=1, rolloutState="IN_PROGRESS")
    ecs.shows(
        service(begins, running=0, desired=2),
        service(begins, running=0, desired=2),
        service(half, running=1, desired=2),
        service(running=2, desired=2),
    )
    report = RecordingReport()
    assert ecs.rollout.await_stable(report, time.time()) == "2/2 running"
    assert report.texts == ["0/2 running", "1/2 running"]


def test_first_failed_task_is_tolerated(ecs: Answers) -> None:
    """It may have needed something that wasn't up yet."""
    ecs.shows(service(deployment(running=0, rolloutState="IN_PROGRESS", failedTasks=1), running=0), service())
    assert ecs.rollout.await_stable(RecordingReport(), time.time()) == "1/1 running"


def test_outdated_description_is_ignored(ecs: Answers) -> None:
    """ECS is eventually consistent: at first it describes the old deployment, which is stable."""
    before = service(deployment(OLD, id="old"), taskDefinition=OLD)
    coming = service(deployment(running=0, rolloutState="IN_PROGRESS", id="new"), running=0)
    after = service(deployment(id="new"))
    ecs.rollout.started_as(coming)
    ecs.shows(before, before, coming, after)
    assert ecs.rollout.await_stable(RecordingReport(), time.time()) == "1/1 running"


def test_outdated_count_is_ignored(ecs: Answers) -> None:
    before, after = service(deployment(id="one")), service(deployment(id="one", running=2), running=2, desired=2)
    ecs.rollout.started_as(service(deployment(id="one"), desired=2))
    ecs.shows(before, after)
    assert ecs.rollout.await_stable(RecordingReport(), time.time()) == "2/2 running"


def test_outdated_description_counts_in_the_end(ecs: Answers) -> None:
    ecs.rollout.started_as(service(deployment(id="new")))
    ecs.shows(service(deployment(OLD, id="old"), taskDefinition=OLD))
    ecs.stopped(task(1))
    assert ecs.failure(since=time.time() - 20).what == "The service weather does not start"


# --- one that cannot


CRASHES = service(deployment(running=0, rolloutState="IN_PROGRESS", failedTasks=2), running=0)


def test_crash_is_reported_with_exit_code_and_log(ecs: Answers) -> None:
    ecs.target.logs += [LogLine(TASK[:8], "Traceback"), LogLine(TASK[:8], "KeyError: 'API_KEY'"), LogLine("ff", "no")]
    ecs.shows(CRASHES)
    ecs.stopped(task(1))
    failure = ecs.failure()
    assert failure.what == "The service weather does not start"
    assert failure.where == "step services/weather, /lab/services/weather"
    assert failure.why.splitlines() == [
        "task 01234567: Essential container in task exited",
        "weather exited with code 3",
        "its last log lines:",
        "  Traceback",
        "  KeyError: 'API_KEY'",
    ]
    assert "ecsconsul logs weather" in failure.hint


def test_task_without_a_log_is_reported_with_its_reason(ecs: Answers) -> None:
    reason = "CannotPullContainerError: pull access denied"
    ecs.shows(CRASHES)
    ecs.stopped(
        task(1, stopCode="TaskFailedToStart", stoppedReason="Task failed to start", containers=[
            {"name": "weather", "reason": reason}]),
    )  # fmt: skip
    assert ecs.failure().why.splitlines() == ["task 01234567: Task failed to start", reason, "its log is empty"]


def test_log_that_goes_elsewhere_is_reported_as_such(ecs: Answers) -> None:
    ecs.target.unreadable = LabError("ecsconsul can't read the tasks' logs", why="the log driver is syslog")
    ecs.shows(CRASHES)
    ecs.stopped(task(1))
    assert ecs.failure().why.splitlines()[-1] == "ecsconsul can't read the tasks' logs: the log driver is syslog"


def test_newest_failed_task_is_reported(ecs: Answers) -> None:
    ecs.shows(CRASHES)
    ecs.stopped(
        task(1, containers=[{"name": "weather", "exitCode": 1}]),
        task(2, containers=[{"name": "weather", "exitCode": 2}]),
        task(3, stopCode="ServiceSchedulerInitiated", containers=[{"name": "weather", "exitCode": 143}]),
        task(4, taskDefinitionArn=OLD, containers=[{"name": "weather", "exitCode": 9}]),
    )
    assert "exited with code 2" in ecs.failure().why


def test_stopped_task_is_preferred_to_a_stopping_one(ecs: Answers) -> None:
    stopping = task(5, lastStatus="DEPROVISIONING", containers=[{"name": "weather", "exitCode": 4}])
    del stopping["stoppedAt"]
    ecs.shows(CRASHES)
    ecs.stopped(task(1), stopping)
    assert "exited with code" in ecs.failure().why


def test_stopping_task_is_reported_if_there_is_no_other(ecs: Answers) -> None:
    stopping = task(5, lastStatus="DEPROVISIONING", containers=[{"name": "weather", "exitCode": 4}])
    del stopping["stoppedAt"]
    ecs.shows(CRASHES)
    ecs.stopped(stopping)
    assert "exited with code 4" in ecs.failure().why


def test_crash_without_a_stopped_task(ecs: Answers) -> None:
    ecs.shows(CRASHES)
    ecs.stopped()
    assert ecs.failure().why == "ECS lists no stopped task that would show why"


def test_circuit_breaker_ends_the_wait(ecs: Answers) -> None:
    ecs.shows(service(deployment(running=0, rolloutState="FAILED", failedTasks=3), running=0))
    ecs.stopped(task(1))
    assert ecs.failure().what == "The service weather does not start"


def test_rolled_back_service_is_not_ready(ecs: Answers) -> None:
    """It is stable, with the old task definition."""
    ecs.shows(service(deployment(OLD), taskDefinition=OLD))
    ecs.stopped(task(1))
    assert "exited with code 3" in ecs.failure().why


def test_unplaced_task_fails_with_ecs_reason(ecs: Answers) -> None:
    words = "(service weather) was unable to place a task because no container instance met all of its requirements."
    begun = time.time() - 60
    event = {"id": "1", "createdAt": datetime.fromtimestamp(begun + 1, timezone.utc), "message": words}
    ecs.shows(service(deployment(running=0, rolloutState="IN_PROGRESS"), running=0, events=[event]))
    ecs.joined(2)
    failure = ecs.failure(since=begun)
    assert (failure.what, failure.why) == ("The service weather cannot be placed", words)


def happened(seconds_ago: float, message: str) -> dict[str, Any]:
    at = datetime.fromtimestamp(time.time() - seconds_ago, timezone.utc)
    return {"id": message, "createdAt": at, "message": f"(service weather) {message}"}


NO_INSTANCES = (
    "was unable to place a task because no container instance met all of its requirements. "
    "Reason: No Container Instances were found in your cluster."
)
BEGINS = deployment(running=0, rolloutState="IN_PROGRESS")


def test_joining_instances_are_awaited(ecs: Answers) -> None:
    """Their ECS agents start after the boot scripts, some seconds after the stack is complete."""
    waiting = service(BEGINS, running=0, events=[happened(20, NO_INSTANCES)])
    ecs.shows(waiting)
    ecs.joined(0)
    ecs.shows(waiting)
    ecs.joined(1)
    ecs.shows(service())
    assert ecs.rollout.await_stable(RecordingReport(), time.time() - 30) == "1/1 running"


def test_task_that_fits_no_instance_fails(ecs: Answers) -> None:
    ecs.shows(service(BEGINS, running=0, events=[happened(20, NO_INSTANCES)]))
    ecs.joined(2)
    assert ecs.failure(since=time.time() - 30).what == "The service weather cannot be placed"


def test_booting_instances_are_awaited(ecs: Answers) -> None:
    waiting = service(BEGINS, running=0, events=[happened(200, NO_INSTANCES)])
    ecs.shows(waiting)
    ecs.joined(1)
    ecs.shows(service())
    assert ecs.rollout.await_stable(RecordingReport(), time.time() - 300) == "1/1 running"


NO_ROOM = "was unable to place a task because no container instance met all of its requirements. Reason: its port."
UNDER_WAY = (deployment(running=1, rolloutState="IN_PROGRESS"), deployment(OLD, running=2))


@pytest.mark.parametrize(
    ("running", "pending", "seconds"),
    [
        pytest.param(2, 1, 200, id="its image is pulled"),
        pytest.param(3, 0, 200, id="it runs, and an old one will be stopped"),
        pytest.param(1, 0, 60, id="an old one is being stopped"),
    ],
)
def test_placement_waits_for_stopping_tasks(ecs: Answers, running: int, pending: int, seconds: float) -> None:
    events = [happened(seconds, NO_ROOM)]
    on_its_way = service(*UNDER_WAY, running=running, desired=2, pendingCount=pending, events=events)
    ecs.shows(on_its_way, service(running=2, desired=2))
    assert ecs.rollout.await_stable(RecordingReport(), time.time() - 250) == "2/2 running"


@pytest.mark.parametrize(("running", "seconds"), [(2, 20), (1, 120)])
def test_placement_fails_when_nothing_stops(ecs: Answers, running: int, seconds: float) -> None:
    ecs.shows(service(*UNDER_WAY, running=running, desired=2, pendingCount=0, events=[happened(seconds, NO_ROOM)]))
    ecs.joined(2)
    assert "its port" in ecs.failure(since=time.time() - 250).why


def test_empty_cluster_fails_after_a_minute(ecs: Answers) -> None:
    ecs.shows(service(BEGINS, running=0))
    ecs.joined(0)
    failure = ecs.failure(since=time.time() - 61)
    assert failure.what == "The service weather cannot be placed"
    assert re.match(r"no instance has joined the cluster blue within 6\d s", failure.why)


STARTED = "has started 1 tasks: (task 0123456789abcdef)."


def test_brief_tasks_are_counted_by_events(ecs: Answers) -> None:
    """ECS resets its count of failures as soon as a task has run."""
    once = service(BEGINS, running=0, events=[happened(9, STARTED)])
    twice = service(BEGINS, running=0, events=[happened(1, STARTED), happened(9, STARTED)])
    ecs.shows(once)
    ecs.stopped(task(1))
    ecs.shows(once, twice)
    ecs.stopped(task(1), task(2))
    failure = ecs.failure(since=time.time() - 20)
    assert failure.what == "The service weather does not start"
    assert "exited with code 3" in failure.why


def test_stopping_task_is_awaited_for_its_log(ecs: Answers) -> None:
    twice = service(BEGINS, running=0, events=[happened(1, STARTED), happened(9, STARTED)])
    stopping = task(1)
    del stopping["stoppedAt"]
    ecs.shows(twice)
    ecs.stopped(stopping)
    ecs.shows(twice)
    ecs.target.logs = [LogLine(TASK[:8], "no database here")]
    ecs.stopped(task(1))
    assert "no database here" in ecs.failure(since=time.time() - 20).why


def test_pending_tasks_are_not_lost(ecs: Answers) -> None:
    coming = deployment(running=0, rolloutState="IN_PROGRESS", pendingCount=1)
    ecs.shows(service(coming, running=0, desired=1, events=[happened(1, STARTED)]), service())
    assert ecs.rollout.await_stable(RecordingReport(), time.time() - 20) == "1/1 running"


def test_tasks_of_an_earlier_deployment_are_not_lost(ecs: Answers) -> None:
    ecs.shows(service(BEGINS, running=0, events=[happened(60, STARTED), happened(61, STARTED)]), service())
    assert ecs.rollout.await_stable(RecordingReport(), time.time() - 20) == "1/1 running"


@pytest.mark.parametrize(
    "reason",
    [
        "CannotPullContainerError: manifest unknown",
        "CannotPullContainerError: weather:1: not found",
        "CannotStartContainerError: exec /bin/server: exec format error",
    ],
)
def test_permanent_error_fails_at_the_first_task(ecs: Answers, reason: str) -> None:
    ecs.shows(service(BEGINS, running=0, events=[happened(9, STARTED)]))
    ecs.stopped(task(1, containers=[{"name": "weather", "reason": reason}]))
    assert reason in ecs.failure(since=time.time() - 20).why


# --- one whose container fails its own check


UNHEALTHY = "(task 0123456789abcdef) failed container health checks."
SICK = {"stopCode": "ServiceSchedulerInitiated", "stoppedReason": "Task failed container health checks"}


def test_second_unhealthy_task_fails_although_a_third_runs(ecs: Answers) -> None:
    """ECS starts a replacement before it stops an unhealthy task, so no task seems to be lost."""
    runs = deployment(rolloutState="IN_PROGRESS")
    ecs.shows(
        service(runs, events=[happened(9, UNHEALTHY)]),
        service(runs, events=[happened(1, UNHEALTHY), happened(9, UNHEALTHY)]),
    )
    ecs.stopped(task(1, **SICK), task(2, **SICK))
    failure = ecs.failure(since=time.time() - 20)
    assert failure.what == "The service weather does not become healthy"
    assert failure.why.splitlines()[0] == "task 01234567: Task failed container health checks"
    assert "check: {container: false}" in failure.hint


def test_unhealthy_tasks_of_the_old_definition_do_not_count(ecs: Answers) -> None:
    twice = [happened(1, UNHEALTHY), happened(9, UNHEALTHY)]
    ecs.shows(service(deployment(rolloutState="IN_PROGRESS"), events=twice))
    ecs.stopped(task(1, **SICK), task(2, **{**SICK, "taskDefinitionArn": OLD}))
    ecs.shows(service())
    assert ecs.rollout.await_stable(RecordingReport(), time.time() - 20) == "1/1 running"


def test_circuit_breaker_names_the_unhealthy_task(ecs: Answers) -> None:
    ecs.shows(service(deployment(OLD), taskDefinition=OLD))
    ecs.stopped(task(1, **SICK))
    failure = ecs.failure()
    assert failure.what == "The service weather does not become healthy"
    assert "failed container health checks" in failure.why


# --- one that waits for more instances


def growing(ecs: Answers) -> Answers:
    lab = Lab(name="blue", instances=InstanceRange(min=1, max=3))
    ecs.rollout = Rollout(lab, SPEC, NEW, ecs.target, ServicePoller(ecs.target, "blue"))
    return ecs


def test_instances_that_ecs_adds_are_awaited(ecs: Answers) -> None:
    waiting = service(BEGINS, running=0, events=[happened(700, NO_ROOM)])
    for shown in (growing(ecs), ecs):
        shown.shows(waiting)
        shown.joined(1)
    ecs.shows(service())
    report = RecordingReport()
    assert ecs.rollout.await_stable(report, time.time() - 800) == "1/1 running"
    assert report.texts == ["waiting for another instance: 1 have joined of up to 3", "0/1 running"]


@pytest.mark.parametrize(("joined", "seconds"), [(3, 20), (1, 950)])
def test_no_room_fails_with_the_most_instances_or_in_the_end(ecs: Answers, joined: int, seconds: float) -> None:
    growing(ecs).shows(service(BEGINS, running=0, events=[happened(seconds - 5, NO_ROOM)]))
    ecs.joined(joined)
    assert "its port" in ecs.failure(since=time.time() - seconds).why


def test_deleted_service_fails_the_rollout(ecs: Answers) -> None:
    ecs.gone()
    assert "Someone deleted the service weather during its rollout" in ecs.failure().what


# --- one that only does not become healthy: Consul knows why


def test_timeout_shows_failing_checks(ecs: Answers, server: ConsulServer) -> None:
    ecs.target.consul_address = ConsulAddress(server.host, server.http, server.host, server.dns)
    check = {"Name": "HTTP", "TTL": "60s", "Status": "critical", "Notes": ""}
    AgentClient(server.host, server.http).register({"ID": "w:1", "Name": "weather", "Port": 80, "Check": check})
    waiting = service(deployment(rolloutState="IN_PROGRESS"), events=[{"id": "1", "createdAt": NOW, "message": "(hm)"}])
    ecs.shows(*[waiting] * ecs.target.polling.attempts)
    newest, old = "2" * 32, "3" * 32
    ecs.running(
        task(0, createdAt=NOW, taskArn=f"arn:aws:ecs:us-east-1:1:task/blue/{newest}"),
        task(0, createdAt=NOW - timedelta(minutes=1)),
        task(0, createdAt=NOW, taskArn=f"arn:aws:ecs:us-east-1:1:task/blue/{old}", taskDefinitionArn=OLD),
    )
    ecs.target.logs = [LogLine(newest[:8], "no database here"), LogLine(TASK[:8], "older"), LogLine(old[:8], "fine")]
    failure = ecs.failure()
    assert failure.what == "The service weather does not become healthy"
    assert failure.why.splitlines()[0].startswith("1/1 running; timed out after")
    assert "last ECS event: (hm)" in failure.why
    assert failure.why.splitlines()[-4:] == [
        "Consul's checks:", "  w:1: critical: ", "its last log lines:", "  no database here",
    ]  # fmt: skip


def test_timeout_without_consul_keeps_the_first_error(ecs: Answers) -> None:
    ecs.target.consul_address = ConsulAddress("127.0.0.1", 9, "127.0.0.1", 9)
    ecs.shows(*[service(deployment(rolloutState="IN_PROGRESS"))] * ecs.target.polling.attempts)
    ecs.running()
    failure = ecs.failure()
    assert failure.what == "The service weather does not become healthy"
    assert "Consul does not answer" in failure.why
    assert failure.why.endswith("no task of it runs")


@pytest.mark.parametrize(("other", "more"), [("weather's task 1a2b", True), ("nginx (process 7)", False)])
def test_program_whose_port_is_taken_fails_at_once_with_the_ways_out(ecs: Answers, other: str, more: bool) -> None:
    reason = f"PortInUse: its program has port 5000 built in and doesn't listen at $PORT, but {other} listens there"
    begun = service(
        deployment(running=1, rolloutState="IN_PROGRESS"),
        desired=2,
        events=[{"id": "1", "createdAt": NOW, "message": "(service weather) has started 2 tasks: (task a) (task b)."}],
    )
    ecs.shows(begun)
    ecs.stopped(task(1, containers=[{"name": "weather", "exitCode": 1, "reason": reason}]))
    failure = ecs.failure(NOW.timestamp())
    assert reason in (failure.why or "")
    assert "let it listen at $PORT" in failure.hint
    assert "--runtime docker" in failure.hint
    assert ("`ecsconsul scale weather=0`" in failure.hint) == more
