"""The lab in an account: the command as users run it, moto's server for AWS, a real engine and a real registry.

In moto instances are only told of and tasks do not run, so `up` gets as far as waiting for the services' tasks.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ecsconsul.targets.aws.permissions import policy
from tests.aws_calls import NotedCalls
from tests.deploy.world import client, serve
from tests.docker_engine import docker
from tests.docker_registry import Registry, docker_registry
from tests.moto_account import account, moto_application, moto_url

__all__ = ["account", "moto_url"]

Account = Callable[[str], Any]
PATIENCE = 120.0
CONFIG = """\
lab: {name}
target: aws
aws:
  consul_access: direct
  registry: {registry}/e2e
  registrator: {{image: {registry}/e2e/registrator:1}}
services:
  weather: {{path: weather, tags: http, check: /health}}
  portal: {{path: portal, host_port: 8080}}
"""


@dataclass
class AwsLab:
    """A folder with a lab's config, and the variables that lead into the account."""

    name: str
    folder: Path
    variables: dict[str, str]
    calls: NotedCalls
    endpoint: str

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`ecsconsul <words>` to its end."""
        return subprocess.run(
            self._argv(*words), cwd=self.folder, env=self.variables, capture_output=True, text=True, timeout=PATIENCE
        )

    def document(self, *words: str) -> dict[str, Any]:
        """What it prints as JSON."""
        done = self.run(*words, "--output", "json")
        assert done.stdout, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def up_until(self, *seen: str, number: int = signal.SIGINT) -> tuple[int, str]:
        """`up --yes` until stderr has had lines like these; then the signal. Its exit code, and what it said."""
        ahead = set(seen)
        with subprocess.Popen(
            self._argv("up", "--yes"),
            cwd=self.folder,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr
            late = threading.Timer(PATIENCE, process.kill)
            late.start()
            said = []
            for line in process.stderr:
                said.append(line)
                ahead = {one for one in ahead if not re.search(one, line)}
                if not ahead:
                    break
            else:
                pytest.fail(f"up never said {ahead}:\n{''.join(said)}")
            if number == signal.SIGINT:
                self._await_registrator()
            process.send_signal(number)
            said.append(process.stderr.read())
            late.cancel()
        return process.returncode, "".join(said)

    def _await_registrator(self) -> None:
        """Its service waits for nothing, so `up` says nothing of it where it is there already."""
        ecs, end = self.ask("ecs"), time.monotonic() + PATIENCE
        while not ecs.describe_services(cluster=self.name, services=["registrator"])["services"]:
            assert time.monotonic() < end
            time.sleep(0.1)

    def ask(self, service: str) -> Any:
        """A client that is not the lab's."""
        return client(service, self.endpoint)

    @staticmethod
    def _argv(*words: str) -> list[str]:
        return [sys.executable, "-m", "ecsconsul", *words]


@pytest.fixture
def registry(engine: str, tmp_path: Path) -> Iterator[Registry]:
    with docker_registry(tmp_path / "registry") as found:
        yield found


@pytest.fixture
def lab(account: Account, moto_url: str, engine: str, registry: Registry, tmp_path: Path) -> Iterator[AwsLab]:
    name = f"aws-{os.getpid()}-{time.monotonic_ns() % 10_000}"
    for service in ("weather", "portal"):
        (tmp_path / service).mkdir()
        (tmp_path / service / "hello").write_text(f"{name} {service}\n")
        (tmp_path / service / "Dockerfile").write_text('FROM scratch\nCOPY hello /\nCMD ["/hello"]\n')
    (tmp_path / "config.yaml").write_text(CONFIG.format(name=name, registry=registry.host))
    calls = NotedCalls(moto_application())
    server = serve(calls)
    variables = {**os.environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}", "DOCKER_HOST": engine}
    # what the tests ask is not noted
    yield AwsLab(name, tmp_path, variables, calls, moto_url)
    server.shutdown()
    server.server_close()
    for image in docker(engine, "images", "-q", "--filter", f"label=ecsconsul.lab={name}").split():
        docker(engine, "rmi", "-f", image)


RUNTIMES = ()
SERVICES = (r"services/weather .*0/1 running", r"services/portal .*0/1 running")
CLEAN = ("keep", "wait")


def test_a_lab_is_made_planned_resumed_and_taken_away(lab: AwsLab, registry: Registry) -> None:
    code, said = lab.up_until(*SERVICES)
    assert code == 130, said
    assert "pushing" in said
    assert set(registry.get("/v2/_catalog")["repositories"]) >= {"e2e/weather", "e2e/portal"}

    plan = lab.document("plan")
    assert {step["op"] for step in plan["steps"]} <= set(CLEAN), plan
    assert lab.run("plan", "--exit-code").returncode == 0

    _, said = lab.up_until(*SERVICES)
    assert "building" not in said
    assert "create" not in said

    (lab.folder / "weather" / "hello").write_text("another\n")
    pending = [step["name"] for step in lab.document("plan")["steps"] if step["op"] not in CLEAN]
    assert pending == ["images/weather", "tasks/weather", "services/weather"]

    taken = lab.document("down", "--yes")
    assert taken["left"] == []
    nothing_is_left(lab)
    again = lab.document("down", "--yes")
    assert (again["left"], again["changes"]["destroyed"]) == ([], 0)
    allowed = {action for statement in policy("up-and-down")["Statement"] for action in statement["Action"]}
    assert lab.calls.calls - allowed == set()


def nothing_is_left(lab: AwsLab) -> None:
    """Asked with clients that are not the lab's."""
    ecs = lab.ask("ecs")
    assert [one["status"] for one in ecs.describe_clusters(clusters=[lab.name])["clusters"]] in ([], ["INACTIVE"])
    for status in ("ACTIVE", "INACTIVE"):
        assert ecs.list_task_definitions(status=status)["taskDefinitionArns"] == []
    assert lab.ask("cloudformation").describe_stacks()["Stacks"] == []
    assert lab.ask("logs").describe_log_groups()["logGroups"] == []
    names = [one["Name"] for one in lab.ask("ssm").describe_parameters()["Parameters"]]
    assert [name for name in names if name.startswith("/ecsconsul/")] == []
    instances = lab.ask("ec2").describe_instances()["Reservations"]
    assert {i["State"]["Name"] for r in instances for i in r["Instances"]} <= {"terminated"}
    assert lab.ask("iam").list_roles()["Roles"] == []


@pytest.mark.parametrize("seen", ["ground", "stack", "images/weather .*building", "tasks/portal"])
def test_an_up_that_is_killed_is_resumed_and_taken_away(lab: AwsLab, seen: str) -> None:
    lab.up_until(seen, number=signal.SIGKILL)
    lab.up_until(*SERVICES)
    assert {step["op"] for step in lab.document("plan")["steps"]} <= set(CLEAN)
    assert lab.document("down", "--yes")["left"] == []
    nothing_is_left(lab)


def test_it_is_made_in_nobodys_name(lab: AwsLab) -> None:
    """A stack of that name that the lab did not make is not touched, and `up` says so."""
    cloudformation = lab.ask("cloudformation")
    template = "Resources:\n  T:\n    Type: AWS::SNS::Topic\n"
    cloudformation.create_stack(StackName=lab.name, TemplateBody=template)
    done = lab.run("up", "--yes")
    assert done.returncode == 1
    assert "this lab did not make it" in done.stderr
    lab.run("down", "--yes")
    assert [one["StackStatus"] for one in cloudformation.describe_stacks()["Stacks"]] == ["CREATE_COMPLETE"]
