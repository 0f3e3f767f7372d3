"""Instances drain before they go: no request through the portal fails, and tasks are elsewhere before it happens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.consul_server import consul_binary
from tests.e2e.conftest import write_config
from tests.e2e.lab import Json, Lab, Load, eventually

RUNTIMES = ("processes",)


@pytest.fixture
def three(fresh: Lab) -> Lab:
    """A lab of three instances, so that each of the three services has one of its own."""
    consul_binary()
    write_config(fresh)
    fresh.edit("instances: 2", "instances: 3")
    fresh.up()
    return fresh


@pytest.fixture
def load(three: Lab) -> Iterator[Load]:
    """Requests for temperatures and prices that run during the test; none may fail."""
    urls = [f"{three.portal}api/{path}" for path in ("weather/London", "stock/AMZN")]
    with Load(urls).running() as load:
        load.wait_for_answers()
        yield load


def container_instances(lab: Lab) -> list[Json]:
    ecs = lab.client("ecs")
    arns = ecs.list_container_instances(cluster=lab.name)["containerInstanceArns"]
    found: list[Json] = ecs.describe_container_instances(cluster=lab.name, containerInstances=arns)[
        "containerInstances"
    ]
    return found


def instance_of(lab: Lab, service: str) -> str:
    """The ARN of the container instance that carries the service's only task."""
    [task] = lab.tasks(service)
    return str(task["containerInstanceArn"])


def set_state(lab: Lab, instance: str, status: str) -> None:
    answer = lab.client("ecs").update_container_instances_state(
        cluster=lab.name, containerInstances=[instance], status=status
    )
    assert (answer["failures"], answer["containerInstances"][0]["status"]) == ([], status)


def drain(lab: Lab, service: str) -> None:
    """Drain the instance that carries a service, until it carries nothing, and let it take tasks again."""
    instance = instance_of(lab, service)
    set_state(lab, instance, "DRAINING")

    def counts() -> tuple[int, int]:
        found = next(one for one in container_instances(lab) if one["containerInstanceArn"] == instance)
        return found["runningTasksCount"], found["pendingTasksCount"]

    eventually(lambda: (counts(), len(lab.client("ecs").list_tasks(cluster=lab.name)["taskArns"])), ((0, 0), 3).__eq__)
    assert instance_of(lab, service) != instance
    assert lab.status()["healthy"]
    set_state(lab, instance, "ACTIVE")


def test_no_request_fails_while_instances_drain_and_leave(three: Lab, load: Load) -> None:
    lab = three
    assert len({instance_of(lab, name) for name in ("portal", "weather", "stock-price")}) == 3
    zones = [a["value"] for i in container_instances(lab) for a in i["attributes"] if a["name"].endswith("-zone")]
    assert len(set(zones)) == 3, "instances are spread over zones"
    drain(lab, "weather")
    drain(lab, "portal")
    assert load.failures == []

    before = {one["ec2InstanceId"] for one in container_instances(lab)}
    lab.edit("instances: 3", "instances: 2")
    lab.up()
    staying = container_instances(lab)
    assert len(staying) == 2
    assert {one["status"] for one in staying} == {"ACTIVE"}
    assert sum(one["runningTasksCount"] for one in staying) == 3
    load.wait_for_answers()
    assert load.failures == []
    [gone] = before - {one["ec2InstanceId"] for one in staying}
    members = eventually(
        lambda: {one["name"]: one["status"] for one in lab.status()["consul"]["members"]},
        lambda found: found.get(gone, "left") not in ("alive", "leaving"),
    )
    assert members.get(gone, "left") == "left", "its agent has left, instead of failing"
    lost = [task for name in ("portal", "weather", "stock-price") for task in lab.tasks(name, "STOPPED")]
    assert {task["stopCode"] for task in lost} == {"ServiceSchedulerInitiated"}, "none was lost with its instance"
