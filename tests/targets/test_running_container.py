"""Which container `exec` runs a command in."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from ecsconsul.errors import LabError, WrongUsage
from ecsconsul.targets.running_container import Running, running_container


class FakeEcs:
    """Describes these tasks."""

    def __init__(self, *tasks: dict[str, Any]) -> None:
        self._tasks = {task["taskArn"]: task for task in tasks}

    def list_tasks(self, **asked: str) -> dict[str, list[str]]:
        assert asked == {"cluster": "lab", "serviceName": "web", "desiredStatus": "RUNNING"}
        return {"taskArns": list(self._tasks)}

    def describe_tasks(self, *, cluster: str, tasks: list[str]) -> dict[str, Any]:
        return {"tasks": [self._tasks[arn] for arn in tasks]}


def task(
    name: str, created: int, status: str = "RUNNING", containers: tuple[str, ...] = ("RUNNING",)
) -> dict[str, Any]:
    return {
        "taskArn": f"arn:aws:ecs:us-east-1:1:task/lab/{name}",
        "createdAt": created,
        "lastStatus": status,
        "containers": [
            {"name": f"c{n}", "lastStatus": s, "runtimeId": f"{name}-{n}"} for n, s in enumerate(containers)
        ],
    }


def test_newest_running_task_is_used() -> None:
    ecs = FakeEcs(task("a1", 1), task("a2", 2), task("a3", 3, "PENDING"))
    found = running_container(ecs, "lab", "web", None)
    assert found == Running("arn:aws:ecs:us-east-1:1:task/lab/a2", "c0", "a2-0")
    assert found.task_id == "a2"


def test_first_running_container_is_used() -> None:
    ecs = FakeEcs(task("a1", 1, containers=("STOPPED", "RUNNING")))
    assert running_container(ecs, "lab", "web", None).runtime_id == "a1-1"


def test_task_is_selected_by_the_beginning_of_its_id() -> None:
    ecs = FakeEcs(task("a1", 1), task("a2", 2))
    assert running_container(ecs, "lab", "web", "a1").runtime_id == "a1-0"


@pytest.mark.parametrize(("beginning", "what"), [("a", "More than one task has"), ("b", "No running task has")])
def test_ambiguous_or_unknown_id_is_wrong_usage(beginning: str, what: str) -> None:
    with pytest.raises(WrongUsage, match=what) as raised:
        running_container(FakeEcs(task("a1", 1), task("a2", 2)), "lab", "web", beginning)
    assert raised.value.hint == "running tasks: a1, a2"


@pytest.mark.parametrize("tasks", [(), (task("a1", 1, "PENDING"),)])
def test_no_running_task_is_an_error(tasks: tuple[dict[str, Any], ...]) -> None:
    with pytest.raises(LabError, match="No task of web is running"):
        running_container(FakeEcs(*tasks), "lab", "web", None)


@pytest.mark.parametrize("name", ["ClusterNotFoundException", "ServiceNotFoundException"])
def test_absent_cluster_or_service_has_no_running_task(name: str) -> None:
    ecs = boto3.client("ecs", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(ecs) as answers:
        answers.add_client_error("list_tasks", name)
        with pytest.raises(LabError, match="No task of web is running"):
            running_container(ecs, "lab", "web", None)
