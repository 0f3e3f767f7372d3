"""Joining ECS's running tasks with Consul's instances by node and port."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from ecsconsul.consul.catalog import Instance
from ecsconsul.deploy.endpoints import (
    Endpoint,
    by_service,
    endpoints_of,
    ghosts_and_missing,
    notes_of,
    standalone,
    without,
)

ARN = "arn:aws:ecs:us-east-1:1"


def endpoint(task: str, node: str, *ports: int) -> Endpoint:
    return Endpoint(task, "weather", node, frozenset(ports))


def instance(service_id: str, node: str, port: int) -> Instance:
    return Instance(service_id, node, "10.0.0.1", port, "passing", (), ())


@pytest.mark.parametrize(
    ("instances", "tasks", "expected"),
    [
        ([], [], ([], [])),
        ([instance("a", "i-1", 1)], [endpoint("t", "i-1", 1)], ([], [])),
        # any of a task's ports will do
        ([instance("a", "i-1", 2)], [endpoint("t", "i-1", 1, 2)], ([], [])),
        # a ghost beside one that is well, on the same node and on one that is gone
        (
            [instance("a", "i-1", 1), instance("b", "i-1", 2), instance("c", "i-9", 1)],
            [endpoint("t", "i-1", 1)],
            (["b", "c"], []),
        ),
        ([instance("a", "i-1", 1)], [endpoint("t", "i-1", 1), endpoint("u", "i-2", 1)], ([], ["u"])),
        ([], [endpoint("t", "i-1", 1)], ([], ["t"])),
        ([instance("a", "i-1", 1)], [], (["a"], [])),
        # Consul's nodes are not called as EC2's instances are: nobody can tell
        ([instance("a", "ip-10-0-0-1", 1)], [endpoint("t", "i-1", 1)], (None, None)),
    ],
)
def test_ghosts_and_missing(instances: list[Instance], tasks: list[Endpoint], expected: object) -> None:
    assert ghosts_and_missing(instances, tasks) == expected


def task(number: int, group: str = "service:weather", status: str = "RUNNING", **more: Any) -> dict[str, Any]:
    container = {"name": "weather", "networkBindings": [{"containerPort": 80, "hostPort": 32768 + number}]}
    return {
        "taskArn": f"{ARN}:task/blue/{number}",
        "containerInstanceArn": f"{ARN}:container-instance/blue/c1",
        "group": group,
        "lastStatus": status,
        "containers": [container],
        **more,
    }


def test_endpoints_of_running_tasks() -> None:
    ecs = boto3.client("ecs", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    tasks = [
        task(1),
        task(2, status="PENDING"),
        task(3, group="family:other", startedBy="me", taskDefinitionArn=f"{ARN}:task-definition/blue-weather:2"),
        task(4, containers=[{"name": "worker"}]),
    ]
    with Stubber(ecs) as stub:
        stub.add_response("list_tasks", {"taskArns": [one["taskArn"] for one in tasks]})
        stub.add_response("describe_tasks", {"tasks": tasks})
        known = {"containerInstanceArn": tasks[0]["containerInstanceArn"], "ec2InstanceId": "i-1"}
        stub.add_response("describe_container_instances", {"containerInstances": [known]})
        found = endpoints_of(ecs, "blue")
        stub.assert_no_pending_responses()
    own = {"weather": [endpoint("1", "i-1", 32769), endpoint("4", "i-1")]}
    assert by_service(found) == own
    assert standalone(found) == [Endpoint("3", "", "i-1", frozenset({32771}))]
    assert [(one.definition, one.group, one.started_by) for one in standalone(found)] == [
        ("blue-weather:2", "family:other", "me")
    ]


def test_catalog_without_some_tasks() -> None:
    catalog = {"weather": [instance("a", "i-1", 1), instance("b", "i-1", 2)], "portal": [instance("c", "i-2", 1)]}
    assert without(catalog, []) == catalog
    assert without(catalog, [Endpoint("t", "", "i-1", frozenset({2, 3}))]) == {
        "weather": [instance("a", "i-1", 1)],
        "portal": [instance("c", "i-2", 1)],
    }


def test_reasons_of_running_containers_are_notes() -> None:
    ecs = boto3.client("ecs", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    running = {"name": "weather", "lastStatus": "RUNNING", "reason": "it listens elsewhere"}
    stopped = {"name": "init", "lastStatus": "STOPPED", "reason": "it was done"}
    one = task(123456789, containers=[running, stopped])
    with Stubber(ecs) as stub:
        stub.add_response("list_tasks", {"taskArns": [one["taskArn"]]})
        stub.add_response("describe_tasks", {"tasks": [one]})
        stub.add_response("describe_container_instances", {"containerInstances": []})
        found = notes_of(endpoints_of(ecs, "blue"))
    assert found == [{"service": "weather", "task": "12345678", "text": "it listens elsewhere"}]


def test_no_cluster_or_task_needs_no_further_request() -> None:
    ecs = boto3.client("ecs", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(ecs) as stub:
        stub.add_client_error("list_tasks", "ClusterNotFoundException")
        stub.add_response("list_tasks", {"taskArns": []})
        assert endpoints_of(ecs, "blue") == []
        assert endpoints_of(ecs, "blue") == []
