"""What tests of booted instances share: the lab's parameters, the image, and how an instance is launched and booted."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from moto import mock_aws

from ecsconsul.config.lab import SnapshotSpec
from ecsconsul.consul.catalog import Consul
from ecsconsul.consul.install import version_of
from ecsconsul.consul.lab_secrets import LabSecrets
from ecsconsul.consul.pki import SERVER_NAME
from ecsconsul.errors import LabError
from ecsconsul.targets.aws.consul_secrets import values
from tests.consul_server import consul_binary
from tests.docker_engine import docker
from tests.require import require
from tests.templates.machine import Machine, consul_image
from tests.templates.stack import LAB, Stack
from tests.templates.vpc import AMAZON_DNS, Cloud, Ec2Instance, Vpc, inside

IMAGE = "consul-under-test:1"
BRIDGE = "172.17.0.1"
ROLES = ("consul-server", "ecs-instance")
# less than the 15 seconds for which an instance's AWS CLI waits for the answer to its signal
ANSWER_SECONDS = 10.0

T = TypeVar("T")


def require_tools() -> None:
    """Skips tests where instances can't be made."""
    require("root", os.name == "posix" and os.geteuid() == 0, "only root can create namespaces")
    for program in ("dockerd", "docker", "ip", "nsenter", "openssl", "curl", "iptables"):
        require("docker", bool(shutil.which(program)), f"{program} is missing")
    require("aws", bool(shutil.which("aws")), "the scripts need the AWS CLI, which is missing")


def user_data_of(**parameters: str) -> dict[str, str]:
    """The boot scripts by role, with the stack's parameters filled in by moto's CloudFormation."""
    with mock_aws():
        stack = Stack()
        stack.create(AmazonDnsIp=AMAZON_DNS, ConsulImage=IMAGE, **parameters)
        return {role: stack.user_data(role) for role in ROLES}


def parameters(lab_secrets: LabSecrets, *services: str, snapshots: SnapshotSpec | None = None) -> dict[str, str]:
    """The lab's parameters in SSM; the services have a `ttl` check."""
    found = values(lab_secrets, version_of(Path(consul_binary())), services, snapshots)
    return {f"/ecsconsul/{LAB}/{leaf}": text for leaf, text in found.items()}


@contextmanager
def image(vpc: Vpc, folder: Path) -> Iterator[Path]:
    """The archive of Consul's image."""
    archive = folder / "consul.tar"
    consul_image(consul_binary(), vpc.authority, archive)
    yield archive
    archive.unlink()


def start_docker(machines: Iterable[Machine], archive: Path) -> None:
    """Start Docker on all machines, with Consul's image."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda one: one.start_docker(archive, IMAGE), machines))


def launch(cloud: Cloud, id: str, address: str, resource: str, launched: str) -> None:
    """Register an instance with EC2, with the template's tags."""
    servers = {} if resource == "EcsInstances" else {"ecsconsul:consul-server-of": LAB}
    group = {"aws:autoscaling:groupName": f"{LAB}-{resource}-1A2B3C"}
    tags = {"ecsconsul:lab": LAB, "ecsconsul:resource": resource} | group | servers
    cloud.instances[id] = Ec2Instance(id, address, launched, tags)


def boot(machine: Machine, user_data: str) -> None:
    """Run the user data of an instance, which must succeed."""
    assert machine.boot(user_data) == 0, machine.console


def clear(machine: Machine) -> None:
    """Make a machine whose instance is gone ready for another boot."""
    machine.run("systemctl", "stop", "ecsconsul-leave.service")
    docker(machine.engine, "rm", "--force", "consul")
    docker(machine.engine, "volume", "rm", "--force", "consul-data")
    machine.run("rm", "-rf", "/etc/ecsconsul", "/etc/docker/daemon.json")


def promote_at_once(machine: Machine, token: str = "") -> None:
    """Let new servers become voters sooner than ten seconds after they joined."""
    header = ["-H", f"X-Consul-Token: {token}"] if token else []
    url = "http://127.0.0.1:8500/v1/operator/autopilot/configuration"
    body = '{"CleanupDeadServers": true, "ServerStabilizationTime": "100ms", "LastContactThreshold": "2s"}'
    done = machine.run("curl", "-fsS", *header, "-X", "PUT", "-d", body, url)
    assert done.returncode == 0, done.stderr


def listed_as_alive(vpc: Vpc, server: str, authority: Path, instance: str) -> bool:
    """Whether the Consul server at this address lists the instance as alive."""
    consul = Consul(server, 8501, ca_file=str(authority), server_name=SERVER_NAME)

    def ask() -> bool | None:
        try:
            return (instance, "alive") in {(member.name, member.status) for member in consul.members()}
        except LabError:
            return None

    return first_answer(lambda: inside(vpc.namespace, ask)) or False


def first_answer(ask: Callable[[], T | None]) -> T | None:
    """The first answer that isn't None; None when there is none in time.

    For what an instance's signal is checked with: what isn't so when the signal arrives must not become so meanwhile.
    """
    end = time.monotonic() + ANSWER_SECONDS
    while (found := ask()) is None and time.monotonic() < end:
        time.sleep(0.1)
    return found


def wait_for(look: Callable[[], T | None], seconds: float = 60.0) -> T:
    """What the function returns once that is not None. What it asserts may become true meanwhile, too."""
    end = time.monotonic() + seconds
    while True:
        try:
            found = look()
            assert found is not None
            return found
        except AssertionError:
            if time.monotonic() >= end:
                raise
        time.sleep(0.1)
