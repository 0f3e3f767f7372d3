"""The comparison of documents: what AWS adds is no difference, each difference has its path, secrets are masked."""

from __future__ import annotations

from typing import Any

import pytest

from ecsconsul.deploy.field_diff import (
    MASK,
    changes,
    is_secret,
    request_changes,
    reversed_changes,
    tag_changes,
    task_definition_changes,
)
from ecsconsul.deploy.step import FieldChange

CONTAINER: dict[str, Any] = {
    "name": "weather",
    "image": "blue/weather:1",
    "cpu": 100,
    "memory": 200,
    "essential": True,
    "portMappings": [{"containerPort": 4567, "protocol": "tcp"}],
    "environment": [{"name": "SCALE", "value": "C"}, {"name": "EMPTY", "value": ""}],
    "healthCheck": {"command": ["CMD-SHELL", "true"], "interval": 10},
}
REQUEST: dict[str, Any] = {
    "family": "blue-weather",
    "requiresCompatibilities": ["EC2"],
    "networkMode": "bridge",
    "containerDefinitions": [CONTAINER],
}
# as https://docs.aws.amazon.com/cli/latest/reference/ecs/describe-task-definition.html shows it
DESCRIBED: dict[str, Any] = {
    **REQUEST,
    "taskDefinitionArn": "arn:aws:ecs:us-east-1:111122223333:task-definition/blue-weather:7",
    "revision": 7,
    "status": "ACTIVE",
    "volumes": [],
    "placementConstraints": [],
    "requiresAttributes": [{"name": "com.amazonaws.ecs.capability.docker-remote-api.1.18"}],
    "compatibilities": ["EXTERNAL", "EC2"],
    "registeredAt": 1767225605.0,
    "registeredBy": "arn:aws:iam::111122223333:user/me",
    "enableFaultInjection": False,
    "containerDefinitions": [
        {
            **CONTAINER,
            "portMappings": [{"containerPort": 4567, "hostPort": 0, "protocol": "tcp"}],
            "environment": [{"name": "EMPTY", "value": ""}, {"name": "SCALE", "value": "C"}],
            "healthCheck": {"command": ["CMD-SHELL", "true"], "interval": 10, "timeout": 5, "retries": 3},
            "mountPoints": [],
            "volumesFrom": [],
            "systemControls": [],
            "versionConsistency": "enabled",
        }
    ],
}


def container(**changed: Any) -> dict[str, Any]:
    return {**REQUEST, "containerDefinitions": [{**CONTAINER, **changed}]}


def told(old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    return [(one.path, one.old, one.new) for one in task_definition_changes(old, new)]


def environment(**variables: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in variables.items()]


def test_what_aws_adds_and_reorders_is_no_difference() -> None:
    assert told(DESCRIBED, REQUEST) == told(REQUEST, DESCRIBED) == []


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"image": "blue/weather:2"}, ("image", "blue/weather:1", "blue/weather:2")),
        ({"cpu": 0}, ("cpu", 100, None)),
        ({"essential": False}, ("essential", None, False)),
        ({"user": "app"}, ("user", None, "app")),
        ({"privileged": True}, ("privileged", None, True)),
        ({"environment": environment(SCALE="F", EMPTY="")}, ("environment.SCALE", "C", "F")),
        ({"environment": environment(SCALE="C")}, ("environment.EMPTY", "", None)),
        ({"environment": environment(SCALE="C", EMPTY="", NEW="1")}, ("environment.NEW", None, "1")),
        ({"secrets": [{"name": "KEY", "valueFrom": "/a"}]}, ("secrets.KEY", None, "/a")),
        ({"command": ["a", "b"]}, ("command", None, ["a", "b"])),
        (
            {"portMappings": [{"containerPort": 4567, "hostPort": 80, "protocol": "tcp"}]},
            ("portMappings.4567/tcp.hostPort", 0, 80),
        ),
        (
            {"healthCheck": {"command": ["CMD-SHELL", "true"], "interval": 10, "retries": 9}},
            ("healthCheck.retries", None, 9),
        ),
        (
            {"dependsOn": [{"containerName": "db", "condition": "HEALTHY"}]},
            ("dependsOn.db", None, "HEALTHY"),
        ),
    ],
)
def test_one_field_of_a_container_is_named_alone(changed: dict[str, Any], expected: tuple[str, Any, Any]) -> None:
    path, old, new = expected
    assert told(DESCRIBED, container(**changed)) == [(f"containers.weather.{path}", old, new)]


