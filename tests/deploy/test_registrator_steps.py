"""The steps of the Registrator, for targets that have it as a system service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ecsconsul.aws_tags import LAB_TAG, as_mapping
from ecsconsul.config.aws_settings import AwsSpec, RegistratorSpec
from ecsconsul.config.lab import Lab, ServiceSpec
from ecsconsul.deploy import executor
from ecsconsul.deploy.lab_steps import steps_for
from ecsconsul.deploy.orphans import orphaned_services
from ecsconsul.deploy.step import Step
from ecsconsul.paths import registrator_source
from ecsconsul.targets.base import TaskSecrets
from tests.deploy.world import FakeTarget, RecordingReport, Runtime, SilentObserver

OURS = ("images/registrator", "tasks/registrator", "services/registrator", "consul-security")
TOKEN = TaskSecrets({"CONSUL_HTTP_TOKEN": "/ecsconsul/blue/tasks/registrator"}, {})
ROLE = "arn:aws:iam::123456789012:role/blue-TaskExecutionRole-1A2B"
LOGS = {"logDriver": "awslogs", "options": {"awslogs-group": "/ecsconsul/blue", "awslogs-region": "us-east-1"}}


class Account(FakeTarget):
    """A target like an AWS account, with a log configuration."""

    def log_configuration(self, service: str) -> dict[str, Any] | None:
        return {**LOGS, "options": {**LOGS["options"], "awslogs-stream-prefix": service}}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(name="blue", services=(ServiceSpec(name="weather", path=str(tmp_path), count=0),))


@pytest.fixture
def account(world: Runtime) -> FakeTarget:
    secrets = {"registrator": TOKEN}
    return Account(world.endpoint("plain"), system_services=("registrator",), secrets=secrets, role=ROLE)


def names(lab: Lab, target: FakeTarget) -> list[str]:
    return [step.name for step in steps_for(lab, target)]


def only(lab: Lab, target: FakeTarget, *beginnings: str) -> list[Step]:
    return [step for step in steps_for(lab, target) if step.name.startswith(beginnings)]


def test_registrator_is_a_system_service_of_the_target(lab: Lab, account: FakeTarget) -> None:
    assert set(names(lab, account)) - set(names(lab, FakeTarget(None))) == set(OURS)


def test_discovery_needs_the_registrator(lab: Lab, account: FakeTarget) -> None:
    needs = {step.name: set(step.needs) for step in steps_for(lab, account)}
    assert "services/registrator" in needs["discovery"]
    assert needs["services/weather"] == {"stack", "capacity-provider", "tasks/weather"}
    assert needs["services/registrator"] == {"stack", "capacity-provider", "tasks/registrator"}
    assert needs["consul-security"] == {"stack", "services/registrator"}


def test_registrator_is_created_kept_and_deleted(lab: Lab, account: FakeTarget) -> None:
    every = ("cluster", "images/", "tasks/", "services/")
    executor.up(only(lab, account, *every), SilentObserver())
    assert {change.op for change in executor.plan(only(lab, account, *every))} == {"keep"}
    ecs = account.client("ecs")
    found = ecs.describe_services(cluster="blue", services=["registrator"], include=["TAGS"])
    (service,) = found["services"]
    assert (service["schedulingStrategy"], as_mapping(service["tags"])[LAB_TAG]) == ("DAEMON", "blue")
    assert orphaned_services(lab, account) == []
    executor.down(only(lab, account, *every), SilentObserver())
    assert {change.op for change in executor.plan(only(lab, account, *every))} == {"create"}
    assert ecs.list_task_definitions()["taskDefinitionArns"] == []
    assert account.images.published == {}


def test_second_up_writes_nothing(lab: Lab, account: FakeTarget) -> None:
    every = ("cluster", "images/", "tasks/", "services/")
    executor.up(only(lab, account, *every), SilentObserver())
    account.requests.clear()
    executor.up(only(lab, account, *every), SilentObserver())
    assert account.writes() == []


def definition(lab: Lab, target: FakeTarget, name: str = "registrator") -> dict[str, Any]:
    (task,) = only(lab, target, f"tasks/{name}")
    return dict(task.desired() or {})


def test_registrator_uses_the_instances_docker_and_consul(lab: Lab, account: FakeTarget) -> None:
    wanted = definition(lab, account)
    (container,) = wanted["containerDefinitions"]
    assert wanted["networkMode"] == "host"
    assert wanted["volumes"] == [{"name": "docker", "host": {"sourcePath": "/var/run/docker.sock"}}]
    assert container["mountPoints"] == [
        {"sourceVolume": "docker", "containerPath": "/var/run/docker.sock", "readOnly": True}
    ]
    assert container["environment"] == [{"name": "DOCKER_HOST", "value": "unix:///var/run/docker.sock"}]
    assert container["command"][-3:] == ["-on-exit", "keep", "consul://127.0.0.1:8500"], "a redeploy empties no catalog"


def test_log_configuration_comes_from_the_target(lab: Lab, account: FakeTarget) -> None:
    for name in ("registrator", "weather"):
        (container,) = definition(lab, account, name)["containerDefinitions"]
        assert container["logConfiguration"]["options"]["awslogs-stream-prefix"] == name


def test_changed_log_configuration_is_an_update(lab: Lab, account: FakeTarget, report: RecordingReport) -> None:
    (task,) = only(lab, account, "tasks/weather")
    task.apply(None, report)
    assert [change.op for change in executor.plan([task])] == ["keep"]
    (elsewhere,) = only(lab, FakeTarget(account.endpoint), "tasks/weather")
    assert [change.op for change in executor.plan([elsewhere])] == ["update"]


def test_registrator_image_is_built_from_this_package(lab: Lab, account: FakeTarget) -> None:
    (container,) = definition(lab, account)["containerDefinitions"]
    assert container["image"].startswith("registry.example/registrator:")
    assert (registrator_source() / "registrator").is_dir()


def test_external_image_is_not_built(lab: Lab, account: FakeTarget) -> None:
    given = replace(lab, aws=AwsSpec(registrator=RegistratorSpec(image="gliderlabs/registrator:master")))
    assert set(names(lab, account)) - set(names(given, account)) == {"images/registrator"}
    (container,) = definition(given, account)["containerDefinitions"]
    assert container["image"] == "gliderlabs/registrator:master"
    assert "-on-exit" not in container["command"], "an option of our own"
    (task,) = only(given, account, "tasks/registrator")
    assert task.needs == ("prerequisites", "stack")


def test_token_is_a_secret_that_the_stacks_role_reads(lab: Lab, account: FakeTarget, report: RecordingReport) -> None:
    (task,) = only(lab, account, "tasks/registrator")
    assert "stack" in task.needs, "the role is the stack's"
    task.apply(None, report)
    found = account.client("ecs").describe_task_definition(taskDefinition=task.family)["taskDefinition"]
    assert found["executionRoleArn"] == ROLE
    (container,) = found["containerDefinitions"]
    assert container["secrets"] == [{"name": "CONSUL_HTTP_TOKEN", "valueFrom": "/ecsconsul/blue/tasks/registrator"}]
    assert [change.op for change in executor.plan([task])] == ["keep"]
    account.role = f"{ROLE}-of-another-stack"
    assert [change.op for change in executor.plan([task])] == ["update"]


def test_service_without_a_token_waits_for_no_stack_and_has_no_role(lab: Lab, account: FakeTarget) -> None:
    (task,) = only(lab, account, "tasks/weather")
    assert task.needs == ("images/weather",)
    assert "secrets" not in definition(lab, account, "weather")["containerDefinitions"][0]


def test_service_named_registrator_is_a_blocker(lab: Lab, account: FakeTarget) -> None:
    taken = replace(lab, services=(replace(lab.services[0], name="registrator"),))
    (objection,) = executor.blockers(steps_for(taken, account))
    assert "registrator" in objection.what
    assert executor.blockers(steps_for(taken, FakeTarget(None))) == []
