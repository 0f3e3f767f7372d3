"""Which tasks run, and how the others ended."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import boto3
from botocore.stub import Stubber

from ecsconsul.deploy.task_ends import ServiceTasks, TaskEnd, running_tasks, tasks_of

ARN = "arn:aws:ecs:us-east-1:1:task/blue/"
AT = datetime(2026, 11, 29, 18, 0, tzinfo=timezone.utc)


def ecs() -> Any:
    return boto3.client("ecs", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")


def test_tasks_are_running_or_ended() -> None:
    stopped = {
        "taskArn": f"{ARN}{'2' * 32}",
        "stoppedAt": AT,
        "stoppedReason": "Essential container in task exited",
        "containers": [{"name": "web", "exitCode": 3}, {"name": "init"}],
    }
    with Stubber(client := ecs()) as stub:
        asked = {"cluster": "blue", "serviceName": "web"}
        stub.add_response("list_tasks", {"taskArns": [f"{ARN}{'1' * 32}"]}, {**asked, "desiredStatus": "RUNNING"})
        stub.add_response("list_tasks", {"taskArns": [stopped["taskArn"]]}, {**asked, "desiredStatus": "STOPPED"})
        stub.add_response("describe_tasks", {"tasks": [stopped]}, {"cluster": "blue", "tasks": [stopped["taskArn"]]})
        found = tasks_of(client, "blue", "web")
        stub.assert_no_pending_responses()
    end = TaskEnd(AT.timestamp(), "Essential container in task exited, web exited with code 3")
    assert found == ServiceTasks(frozenset({"1" * 8}), {"2" * 8: end})
    assert (found.end_of("1" * 8), found.end_of("2" * 8)) == (None, end)
    assert found.end_of("3" * 8) == TaskEnd(None, ""), "ECS has forgotten it"


def test_no_cluster_has_no_tasks() -> None:
    with Stubber(client := ecs()) as stub:
        stub.add_client_error("list_tasks", "ClusterNotFoundException")
        assert running_tasks(client, "blue", "web") == frozenset()
