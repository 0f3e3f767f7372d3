"""The request for a whole task definition is as AWS documents it, and the Registrator reads the config from it.

The reference is written by hand from
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from msgspec.structs import replace

from ecsconsul.config.container_spec import PortSpec
from ecsconsul.config.lab import Lab
from ecsconsul.config.loader import parse
from ecsconsul.deploy.step import decide
from ecsconsul.deploy.step3_images import ImageStep, images_of
from ecsconsul.deploy.step4_task_definitions import TaskDefinitionStep, matches
from ecsconsul.deploy.task_request import registrator_metadata
from ecsconsul.registrator.rules import Container, Options, PortBinding, registrations
from tests.deploy.world import FakeTarget, RecordingReport

ROLE = "arn:aws:iam::123456789012:role/blue-TaskExecutionRole-1"
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:orders-db-AbCdEf:password::"
CONFIG = f"""
lab: blue
services:
  orders:
    path: orders
    command: serve --verbose "two words"
    ports:
      - {{port: 8000, tags: [http, "a,b"], check: {{tcp: true, interval: 15s}}}}
      - {{port: 8125, host_port: 8125, protocol: udp, name: orders-stats}}
      - {{port: 9000, register: false}}
    env_file: [orders.env, 'arn:aws:s3:::my-bucket/orders.env']
    environment: {{LEVEL: info}}
    secrets: {{DB_PASSWORD: '{SECRET}', API_KEY: /orders/api-key}}
    volumes:
      - cache:/var/cache/orders
      - {{name: data, path: /data, host: /srv/orders}}
      - {{name: shared, path: /shared, efs: fs-0123456789abcdef0, access_point: fsap-0123456789abcdef0}}
    depends_on: {{migrate: SUCCESS}}
    health_check: {{command: test -f /tmp/ready, interval: 10s, timeout: 3s, retries: 2, start_period: 20s}}
    ulimits: {{nofile: {{soft: 1024, hard: 4096}}}}
    labels: {{team: orders}}
    stop_timeout: 90s
    task_role: orders
    containers:
      migrate:
        image: registry.example/migrate:3
        essential: false
        entry_point: [/bin/migrate]
        working_directory: /srv
        user: "1000:1000"
        cpu: 10
        memory: 64
        links: []
        volumes: [cache:/cache:ro]
        log: {{driver: json-file, options: {{max-size: 10m}}}}
