"""One-off tasks of a service, run in a region whose tasks start and stop as a test says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from ecsconsul.deploy import one_off_task
from ecsconsul.deploy.one_off_task import Ended, OneOff, OneOffRun, main_container, overrides
from ecsconsul.errors import LabError, WrongUsage
from ecsconsul.region.ecs.model import RUNNING, STOPPED
from tests.deploy.world import FakeTarget, Runtime

DEFINITION: dict[str, Any] = {
    "taskDefinitionArn": "arn:aws:ecs:us-east-1:1:task-definition/blue-weather:3",
    "containerDefinitions": [
        {"name": "proxy", "image": "proxy", "memory": 8, "portMappings": [{"containerPort": 80}]},
        {"name": "weather", "image": "weather", "memory": 64, "portMappings": [{"containerPort": 4567}]},
    ],
}


@pytest.fixture
def target(world: Runtime) -> FakeTarget:
    """A cluster with a service."""
    world.add_instance("blue", memory=100)
    target = FakeTarget(world.endpoint("region"))
    ecs = target.client("ecs")
    ecs.create_cluster(clusterName="blue")
    definitions = DEFINITION["containerDefinitions"]
    ecs.register_task_definition(family="blue-weather", containerDefinitions=definitions)
    ecs.create_service(cluster="blue", serviceName="weather", taskDefinition="blue-weather", desiredCount=0)
    return target


@dataclass
class Written:
    """Output that arrives in parts, one for each read; what is `late` comes after the task has stopped."""

    parts: list[list[str]] = field(default_factory=list)
    late: str = ""
    late_seconds: float = 0.0

    def read(self) -> list[str]:
        return self.parts.pop(0) if self.parts else []

    def rest(self) -> str:
        return self.late


def run_of(target: FakeTarget, *looks: Callable[[], None]) -> OneOffRun:
    """A run between whose looks at the task something happens."""
    happening = iter(looks)
    return OneOffRun("blue", target, lambda seconds: next(happening)())  # type: ignore[arg-type]


def task_of(world: Runtime) -> Any:
    return world.ecs.tasks()[-1]


def running(world: Runtime) -> None:
    task_of(world).last_status = RUNNING


def exits(world: Runtime, code: int) -> None:
    task = task_of(world)
    for container in task.containers:
        container.status, container.exit_code = STOPPED, code
    task.last_status = task.desired_status = STOPPED
    task.stop_code, task.stopped_reason = "EssentialContainerExited", "Essential container in task exited"


def test_output_and_exit_code(world: Runtime, target: FakeTarget) -> None:
    target.outputs_of_tasks["weather"] = Written([["one"], [], ["two", "three"]], "four")
    run = run_of(target, lambda: running(world), lambda: exits(world, 3))
    shown: list[str] = []
    task = run.start(OneOff("weather", ("migrate", "--all")))
    assert run.follow(task, shown.append, 60.0) == Ended(3, "")
    assert shown == ["one", "two", "three", "four"]
    found = task_of(world)
    assert (found.started_by, found.group, found.service) == ("ecsconsul", "family:blue-weather", None)
    assert task.revision == "blue-weather:1"


def test_exit_code_is_that_of_the_chosen_container(world: Runtime, target: FakeTarget) -> None:
    def end() -> None:
        exits(world, 143)
        task_of(world).containers[0].exit_code = 7

    run = run_of(target, end)
    assert run.follow(run.start(OneOff("weather", container="proxy")), print, 60.0).exit_code == 7


def test_overrides_keep_the_task_out_of_consul() -> None:
    request = OneOff("weather", ("migrate",), environment={"A": "1"})
    assert overrides(DEFINITION, "weather", request) == [
        {
            "name": "proxy",
            "environment": [
                {"name": "SERVICE_IGNORE", "value": "true"},
                {"name": "SERVICE_80_IGNORE", "value": "true"},
            ],
        },
        {
            "name": "weather",
            "command": ["migrate"],
            "environment": [
                {"name": "SERVICE_IGNORE", "value": "true"},
                {"name": "SERVICE_4567_IGNORE", "value": "true"},
                {"name": "A", "value": "1"},
            ],
        },
    ]


def test_main_container() -> None:
    assert main_container(DEFINITION, "weather", None) == "weather"
    assert main_container(DEFINITION, "other", None) == "proxy"
    with pytest.raises(WrongUsage) as raised:
        main_container(DEFINITION, "weather", "sidecar")
    assert raised.value.hint == "it has: proxy, weather"


def test_service_that_is_not_in_ecs(target: FakeTarget) -> None:
    for cluster in ("blue", "green"):
        with pytest.raises(LabError, match="There is no service portal in ECS") as raised:
            OneOffRun(cluster, target).start(OneOff("portal"))  # type: ignore[arg-type]
        assert raised.value.hint == "`ecsconsul up` creates it"


def test_task_that_finds_no_place(target: FakeTarget) -> None:
    run = OneOffRun("blue", target)  # type: ignore[arg-type]
    run.start(OneOff("weather"))
    with pytest.raises(LabError, match="ECS found no place for a task of weather: RESOURCE:MEMORY: The closest"):
        run.start(OneOff("weather"))


def test_cluster_without_instances(world: Runtime, target: FakeTarget) -> None:
    world.ecs.remove_instance("i-1")
    with pytest.raises(LabError, match="No Container Instances were found in your cluster"):
        OneOffRun("blue", target).start(OneOff("weather"))  # type: ignore[arg-type]


def test_image_that_cannot_be_pulled(world: Runtime, target: FakeTarget) -> None:
    def fails() -> None:
        task = task_of(world)
        task.last_status = task.desired_status = STOPPED
        task.stop_code, task.stopped_reason = "TaskFailedToStart", "CannotPullContainerError: no such image"

    run = run_of(target, fails)
    with pytest.raises(LabError, match=r"The task didn't start.*CannotPullContainerError: no such image") as raised:
        run.follow(run.start(OneOff("weather")), print, 60.0)
    assert raised.value.hint == "`ecsconsul up` publishes the service's image"


def test_task_that_never_starts_is_stopped(world: Runtime, target: FakeTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_off_task, "START_TIMEOUT", 0.0)
    run = OneOffRun("blue", target)  # type: ignore[arg-type]
    with pytest.raises(LabError, match="The task hasn't started within 0 s"):
        run.follow(run.start(OneOff("weather")), print, 60.0)
    assert task_of(world).desired_status == STOPPED


def test_task_that_runs_too_long_is_stopped(world: Runtime, target: FakeTarget) -> None:
    run = OneOffRun("blue", target)  # type: ignore[arg-type]
    task = run.start(OneOff("weather"))
    running(world)
    with pytest.raises(LabError, match="The task still runs after 0 s") as raised:
        run.follow(task, print, 0.0)
    assert task_of(world).stopped_reason == raised.value.what


def test_task_that_never_stops_writing_is_stopped_too(world: Runtime, target: FakeTarget) -> None:
    class Endless(Written):
        def read(self) -> list[str]:
            return ["y"]

    run = OneOffRun("blue", target)  # type: ignore[arg-type]
    task = replace(run.start(OneOff("weather")), output=Endless())
    running(world)
    shown: list[str] = []
    with pytest.raises(LabError, match="The task still runs after 0 s"):
        run.follow(task, shown.append, 0.05)
    assert shown


def test_stopped_by_hand(world: Runtime, target: FakeTarget) -> None:
    def stops() -> None:
        task_of(world).last_status = STOPPED

    run = run_of(target, stops)
    task = run.start(OneOff("weather"))
    run.stop(task, "enough")
    assert run.follow(task, print, 60.0) == Ended(None, "enough")
