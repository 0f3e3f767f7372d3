"""A task definition of several containers, registered with boto3 in a running lab of both runtimes."""

from __future__ import annotations

import json
import re
import socket
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.lab import LOOPBACK, Json, Lab, free_port

Until = Callable[..., None]
TIMEOUT = 90.0
SERVICE, SECRET = "whole", "not for logs 8c1f"

# Answers datagrams, and says in a file of the volume that it's there.
STORE = """
import os, socket, sys
found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
found.bind((os.environ.get("HOST", "0.0.0.0"), int(os.environ.get("PORT", "9000"))))
open(sys.argv[1], "w").write("from the store")
while True:
    data, sender = found.recvfrom(100)
    found.sendto(b"store: " + data, sender)
"""
# Serves what it was given, at two ports.
APP = """
import http.server, json, os, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        link = os.environ["STORE_PORT_9000_UDP"]
        found = {"secret": os.environ["TOKEN"], "shared": open(sys.argv[1]).read(), "link": link}
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
host = os.environ.get("HOST", "0.0.0.0")
ports = [int(os.environ.get("PORT", "8000")), int(os.environ.get("PORT_8001", "8001"))]
servers = [http.server.ThreadingHTTPServer((host, port), Handler) for port in ports]
threading.Thread(target=servers[0].serve_forever, daemon=True).start()
servers[1].serve_forever()
"""


@pytest.fixture
def secret(lab: Lab) -> Iterator[str]:
    """The ARN of a secret of the region."""
    secrets = lab.client("secretsmanager")
    arn: str = secrets.create_secret(Name=SERVICE, SecretString=json.dumps({"token": SECRET}))["ARN"]
    yield arn
    secrets.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)


def containers(lab: Lab, secret: str, udp_port: int) -> list[Json]:
    """A store that the app waits for; the image is one that the lab has built."""
    ecs = lab.client("ecs")
    weather = ecs.describe_task_definition(taskDefinition=lab.described("weather")["taskDefinition"])
    image = weather["taskDefinition"]["containerDefinitions"][0]["image"]
    volume = {"mountPoints": [{"sourceVolume": "shared", "containerPath": "/shared"}]}
    # The image's own user may not write to a new volume, in AWS neither.
    # Python as a container's first process doesn't obey SIGTERM.
    common: Json = {"image": image, "user": "root", "cpu": 10, "memory": 64, "stopTimeout": 2, **volume}
    return [
        {
            **common,
            "name": "app",
            "entryPoint": ["python3", "-c", APP, "/shared/file"],
            "portMappings": [{"containerPort": 8000}, {"containerPort": 8001}],
            "environment": [
                {"name": "SERVICE_8000_NAME", "value": SERVICE},
                {"name": "SERVICE_8001_NAME", "value": f"{SERVICE}-admin"},
                {"name": "SERVICE_CHECK_TCP", "value": "true"},
                # the image has another one
                {"name": "PORT", "value": "8000"},
            ],
            "secrets": [{"name": "TOKEN", "valueFrom": f"{secret}:token::"}],
            "links": ["store"],
            "dependsOn": [{"containerName": "store", "condition": "HEALTHY"}],
        },
        {
            **common,
            "name": "store",
            "entryPoint": ["python3", "-c", STORE, "/shared/file"],
            "portMappings": [{"containerPort": 9000, "hostPort": udp_port, "protocol": "udp"}],
            "environment": [
                {"name": "SERVICE_NAME", "value": f"{SERVICE}-store"},
                {"name": "PORT", "value": "9000"},
            ],
            "healthCheck": {"command": ["CMD-SHELL", "test -f /shared/file"], "startPeriod": 60},
        },
    ]


@pytest.fixture
def udp_port() -> int:
    return free_port()


@pytest.fixture
def whole(lab: Lab, secret: str, udp_port: int, until: Until) -> Iterator[Json]:
    """The one task of a service with two containers, once the service is steady; both are removed afterwards."""
    ecs = lab.client("ecs")
    definition = ecs.register_task_definition(
        family=SERVICE,
        networkMode="bridge",
        containerDefinitions=containers(lab, secret, udp_port),
        volumes=[{"name": "shared"}],
    )["taskDefinition"]["taskDefinitionArn"]
    ecs.create_service(cluster=lab.name, serviceName=SERVICE, taskDefinition=definition, desiredCount=1)
    try:
        until(lambda: lab.described(SERVICE)["deployments"][0]["rolloutState"] == "COMPLETED", TIMEOUT)
        [task] = lab.tasks(SERVICE)
        yield task
    finally:
        ecs.delete_service(cluster=lab.name, service=SERVICE, force=True)
        until(lambda: lab.described(SERVICE)["status"] == "INACTIVE", TIMEOUT)
        ecs.deregister_task_definition(taskDefinition=definition)


def answer_of(task: Json, container: str, number: int) -> Json:
    """What a container says at one of its ports."""
    [found] = [one for one in task["containers"] if one["name"] == container]
    [binding] = [one for one in found["networkBindings"] if one["containerPort"] == number]
    with urllib.request.urlopen(f"http://{binding['bindIP']}:{binding['hostPort']}/", timeout=TIMEOUT) as response:
        document: Json = json.load(response)
    return document


def test_containers_of_a_task_share_a_volume_and_are_found_by_name(
    lab: Lab, whole: Json, udp_port: int, secret: str
) -> None:
    health: Any = {one["name"]: one["healthStatus"] for one in whole["containers"]}
    assert (whole["healthStatus"], health) == ("HEALTHY", {"app": "UNKNOWN", "store": "HEALTHY"})
    for number in (8000, 8001):
        found = answer_of(whole, "app", number)
        assert (found["secret"], found["shared"]) == (SECRET, "from the store")
        assert re.fullmatch(r"udp://[\d.]+:\d+", found["link"])
    for name in (SERVICE, f"{SERVICE}-admin", f"{SERVICE}-store"):
        assert len(lab.ok("dig", name, "--short").out.splitlines()) == 1, name
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(TIMEOUT)
        sender.sendto(b"hello", (LOOPBACK, udp_port))
        assert sender.recv(100) == b"store: hello"
    assert SECRET not in json.dumps(whole, default=str)
    assert lab.files_with(SECRET, ".log") == []