"""

REFERENCE: dict[str, Any] = {
    "family": "blue-orders",
    "requiresCompatibilities": ["EC2"],
    "networkMode": "bridge",
    "taskRoleArn": "orders",
    "volumes": [
        {"name": "cache", "host": {}},
        {"name": "data", "host": {"sourcePath": "/srv/orders"}},
        {
            "name": "shared",
            "efsVolumeConfiguration": {
                "fileSystemId": "fs-0123456789abcdef0",
                "transitEncryption": "ENABLED",
                "authorizationConfig": {"accessPointId": "fsap-0123456789abcdef0"},
            },
        },
    ],
    "containerDefinitions": [
        {
            "name": "orders",
            "image": "registry.example/orders:TAG",
            "cpu": 100,
            "memory": 200,
            "essential": True,
            "command": ["serve", "--verbose", "two words"],
            "portMappings": [
                {"containerPort": 8000, "protocol": "tcp"},
                {"containerPort": 8125, "hostPort": 8125, "protocol": "udp"},
                {"containerPort": 9000, "protocol": "tcp"},
            ],
            "environment": [
                {"name": "PORT", "value": "8000"},
                {"name": "REGION", "value": "eu"},
                {"name": "LEVEL", "value": "info"},
                {"name": "SERVICE_8000_NAME", "value": "orders"},
                {"name": "SERVICE_8000_TAGS", "value": r"http,a\,b"},
                {"name": "SERVICE_8000_CHECK_TCP", "value": "true"},
                {"name": "SERVICE_8000_CHECK_INTERVAL", "value": "15s"},
                {"name": "SERVICE_8125_NAME", "value": "orders-stats"},
                {"name": "SERVICE_9000_IGNORE", "value": "true"},
            ],
            "environmentFiles": [{"value": "arn:aws:s3:::my-bucket/orders.env", "type": "s3"}],
            "secrets": [
                {"name": "DB_PASSWORD", "valueFrom": SECRET},
                {"name": "API_KEY", "valueFrom": "/orders/api-key"},
            ],
            "mountPoints": [
                {"sourceVolume": "cache", "containerPath": "/var/cache/orders", "readOnly": False},
                {"sourceVolume": "data", "containerPath": "/data", "readOnly": False},
                {"sourceVolume": "shared", "containerPath": "/shared", "readOnly": False},
            ],
            "dependsOn": [{"containerName": "migrate", "condition": "SUCCESS"}],
            "healthCheck": {
                "command": ["CMD-SHELL", "test -f /tmp/ready"],
                "interval": 10,
                "timeout": 3,
                "retries": 2,
                "startPeriod": 20,
            },
            "ulimits": [{"name": "nofile", "softLimit": 1024, "hardLimit": 4096}],
            "dockerLabels": {"team": "orders"},
            "stopTimeout": 90,
        },
        {
            "name": "migrate",
            "image": "registry.example/migrate:3",
            "cpu": 10,
            "memory": 64,
            "essential": False,
            "entryPoint": ["/bin/migrate"],
            "workingDirectory": "/srv",
            "user": "1000:1000",
            "mountPoints": [{"sourceVolume": "cache", "containerPath": "/cache", "readOnly": True}],
            "logConfiguration": {"logDriver": "json-file", "options": {"max-size": "10m"}},
        },
    ],
}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "orders.env").write_text("REGION=eu\nLEVEL=debug\n")
    return parse(CONFIG.encode(), "config.yaml", tmp_path)


def step_of(lab: Lab, target: FakeTarget) -> TaskDefinitionStep:
    (service,) = lab.services
    images = images_of(service, target)
    return TaskDefinitionStep(lab, service, images["orders"], target, images)


def test_task_definition_is_as_aws_documents_it(lab: Lab, target: FakeTarget) -> None:
    target.role = ROLE
    step = step_of(lab, target)
    request = {**step.desired()}
    reference = {**REFERENCE, "containerDefinitions": [dict(one) for one in REFERENCE["containerDefinitions"]]}
    reference["containerDefinitions"][0]["image"] = step.image
    assert request == reference
    shape = (
        botocore.session.get_session().get_service_model("ecs").operation_model("RegisterTaskDefinition").input_shape
    )
    assert not ParamValidator().validate(request, shape).has_errors()


def test_it_is_kept_once_it_is_registered(lab: Lab, target: FakeTarget, report: RecordingReport) -> None:
    target.role = ROLE
    # the local region refuses files in S3
    services = tuple(replace(one, env_file=()) for one in lab.services)
    step = step_of(replace(lab, services=services), target)
    step.apply(None, report)
    assert decide(step.desired(), step.inspect()) == "keep"
    found = target.client("ecs").describe_task_definition(taskDefinition=step.newest())["taskDefinition"]
    assert found["executionRoleArn"] == ROLE


EDITS: list[dict[str, Any]] = [
    {"links": ["migrate"]},
    {"dependsOn": []},
    {"ulimits": [{"name": "nofile", "softLimit": 1, "hardLimit": 4096}]},
    {"dockerLabels": {}},
    {"stopTimeout": 5},
    {"user": "root"},
    {"workingDirectory": "/"},
    {"essential": False},
    {"environmentFiles": []},
    {"mountPoints": [{**one, "readOnly": True} for one in REFERENCE["containerDefinitions"][0]["mountPoints"]]},
]


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: next(iter(edit)))
def test_what_somebody_edited_is_noticed(edit: dict[str, Any]) -> None:
    main, other = REFERENCE["containerDefinitions"]
    assert not matches({**REFERENCE, "containerDefinitions": [{**main, **edit}, other]}, REFERENCE)


def test_what_aws_adds_is_no_change() -> None:
    main, other = REFERENCE["containerDefinitions"]
    added = {"links": [], "volumesFrom": [], "systemControls": [], "entryPoint": []}
    ports = [{"hostPort": 0, **one} for one in main["portMappings"]]
    volumes = [dict(one) for one in reversed(REFERENCE["volumes"])]
    volumes[0]["efsVolumeConfiguration"] = {**volumes[0]["efsVolumeConfiguration"], "rootDirectory": "/"}
    described = {
        **REFERENCE,
        "taskRoleArn": "arn:aws:iam::123456789012:role/orders",
        "volumes": volumes,
        "containerDefinitions": [{**added, **main, "portMappings": ports}, {**added, "environment": [], **other}],
    }
    assert matches(described, REFERENCE)


def test_images_are_built_for_containers_with_a_path(lab: Lab, target: FakeTarget, tmp_path: Path) -> None:
    (service,) = lab.services
    (migrate,) = service.containers
    built = replace(service, containers=(replace(migrate, image=None, path=str(tmp_path / "orders")),))
    assert [one.name for one in images_of(built, target).values() if isinstance(one, ImageStep)] == [
        "images/orders",
        "images/orders-migrate",
    ]
    assert images_of(service, target)["migrate"].reference == "registry.example/migrate:3"


# --- what the Registrator reads


def test_one_port_has_the_lab_texts_metadata() -> None:
    assert registrator_metadata((PortSpec(port=80, name="web", tags=("a", "b")),)) == {
        "SERVICE_80_NAME": "web",
        "SERVICE_TAGS": "a,b",
    }


def test_both_protocols_of_a_port_have_keys_of_their_own() -> None:
    ports = (
        PortSpec(port=53, name="dns", tags=("a",)),
        PortSpec(port=53, protocol="udp", name="dns-udp"),
        PortSpec(port=54, protocol="udp", name="other", register=False),
    )
    assert registered(ports) == [("dns", ["a"]), ("dns-udp", ["udp"])]


def test_registrator_registers_what_the_config_says(lab: Lab) -> None:
    (service,) = lab.services
    assert registered(service.bindings) == [("orders", ["http", "a,b"]), ("orders-stats", ["udp"])]


def registered(ports: tuple[PortSpec, ...]) -> list[tuple[str, list[str]]]:
    """The names and tags under which the Registrator registers a container with these ports."""
    environment = tuple(f"{name}={value}" for name, value in registrator_metadata(ports).items())
    bindings = tuple(PortBinding(one.port, one.protocol, host_port=32768 + i) for i, one in enumerate(ports))
    container = Container(
        "0123456789abcdef", "/c", "image", environment=environment, labels={}, ports=bindings, hostname="c1"
    )
    found = registrations(container, Options(hostname="host", host_address="10.0.0.5")).registrations
    return [(one.name, list(one.tags)) for one in found]
