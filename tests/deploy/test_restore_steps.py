"""The steps of a restore: what waits for what, and when the catalog counts as up to date."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ecsconsul.config.lab import Lab, ServiceSpec
from ecsconsul.consul.lab_secrets import new_secrets
from ecsconsul.deploy import restore_steps
from ecsconsul.deploy.restore_steps import CatalogStep, TokensStep
from ecsconsul.deploy.restore_steps import restore_steps as steps_of
from ecsconsul.errors import StepFailed
from ecsconsul.polling import PollingPolicy
from ecsconsul.targets.base import ConsulAddress
from tests.consul_server import AgentClient, ConsulServer
from tests.deploy.world import FakeTarget, RecordingReport

LAB = Lab(name="blue", services=(ServiceSpec(name="weather", path="/"),))
SECRETS = new_secrets("blue")
NODE, PORT = "i-0a1b", 32768
CLUSTER = "arn:aws:ecs:us-east-1:123456789012"


class OneTask:
    """ECS with one running task of weather, at this port."""

    class exceptions:
        class ClusterNotFoundException(Exception): ...

    def __init__(self, port: int) -> None:
        self._port = port

    def get_paginator(self, operation: str) -> Any:
        return self

    def paginate(self, **request: Any) -> Iterator[dict[str, Any]]:
        yield {"taskArns": [f"{CLUSTER}:task/blue/0a"]}

    def describe_tasks(self, **request: Any) -> dict[str, Any]:
        bindings = [{"networkBindings": [{"hostPort": self._port}]}]
        task = {"taskArn": f"{CLUSTER}:task/blue/0a", "lastStatus": "RUNNING", "containers": bindings}
        return {"tasks": [{**task, "containerInstanceArn": "c", "group": "service:weather"}]}

    def describe_container_instances(self, **request: Any) -> dict[str, Any]:
        return {"containerInstances": [{"containerInstanceArn": "c", "ec2InstanceId": NODE}]}


@pytest.fixture
def report() -> RecordingReport:
    return RecordingReport()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CATALOG_POLICY", "TOKENS_POLICY"):
        monkeypatch.setattr(restore_steps, name, PollingPolicy(delay=0.0, attempts=20))


def target(server: ConsulServer, port: int = PORT) -> Any:
    found = FakeTarget(None, ConsulAddress(server.host, server.http, server.host, server.dns))
    found.clients["ecs"] = OneTask(port)
    return found


def register(consul: AgentClient, port: int) -> None:
    consul.register({"ID": f"w{port}", "Name": "weather", "Port": port})


def test_tokens_come_after_the_data_and_the_catalog_last(tmp_path: Path) -> None:
    steps = steps_of(LAB, FakeTarget(None), tmp_path / "x.snap", SECRETS)  # type: ignore[arg-type]
    assert [(step.name, step.needs) for step in steps] == [
        ("snapshot/data", ()),
        ("snapshot/tokens", ("snapshot/data",)),
        ("snapshot/catalog", ("snapshot/tokens",)),
    ]


def test_catalog_with_the_tasks_that_run_is_up_to_date(
    server: ConsulServer, consul: AgentClient, report: RecordingReport
) -> None:
    register(consul, PORT)
    assert consul.wait_for("weather", seconds=10)
    assert CatalogStep(LAB, target(server)).apply(None, report) == "lists the tasks that run"


@pytest.mark.parametrize("ports", [(), (PORT, 999), (999,)], ids=["missing", "ghost", "other"])
def test_catalog_of_another_time_is_waited_for(
    server: ConsulServer, consul: AgentClient, report: RecordingReport, ports: tuple[int, ...]
) -> None:
    for port in ports:
        register(consul, port)
    if ports:
        assert consul.wait_for("weather", seconds=10)
    with pytest.raises(StepFailed, match="catalog isn't up to date"):
        CatalogStep(LAB, target(server)).apply(None, report)
    assert report.texts == ["not up to date yet: weather"]


def test_token_that_never_comes_is_an_error(server: ConsulServer, report: RecordingReport) -> None:
    """This Consul has no ACLs, so it knows no token."""
    with pytest.raises(StepFailed, match="doesn't accept the lab's management token") as error:
        TokensStep(target(server), SECRETS, ()).apply(None, report)
    assert "ACL support disabled" in error.value.why
