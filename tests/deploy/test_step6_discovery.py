"""Discovery in a real Consul: success, and what a failure reports."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from ecsconsul.deploy import step6_discovery
from ecsconsul.deploy.endpoints import Endpoint
from ecsconsul.deploy.step import decide
from ecsconsul.deploy.step6_discovery import DiscoveryStep
from ecsconsul.errors import LabError, StepFailed, TargetAbsent
from ecsconsul.polling import PollingPolicy
from ecsconsul.targets.base import ConsulAddress, LogLine
from tests.consul_server import AgentClient, ConsulServer
from tests.deploy.world import FakeTarget, RecordingReport

PASSING = {"weather": 2, "portal": 1}


@pytest.fixture
def target(server: ConsulServer) -> FakeTarget:
    address = ConsulAddress(server.host, server.http, server.host, server.dns)
    return FakeTarget(None, address, polling=PollingPolicy(delay=0.05, attempts=1200))


@pytest.fixture
def step(target: FakeTarget) -> DiscoveryStep:
    return DiscoveryStep("blue", PASSING, target, ())


def register(consul: AgentClient, service_id: str, name: str, status: str = "passing", port: int = 80) -> None:
    check = {"Name": "HTTP", "TTL": "60s", "Status": status}
    consul.register({"ID": service_id, "Name": name, "Port": port, "Check": check})


def seen(step: DiscoveryStep) -> tuple[str, str]:
    """The decision and the detail."""
    found = step.inspect()
    assert found is not None
    return decide(step.desired(), found), found.detail


def test_all_instances_must_pass(step: DiscoveryStep, consul: AgentClient) -> None:
    assert seen(step) == ("wait", "weather 0/2, portal 0/1 passing")
    register(consul, "w1", "weather")
    register(consul, "w2", "weather", "critical")
    register(consul, "p1", "portal")
    assert seen(step) == ("wait", "weather 1/2 passing")
    consul.deregister("w2")
    register(consul, "w3", "weather")
    assert seen(step) == ("keep", "3 of 3 instances passing")


def test_daemon_may_have_more_instances(target: FakeTarget, consul: AgentClient) -> None:
    step = DiscoveryStep("blue", {"agent": 1}, target, (), at_least={"agent"})
    assert seen(step) == ("wait", "agent 0/1 passing")
    register(consul, "a1", "agent")
    register(consul, "a2", "agent")
    assert seen(step) == ("keep", "1 of 1 instances passing")


def test_extra_instance_is_not_as_desired(step: DiscoveryStep, consul: AgentClient) -> None:
    for service_id in ("w1", "w2", "w3"):
        register(consul, service_id, "weather")
    register(consul, "p1", "portal")
    assert seen(step) == ("wait", "weather 3/2 passing")


def test_discovery_ends_with_the_last_instance(
    step: DiscoveryStep, consul: AgentClient, report: RecordingReport
) -> None:
    register(consul, "w1", "weather")
    register(consul, "p1", "portal")
    later = threading.Timer(0.1, register, (consul, "w2", "weather"))
    later.start()
    try:
        assert step.apply(None, report) == "3 of 3 instances passing"
    finally:
        later.join()


def test_consul_is_asked_however_little_time_there_is(
    target: FakeTarget, consul: AgentClient, report: RecordingReport
) -> None:
    target.polling = PollingPolicy(delay=0.0, attempts=0)
    step = DiscoveryStep("blue", PASSING, target, ())
    register(consul, "w1", "weather")
    with pytest.raises(StepFailed, match="weather: 1 of 2 passing"):
        step.apply(None, report)
    register(consul, "w2", "weather")
    register(consul, "p1", "portal")
    assert step.apply(None, report) == "3 of 3 instances passing"


def test_timeout_lists_failing_checks(target: FakeTarget, consul: AgentClient, report: RecordingReport) -> None:
    target.polling = PollingPolicy(delay=0.05, attempts=4)
    step = DiscoveryStep("blue", PASSING, target, ())
    register(consul, "w1", "weather")
    register(consul, "w2", "weather", "critical")
    with pytest.raises(StepFailed) as raised:
        step.apply(None, report)
    assert raised.value.what == "Consul does not see weather, portal as desired"
    assert raised.value.why.splitlines()[0] == "weather: 1 of 2 passing"
    assert any(line.startswith("w2: HTTP: critical") for line in raised.value.why.splitlines())
    assert report.texts == ["weather 1/2, portal 0/1 passing"]


def test_timeout_lists_ghosts_unregistered_tasks_and_logs(
    target: FakeTarget, consul: AgentClient, report: RecordingReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [
        Endpoint("0123456789", "weather", "i-0a1b", frozenset({80})),
        Endpoint("9876543210", "weather", "i-0a1b", frozenset({81})),
    ]
    monkeypatch.setattr(step6_discovery, "endpoints_of", lambda ecs, cluster: tasks)
    target.clients["ecs"] = None
    target.polling = PollingPolicy(delay=0.05, attempts=4)
    target.logs = [LogLine("98765432", "no database here"), LogLine("01234567", "all is well")]
    register(consul, "w1", "weather")
    register(consul, "w9", "weather", port=99)
    register(consul, "w8", "weather", port=98)
    register(consul, "p1", "portal")
    with pytest.raises(StepFailed) as raised:
        DiscoveryStep("blue", PASSING, target, ()).apply(None, report)
    said = raised.value.why.splitlines()
    assert said[0] == "weather: 3 of 2 passing"
    target.unreadable = LabError("ecsconsul can't read the tasks' logs")
    with pytest.raises(StepFailed, match="ecsconsul can't read the tasks' logs"):
        DiscoveryStep("blue", PASSING, target, ()).apply(None, report)
    assert set(said[1:-1]) == {
        "w8: a ghost, registered without a running task",
        "w9: a ghost, registered without a running task",
        "task 98765432 is running but not registered in Consul",
        "last log lines of weather, task 98765432:",
        "  no database here",
    }


def test_standalone_task_that_is_registered_is_no_surplus(
    target: FakeTarget, consul: AgentClient, report: RecordingReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, port in (("w1", 80), ("w2", 81), ("w3", 82)):
        register(consul, name, "weather", port=port)
    register(consul, "p1", "portal")
    with target.consul() as address:
        node = address.client().catalog()["weather"][0].node
    asked: list[str] = []
    tasks = [Endpoint("0123456789", "", node, frozenset({82}))]
    monkeypatch.setattr(step6_discovery, "endpoints_of", lambda ecs, cluster: asked.append(cluster) or tasks)
    target.clients["ecs"] = None
    step = DiscoveryStep("blue", PASSING, target, ())
    assert step.apply(None, report) == "3 of 3 instances passing"
    actual = step.inspect()
    assert actual is not None
    assert actual.ready
    consul.deregister("w3")
    asked.clear()
    assert step.apply(None, report) == "3 of 3 instances passing"
    assert asked == []


def test_steady_catalog_fails_early(
    target: FakeTarget, consul: AgentClient, report: RecordingReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step6_discovery, "STEADY_TIMEOUT", 0.3)
    target.polling = PollingPolicy(delay=0.05, attempts=100_000)
    register(consul, "w1", "weather", "critical")
    with pytest.raises(StepFailed, match="Consul does not see weather, portal as desired") as raised:
        DiscoveryStep("blue", PASSING, target, ()).apply(None, report)
    assert raised.value.why.splitlines()[-1] in {f"timed out after {seconds} s" for seconds in range(10)}


def test_unreachable_consul_is_a_wait() -> None:
    step = DiscoveryStep("blue", PASSING, FakeTarget(None, ConsulAddress("127.0.0.1", 9, "127.0.0.1", 9)), ())
    assert seen(step) == ("wait", "Consul does not answer: Connection refused")


def test_unreachable_consul_fails_discovery(report: RecordingReport) -> None:
    target = FakeTarget(None, ConsulAddress("127.0.0.1", 9, "127.0.0.1", 9), polling=PollingPolicy(0.01, 100))
    step = DiscoveryStep("blue", PASSING, target, ())
    with pytest.raises(StepFailed) as raised:
        step.apply(None, report)
    assert raised.value.what == "Consul can't be reached; the services may be healthy"
    assert raised.value.where == "step discovery"
    assert "Connection refused" in raised.value.why
    assert report.texts == ["Consul does not answer: Connection refused"], "however often it was asked"


def test_absent_target_has_no_discovery() -> None:
    with pytest.raises(TargetAbsent):
        DiscoveryStep("blue", PASSING, FakeTarget(None), ()).inspect()


def test_destroy_does_nothing(step: DiscoveryStep, report: RecordingReport) -> None:
    before: dict[str, Any] = dict(step.desired())
    assert step.destroy(report) == "nothing to delete"
    assert step.desired() == before
