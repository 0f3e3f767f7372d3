"""Amazon ECS behind the VPC's AWS API, and its agent on an instance: as far as an instance that drains calls them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.docker_engine import docker
from tests.templates.booted import IMAGE
from tests.templates.machine import Machine
from tests.templates.stack import CLUSTER
from tests.templates.vpc import ECS_AGENT_PORT, Answer, Request, inside

PREFIX = f"arn:aws:ecs:eu-central-1:123456789012:task/{CLUSTER}"
CONTAINER_INSTANCE = f"arn:aws:ecs:eu-central-1:123456789012:container-instance/{CLUSTER}/0f1e"
LABEL = "com.amazonaws.ecs.task-arn"
# a task's replacement needs as long to start
MOVE_SECONDS = 1.0


@dataclass
class Ecs:
    """An instance's tasks by name, each with its group. One by one, those of services move when it drains.

    As in ECS, a daemon's task is the last one, and one without a service stays; so do those in `stuck`.
    """

    machine: Machine
    groups: dict[str, str] = field(default_factory=dict)
    stuck: tuple[str, ...] = ()
    moved: list[str] = field(default_factory=list)
    draining: threading.Event = field(default_factory=threading.Event)

    def start(self, groups: Mapping[str, str]) -> None:
        """Start tasks, each with a container that has the ECS agent's label."""
        for name, group in groups.items():
            self.groups[name] = group
            label = ["--label", f"{LABEL}={PREFIX}/{name}"]
            docker(self.machine.engine, "run", "-d", "--name", name, *label, "--entrypoint", "sleep", IMAGE, "600")

    def running(self) -> set[str]:
        """The tasks that have a running container."""
        return set(docker(self.machine.engine, "ps", "--format", "{{.Names}}").split()) & set(self.groups)

    def __call__(self, request: Request) -> Answer:
        given = json.loads(request.body)
        assert given["cluster"] == CLUSTER
        answers = {"UpdateContainerInstancesState": self._update, "DescribeTasks": self._describe}
        return Answer(200, json.dumps(answers[request.operation](given)), "application/x-amz-json-1.1")

    def _update(self, given: Mapping[str, Any]) -> dict[str, Any]:
        assert (given["containerInstances"], given["status"]) == ([CONTAINER_INSTANCE], "DRAINING")
        if not self.draining.is_set():
            self.draining.set()
            threading.Thread(target=self._move, daemon=True).start()
        instance = {"containerInstanceArn": CONTAINER_INSTANCE, "status": "DRAINING"}
        return {"containerInstances": [instance], "failures": []}

    def _describe(self, given: Mapping[str, Any]) -> dict[str, Any]:
        names = [arn.rpartition("/")[2] for arn in given["tasks"]]
        tasks = [{"taskArn": f"{PREFIX}/{name}", "group": self.groups[name]} for name in names if name in self.groups]
        return {"tasks": tasks, "failures": []}

    def _move(self) -> None:
        of_services = [name for name, group in self.groups.items() if group.startswith("service:")]
        for name in of_services:
            if name not in self.stuck and self.groups[name] != "service:registrator":
                threading.Event().wait(MOVE_SECONDS)
                docker(self.machine.engine, "rm", "--force", name)
                self.moved.append(name)


@contextmanager
def ecs_agent(machine: Machine) -> Iterator[None]:
    """The ECS agent's introspection on an instance.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-agent-introspection.html
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = {"Cluster": CLUSTER, "ContainerInstanceArn": CONTAINER_INSTANCE, "Version": "Amazon ECS Agent - v1"}
            body = json.dumps(known, separators=(",", ":")).encode()
            self.send_response(200 if self.path == "/v1/metadata" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = inside(machine.namespace, lambda: ThreadingHTTPServer(("127.0.0.1", ECS_AGENT_PORT), Handler))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
