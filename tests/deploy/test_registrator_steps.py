"""The Registrator's steps: there where the target does not register tasks by itself, and made as a service's are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ecsconsul.config.lab import AwsSpec, Lab, RegistratorSpec, ServiceSpec
from ecsconsul.deploy import executor as walk
from ecsconsul.deploy.executor import NullObserver
from ecsconsul.deploy.lab_steps import steps_for
from ecsconsul.deploy.orphans import orphaned_services
from ecsconsul.deploy.step import LAB_TAG, Step, as_mapping
from ecsconsul.paths import registrator_source
from tests.deploy.world import Runtime, Said, WorldTarget

OURS = ("images/registrator", "tasks/registrator", "services/registrator")
LOGS = {"logDriver": "awslogs", "options": {"awslogs-group": "/ecsconsul/blue", "awslogs-region": "us-east-1"}}


class Account(WorldTarget):
    """A target as an AWS account is: it registers nothing, and keeps logs where it is told."""

    def log_configuration(self, lab: Lab, service_name: str) -> dict[str, Any] | None:
        return {**LOGS, "options": {**LOGS["options"], "awslogs-stream-prefix": service_name}}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(name="blue", services=(ServiceSpec(name="weather", path=str(tmp_path), count=0),))


@pytest.fixture
def account(world: Runtime) -> WorldTarget:
    return Account(world.endpoint("plain"), registers_itself=False)


def names(lab: Lab, target: WorldTarget) -> list[str]:
    return [step.name for step in steps_for(lab, target)]


def only(lab: Lab, target: WorldTarget, *beginnings: str) -> list[Step]:
    return [step for step in steps_for(lab, target) if step.name.startswith(beginnings)]


def test_it_has_steps_only_where_the_target_does_not_register_tasks(lab: Lab, account: WorldTarget) -> None:
    assert set(names(lab, account)) - set(names(lab, WorldTarget(None))) == set(OURS)


def test_discovery_waits_for_it_and_the_services_do_not(lab: Lab, account: WorldTarget) -> None:
    needs = {step.name: set(step.needs) for step in steps_for(lab, account)}
    assert "services/registrator" in needs["discovery"]
    assert needs["services/weather"] == {"stack", "tasks/weather"}
    assert needs["services/registrator"] == {"stack", "tasks/registrator"}


def test_it_is_made_kept_and_taken_away_as_the_services_are(lab: Lab, account: WorldTarget) -> None:
    every = ("cluster", "images/", "tasks/", "services/")
    walk.up(only(lab, account, *every), NullObserver())
    assert {change.op for change in walk.plan(only(lab, account, *every))} == {"keep"}
    ecs = account.client("ecs")
    found = ecs.describe_services(cluster="blue", services=["registrator"], include=["TAGS"])
    (service,) = found["services"]
    assert (service["schedulingStrategy"], as_mapping(service["tags"])[LAB_TAG]) == ("DAEMON", "blue")
    assert orphaned_services(lab, account) == []
    walk.down(only(lab, account, *every), NullObserver())
    assert {change.op for change in walk.plan(only(lab, account, *every))} == {"create"}
    assert ecs.list_task_definitions()["taskDefinitionArns"] == []
    assert account.images.published == {}


def test_a_second_time_writes_nothing(lab: Lab, account: WorldTarget) -> None:
    every = ("cluster", "images/", "tasks/", "services/")
    walk.up(only(lab, account, *every), NullObserver())
    account.asked.clear()
    walk.up(only(lab, account, *every), NullObserver())
    assert account.writes() == []


def definition(lab: Lab, target: WorldTarget, name: str = "registrator") -> dict[str, Any]:
    (task,) = only(lab, target, f"tasks/{name}")
    return dict(task.wanted() or {})


def test_it_sees_the_instances_docker_and_the_instances_consul(lab: Lab, account: WorldTarget) -> None:
    wanted = definition(lab, account)
    (container,) = wanted["containerDefinitions"]
    assert wanted["networkMode"] == "host"
    assert wanted["volumes"] == [{"name": "docker", "host": {"sourcePath": "/var/run/docker.sock"}}]
    assert container["mountPoints"] == [
        {"sourceVolume": "docker", "containerPath": "/var/run/docker.sock", "readOnly": True}
    ]
    assert container["environment"] == [{"name": "DOCKER_HOST", "value": "unix:///var/run/docker.sock"}]
    assert container["command"][-3:] == ["-on-exit", "keep", "consul://127.0.0.1:8500"], "a redeploy empties no catalog"


def test_every_container_logs_where_the_target_says(lab: Lab, account: WorldTarget) -> None:
    for name in ("registrator", "weather"):
        (container,) = definition(lab, account, name)["containerDefinitions"]
        assert container["logConfiguration"]["options"]["awslogs-stream-prefix"] == name


def test_other_logs_are_another_revision(lab: Lab, account: WorldTarget, report: Said) -> None:
    (task,) = only(lab, account, "tasks/weather")
    task.apply(None, report)
    assert [change.op for change in walk.plan([task])] == ["keep"]
    (elsewhere,) = only(lab, WorldTarget(account.endpoint), "tasks/weather")
    assert [change.op for change in walk.plan([elsewhere])] == ["update"]


def test_its_image_is_built_of_this_package(lab: Lab, account: WorldTarget) -> None:
    (container,) = definition(lab, account)["containerDefinitions"]
    assert container["image"].startswith("registry.example/registrator:")
    assert (registrator_source() / "registrator").is_dir()


def test_another_image_is_used_as_it_is(lab: Lab, account: WorldTarget) -> None:
    given = replace(lab, aws=AwsSpec(registrator=RegistratorSpec(image="gliderlabs/registrator:master")))
    assert set(names(lab, account)) - set(names(given, account)) == {"images/registrator"}
    (container,) = definition(given, account)["containerDefinitions"]
    assert container["image"] == "gliderlabs/registrator:master"
    assert "-on-exit" not in container["command"], "an option of our own"
    (task,) = only(given, account, "tasks/registrator")
    assert task.needs == ("ground",)


def test_a_service_of_its_name_is_objected_to(lab: Lab, account: WorldTarget) -> None:
    taken = replace(lab, services=(replace(lab.services[0], name="registrator"),))
    (objection,) = walk.blockers(steps_for(taken, account))
    assert "registrator" in objection.what
    assert walk.blockers(steps_for(taken, WorldTarget(None))) == []
