"""A lab in AWS: the command as users run it, moto's server as AWS, a real Docker engine and a real registry.

moto runs neither instances nor tasks, so `up` gets as far as waiting for the services' tasks.
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
from tests.aws_calls import RecordedCalls
from tests.deploy.world import client, serve
from tests.docker_engine import docker
from tests.docker_registry import Registry, docker_registry
from tests.moto_account import account, moto_application, moto_url

__all__ = ["account", "moto_url"]

Account = Callable[[str], Any]
TIMEOUT = 120.0
CONFIG = """\
lab: {name}
target: aws
aws:
  consul_access: direct
  # no such image is there, so the stack has it by its tag, and no other registry is asked
  consul_image: {registry}/consul:1
  registry: {registry}/e2e
  registrator: {{image: {registry}/e2e/registrator:1}}
services:
  weather: {{path: weather, tags: http, check: /health}}
  portal: {{path: portal, host_port: 8080}}
"""


@dataclass
class AwsLab:
    """A folder with a lab's config, and the environment for the account."""

    name: str
    folder: Path
    variables: dict[str, str]
    calls: RecordedCalls
    endpoint: str

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `ecsconsul <words>`."""
        return subprocess.run(
            self._argv(*words), cwd=self.folder, env=self.variables, capture_output=True, text=True, timeout=TIMEOUT
        )

    def document(self, *words: str) -> dict[str, Any]:
        """The JSON that a command prints."""
        done = self.run(*words, "--output", "json")
        assert done.stdout, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def up_until(self, *seen: str, number: int = signal.SIGINT) -> tuple[int, str]:
        """Run `up --yes` until stderr matches all patterns, and send the signal; the exit code and stderr."""
        missing = set(seen)
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
            timer = threading.Timer(TIMEOUT, process.kill)
            timer.start()
            lines = []
            for line in process.stderr:
                lines.append(line)
                missing = {one for one in missing if not re.search(one, line)}
                if not missing:
                    break
            else:
                pytest.fail(f"up never printed {missing}:\n{''.join(lines)}")
            if number == signal.SIGINT:
                self._await_registrator()
            process.send_signal(number)
            lines.append(process.stderr.read())
            timer.cancel()
        return process.returncode, "".join(lines)

    def _await_registrator(self) -> None:
        """Its service depends on no other step, so `up` prints nothing about it when it exists already."""
        ecs, end = self.client("ecs"), time.monotonic() + TIMEOUT
        while not ecs.describe_services(cluster=self.name, services=["registrator"])["services"]:
            assert time.monotonic() < end
            time.sleep(0.1)

    def client(self, service: str) -> Any:
        """A client whose calls are not recorded."""
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
    calls = RecordedCalls(moto_application())
    server = serve(calls)
    variables = {**os.environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}", "DOCKER_HOST": engine}
    # The tests' own calls are not recorded.
    yield AwsLab(name, tmp_path, variables, calls, moto_url)
    server.shutdown()
    server.server_close()
    for image in docker(engine, "images", "-q", "--filter", f"label=ecsconsul.lab={name}").split():
        docker(engine, "rmi", "-f", image)


RUNTIMES = ()
SERVICES = (r"services/weather .*0/1 running", r"services/portal .*0/1 running")
CLEAN = ("keep", "wait")


def test_lab_is_created_planned_resumed_and_removed(lab: AwsLab, registry: Registry) -> None:
    code, stderr = lab.up_until(*SERVICES)
    assert code == 130, stderr
    assert "pushing" in stderr
    assert set(registry.get("/v2/_catalog")["repositories"]) >= {"e2e/weather", "e2e/portal"}

    plan = lab.document("plan")
    assert {step["op"] for step in plan["steps"]} <= set(CLEAN), plan
    assert lab.run("plan", "--exit-code").returncode == 0
    # AWS has published no other AMI
    assert lab.run("plan", "--update-ami", "--exit-code").returncode == 0

    _, stderr = lab.up_until(*SERVICES)
    assert "building" not in stderr
    assert "create" not in stderr

    (lab.folder / "weather" / "hello").write_text("another\n")
    pending = [step["name"] for step in lab.document("plan")["steps"] if step["op"] not in CLEAN]
    assert pending == ["images/weather", "tasks/weather", "services/weather"]

    document = lab.document("down", "--yes")
    assert document["left"] == []
    assert_nothing_left(lab)
    again = lab.document("down", "--yes")
    assert (again["left"], again["changes"]["destroyed"]) == ([], 0)
    statements = [*policy("up-and-down")["Statement"], *policy("roles")["Statement"]]
    allowed = {action for statement in statements for action in statement["Action"]}
    assert lab.calls.calls - allowed == set()


def assert_nothing_left(lab: AwsLab) -> None:
    ecs = lab.client("ecs")
    assert [one["status"] for one in ecs.describe_clusters(clusters=[lab.name])["clusters"]] in ([], ["INACTIVE"])
    for status in ("ACTIVE", "INACTIVE"):
        assert ecs.list_task_definitions(status=status)["taskDefinitionArns"] == []
    assert lab.client("cloudformation").describe_stacks()["Stacks"] == []
    assert lab.client("logs").describe_log_groups()["logGroups"] == []
    names = [one["Name"] for one in lab.client("ssm").describe_parameters()["Parameters"]]
    assert [name for name in names if name.startswith("/ecsconsul/")] == []
    instances = lab.client("ec2").describe_instances()["Reservations"]
    assert {i["State"]["Name"] for r in instances for i in r["Instances"]} <= {"terminated"}
    assert lab.client("iam").list_roles()["Roles"] == []


@pytest.mark.parametrize("seen", ["prerequisites", "stack", "images/weather .*building", "tasks/portal"])
def test_killed_up_is_resumed_and_its_lab_removed(lab: AwsLab, seen: str) -> None:
    lab.up_until(seen, number=signal.SIGKILL)
    lab.up_until(*SERVICES)
    assert {step["op"] for step in lab.document("plan")["steps"]} <= set(CLEAN)
    assert lab.document("down", "--yes")["left"] == []
    assert_nothing_left(lab)


def test_foreign_stack_is_not_touched(lab: AwsLab) -> None:
    """A stack with the lab's name that the lab did not create is an error."""
    cloudformation = lab.client("cloudformation")
    template = "Resources:\n  T:\n    Type: AWS::SNS::Topic\n"
    cloudformation.create_stack(StackName=lab.name, TemplateBody=template)
    done = lab.run("up", "--yes")
    assert done.returncode == 1
    assert "this lab did not make it" in done.stderr
    lab.run("down", "--yes")
    assert [one["StackStatus"] for one in cloudformation.describe_stacks()["Stacks"]] == ["CREATE_COMPLETE"]