def test_settings_of_the_task() -> None:
    volume = {"volumes": [{"name": "data", "host": {"sourcePath": "/data"}}]}
    assert told(REQUEST, {**REQUEST, **volume}) == [("volumes.data.host.sourcePath", None, "/data")]
    # a folder that lives as long as the task; AWS describes it with an empty host
    plain = {**REQUEST, "volumes": [{"name": "data"}]}
    assert told(plain, {**REQUEST, "volumes": [{"name": "data", "host": {}}]}) == []
    assert told(REQUEST, plain) == [("volumes.data.host.sourcePath", None, "")]
    assert told({**REQUEST, "networkMode": "host"}, REQUEST) == [("networkMode", "host", None)]
    assert told({**REQUEST, "cpu": "256"}, {**REQUEST, "cpu": 256}) == []
    arn = {**REQUEST, "taskRoleArn": "arn:aws:iam::111122223333:role/app"}
    assert told({**REQUEST, "taskRoleArn": "app"}, arn) == []


def test_another_container_is_told_field_by_field_and_sorted() -> None:
    two = {**REQUEST, "containerDefinitions": [CONTAINER, {"name": "side", "image": "nginx", "cpu": 1}]}
    assert told(REQUEST, two) == [("containers.side.cpu", None, 1), ("containers.side.image", None, "nginx")]


@pytest.mark.parametrize(
    "name", ["DB_PASSWORD", "PGPASS", "API_KEY", "github_token", "ClientSecret", "MYSQL_PWD", "AUTH", "SENTRY_DSN"]
)
def test_secrets_are_recognized_by_name(name: str) -> None:
    assert is_secret(name)
    old, new = (container(environment=environment(**{name: value})) for value in ("hunter1", "hunter2"))
    assert told(old, new) == [(f"containers.weather.environment.{name}", MASK, MASK)]
    assert "hunter" not in str(task_definition_changes(REQUEST, new))


def test_a_password_in_a_url_or_a_command_is_hidden() -> None:
    url = container(environment=environment(SCALE="C", EMPTY="", DATABASE="postgres://me:hunter2@db/x"))
    assert told(REQUEST, url) == [("containers.weather.environment.DATABASE", None, MASK)]
    command = container(command=["run", "--password", "hunter2"])
    assert told(REQUEST, command) == [("containers.weather.command", None, MASK)]
    health = container(healthCheck={"command": ["CMD-SHELL", "curl -H 'Token: hunter2'"], "interval": 10})
    assert told(REQUEST, health) == [("containers.weather.healthCheck.command", MASK, MASK)]


@pytest.mark.parametrize("name", ["SCALE", "PORT", "SERVICE_TAGS", "PROVIDER", "LOG_LEVEL"])
def test_other_variables_are_shown(name: str) -> None:
    assert not is_secret(name, "http://localhost:8080/@x")


def test_labels_and_log_options_hide_secrets_too() -> None:
    logs = {"logDriver": "splunk", "options": {"splunk-token": "hunter2", "splunk-url": "https://x"}}
    found = told(REQUEST, container(logConfiguration=logs, dockerLabels={"secret": "hunter2"}))
    assert found == [
        ("containers.weather.dockerLabels.secret", None, MASK),
        ("containers.weather.logConfiguration.logDriver", None, "splunk"),
        ("containers.weather.logConfiguration.options.splunk-token", None, MASK),
        ("containers.weather.logConfiguration.options.splunk-url", None, "https://x"),
    ]


def test_a_request_is_compared_only_with_what_is_described() -> None:
    described = {"desiredCount": 3, "deploymentConfiguration": {"maximumPercent": 200, "strategy": "ROLLING"}}
    request = {"desiredCount": 1, "deploymentConfiguration": {"maximumPercent": 150}, "placementStrategy": [1]}
    assert request_changes(described, request) == [
        FieldChange("deploymentConfiguration.maximumPercent", 200, 150),
        FieldChange("desiredCount", 3, 1),
    ]
    assert request_changes({**described, "placementStrategy": []}, {"placementStrategy": [1]}) == [
        FieldChange("placementStrategy", [], [1])
    ]


def test_changes_are_sorted_and_can_be_reversed() -> None:
    found = changes({"b": 1, "a": 1}, {"b": 2, "a": None})
    assert found == [FieldChange("a", 1, None), FieldChange("b", 1, 2)]
    assert reversed_changes(found) == [FieldChange("a", None, 1), FieldChange("b", 2, 1)]


def test_a_tag_that_is_missing_or_another_one() -> None:
    assert tag_changes("f", "f") == []
    assert tag_changes(None, "f") == [FieldChange("tags.ecsconsul:fingerprint", None, "f")]
