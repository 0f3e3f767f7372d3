"""The boot scripts run for real: Consul servers and an ECS instance, each on a Docker engine of its own, in a VPC."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from moto import mock_aws

from ecsconsul.consul.catalog import Consul
from ecsconsul.paths import services_dir
from ecsconsul.registrator.rules import Container, Options, PortBinding, registrations
from tests.consul_server import consul_binary
from tests.docker_engine import docker
from tests.require import require
from tests.templates.machine import Machine, consul_image, machine
from tests.templates.stack import LAB, REGION, Stack
from tests.templates.vpc import AMAZON_DNS, OUTSIDE, Cloud, Ec2Instance, Vpc, inside, vpc

IMAGE = "consul-under-test:1"
KEY = b64encode(secrets.token_bytes(32)).decode()
SERVER, PEER, ECS = "i-0a000000000000001", "i-0a000000000000002", "i-0a000000000000003"
ADDRESSES = {SERVER: "10.31.0.11", PEER: "10.31.0.12", ECS: "10.31.0.13"}
ANOTHER = "i-0a000000000000004"
BRIDGE = "172.17.0.1"

T = TypeVar("T")

# The lab's variables of the weather service, as its task definition has them.
SERVICE = {
    "SERVICE_4567_NAME": "weather",
    "SERVICE_4567_CHECK_HTTP": "/health",
    "SERVICE_4567_CHECK_INTERVAL": "10s",
    "SERVICE_TAGS": "http",
}

# Runs in a container that was given nothing but Docker's own DNS settings.
ASK = """
import json, socket, urllib.request
import dns.resolver
resolver = dns.resolver.get_default_resolver()
srv = resolver.resolve("weather", "SRV", search=True)
by_tcp = resolver.resolve("weather.service.consul", "SRV", tcp=True)
port = srv[0].port
with urllib.request.urlopen(f"http://weather:{port}/weather/Berlin", timeout=5) as answer:
    weather = json.load(answer)
try:
    request = urllib.request.Request("http://169.254.169.254/latest/api/token", method="PUT",
                                     headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    urllib.request.urlopen(request, timeout=2)
    credentials = "reached"
except OSError as error:
    credentials = "not reached"
with urllib.request.urlopen("http://172.17.0.1:8500/v1/status/leader", timeout=5) as answer:
    leader = json.load(answer)
print(json.dumps({
    "resolv.conf": open("/etc/resolv.conf").read(),
    "a": socket.gethostbyname("weather"),
    "srv": [srv.qname.to_text(), port, resolver.resolve(srv[0].target, "A")[0].to_text()],
    "by tcp": by_tcp[0].port,
    "outside": socket.gethostbyname("outside.example"),
    "weather": weather["city"],
    "credentials": credentials,
    "leader": leader,
}))
"""


@dataclass
class Lab:
    """What was booted."""

    vpc: Vpc
    server: Machine
    peer: Machine
    ecs: Machine

    def at(self, where: Machine, path: str) -> Any:
        """What the Consul of a machine answers at its own 127.0.0.1."""
        done = where.run("curl", "-fsS", "--max-time", "5", f"http://127.0.0.1:8500/v1/{path}")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def wait_for(look: Callable[[], T | None], seconds: float = 20.0) -> T:
    end = time.monotonic() + seconds
    while (found := look()) is None:
        assert time.monotonic() < end
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def user_data() -> dict[str, str]:
    """The scripts by role, with the parameters that CloudFormation (moto's) put in."""
    with mock_aws():
        stack = Stack()
        stack.create(AmazonDnsIp=AMAZON_DNS, ConsulImage=IMAGE)
        return {role: stack.user_data(role) for role in ("consul-server", "ecs-instance")}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Vpc], Path]]:
    folder = tmp_path_factory.mktemp("image")

    def make(vpc: Vpc) -> Path:
        consul_image(consul_binary(), vpc.authority, folder / "consul.tar")
        return folder / "consul.tar"

    yield make
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def lab(
    user_data: dict[str, str], image: Callable[[Vpc], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lab]:
    """A server, a peer that comes when it leads, and an ECS instance: in CloudFormation's order."""
    require("root", os.name == "posix" and os.geteuid() == 0, "namespaces are root's to make")
    for program in ("dockerd", "docker", "ip", "nsenter", "openssl", "curl"):
        require("docker", bool(shutil.which(program)), f"{program} is missing")
    require("aws", bool(shutil.which("aws")), "the AWS CLI is missing, which the scripts call")
    cloud = Cloud(REGION, {f"/ecsconsul/{LAB}/gossip-key": KEY})
    with ExitStack() as stack:
        net = stack.enter_context(vpc(cloud, tmp_path_factory.mktemp("vpc")))
        cloud.is_alive = lambda instance: inside(net.namespace, lambda: _serf_alive(instance))
        archive = image(net)
        machines = [
            stack.enter_context(machine(net, name, ADDRESSES[id]))
            for name, id in (("server", SERVER), ("peer", PEER), ("ecs", ECS))
        ]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda one: one.start_docker(archive, IMAGE), machines))
        made = Lab(net, *machines)
        _launch(cloud, SERVER, "ConsulServer", "2026-01-01T00:00:00.000Z")
        _boot(made.server, user_data["consul-server"])
        _launch(cloud, PEER, "ConsulPeers", "2026-01-01T00:03:00.000Z")
        _launch(cloud, ECS, "EcsInstances", "2026-01-01T00:03:00.000Z")
        with ThreadPoolExecutor() as pool:
            peer = pool.submit(_boot, made.peer, user_data["consul-server"])
            _boot(made.ecs, user_data["ecs-instance"])
            peer.result()
        yield made


def _launch(cloud: Cloud, id: str, resource: str, launched: str) -> None:
    """As the template tags it."""
    cloud.instances[id] = Ec2Instance(id, ADDRESSES[id], launched, _tags(resource))


def _tags(resource: str) -> dict[str, str]:
    servers = {} if resource == "EcsInstances" else {"ecsconsul:consul-server-of": LAB}
    return {"ecsconsul:lab": LAB, "ecsconsul:resource": resource} | servers


def _boot(machine: Machine, user_data: str) -> None:
    assert machine.boot(user_data) == 0, machine.console


def _serf_alive(instance: str) -> bool:
    """In the eyes of the first server, asked at its private address from within the VPC."""
    consul = Consul(ADDRESSES[SERVER], 8500)
    return bool(consul.leader()) and (instance, "alive") in {(m.name, m.status) for m in consul.members()}


# ---------------------------------------------------------------- what booted


def test_each_signals_only_when_it_has_joined(lab: Lab) -> None:
    """The AWS CLI says it again when it was not answered in time, so that one signal may come twice."""
    signals = {(s.resource, s.instance, s.status, s.alive) for s in lab.vpc.cloud.signals}
    assert signals == {
        ("ConsulServer", SERVER, "SUCCESS", True),
        ("ConsulPeers", PEER, "SUCCESS", True),
        ("EcsInstances", ECS, "SUCCESS", True),
    }
    assert lab.vpc.cloud.unsigned == []


def test_the_eldest_server_began_and_the_other_joined_its_quorum(lab: Lab) -> None:
    for one in (lab.server, lab.peer):
        peers = lab.at(one, "status/peers")
        assert sorted(peers) == [f"{ADDRESSES[SERVER]}:8300", f"{ADDRESSES[PEER]}:8300"]
        assert not one.file("/etc/ecsconsul/consul/begin.json").exists()
    assert "it begins a cluster" in lab.server.console
    assert f"{SERVER} is older: joining it" in lab.peer.console


def test_members_are_named_by_their_instance_ids_and_gossip_is_encrypted(lab: Lab) -> None:
    members = {member["Name"]: member["Addr"] for member in lab.at(lab.ecs, "agent/members")}
    assert members == ADDRESSES
    for one in (lab.server, lab.peer, lab.ecs):
        assert lab.at(one, "agent/self")["DebugConfig"]["EncryptKey"] == "hidden"


def test_the_gossip_key_is_in_a_folder_of_roots_only(lab: Lab) -> None:
    for one in (lab.server, lab.ecs):
        assert json.loads(one.file("/etc/ecsconsul/consul/gossip.json").read_text()) == {"encrypt": KEY}
        mode = one.file("/etc/ecsconsul").stat()
        assert (stat.S_IMODE(mode.st_mode), mode.st_uid) == (0o700, 0)
        assert KEY not in one.console
        assert KEY not in docker(one.engine, "inspect", "consul")
        assert KEY not in one.file("/etc/user-data").read_text()


def test_docker_and_the_ecs_agent_are_set_up(lab: Lab) -> None:
    assert json.loads(lab.ecs.file("/etc/docker/daemon.json").read_text()) == {
        "bip": f"{BRIDGE}/16",
        "dns": [BRIDGE, AMAZON_DNS],
        "dns-search": ["service.consul"],
        "log-opts": {"max-size": "10m", "max-file": "3"},
        "userland-proxy": False,
    }
    settings = dict(line.split("=", 1) for line in lab.ecs.file("/etc/ecs/ecs.config").read_text().splitlines())
    assert settings["ECS_CLUSTER"] == "blue-cluster"
    assert "awslogs" in json.loads(settings["ECS_AVAILABLE_LOGGING_DRIVERS"])
    assert settings["ECS_AWSVPC_BLOCK_IMDS"] == "true"
    assert {53, 8500} <= set(json.loads(settings["ECS_RESERVED_PORTS"]))
    # the ECS agent starts by itself when cloud-init is through; to wait for it in there would last for ever
    assert not [call for call in lab.ecs.systemctl_calls() if "ecs" in call]
    assert not lab.server.file("/etc/ecs/ecs.config").exists()
    assert {"mask --now --no-block ecs.service", "enable docker.service"} <= set(lab.server.systemctl_calls())


def test_docker_keeps_consul_running_without_more_rights_than_it_needs(lab: Lab) -> None:
    for one in (lab.server, lab.ecs):
        (consul,) = json.loads(docker(one.engine, "inspect", "consul"))
        host = consul["HostConfig"]
        assert (host["RestartPolicy"]["Name"], host["NetworkMode"], host["Privileged"]) == ("always", "host", False)
        user = docker(one.engine, "exec", "consul", "sh", "-c", "stat -c %u /proc/1")
        assert user == "100"


def test_what_the_scripts_say_is_on_the_console(lab: Lab) -> None:
    for one, id in ((lab.server, SERVER), (lab.ecs, ECS)):
        lines = one.console.splitlines()
        assert all(line.startswith("ecsconsul-boot: ") for line in lines)
        assert any(id in line for line in lines)
        assert lines[-1].startswith("ecsconsul-boot: ready after ")
        assert (one.folder / "log/ecsconsul-boot.log").read_text() == one.console


def test_what_the_ami_lacks_is_installed_with_more_than_one_try(lab: Lab) -> None:
    calls = (lab.ecs.folder / "log/dnf.calls").read_text().splitlines()
    assert calls == ["install --assumeyes --quiet awscli-2"] * 2


# ---------------------------------------------------------------- what it is for


def test_a_service_is_found_by_name_from_a_container_that_was_told_nothing(lab: Lab) -> None:
    engine = lab.ecs.engine
    _run_weather(engine)
    port = _register_weather(lab)
    answers = json.loads(docker(engine, "run", "--rm", "--entrypoint", "python3", IMAGE, "-c", ASK))
    settings = [line for line in answers.pop("resolv.conf").splitlines() if line.startswith(("nameserver", "search"))]
    assert settings == ["search service.consul", f"nameserver {BRIDGE}", f"nameserver {AMAZON_DNS}"]
    assert answers == {
        "a": ADDRESSES[ECS],
        "srv": ["weather.service.consul.", port, ADDRESSES[ECS]],
        "by tcp": port,
        "outside": OUTSIDE["outside.example."],
        "weather": "Berlin",
        "credentials": "not reached",
        "leader": answers["leader"],
    }
    assert answers["leader"].endswith(":8300")


def _run_weather(engine: str) -> None:
    environment = [word for key, value in SERVICE.items() for word in ("-e", f"{key}={value}")]
    folder = services_dir() / "weather"
    code = ["-v", f"{folder}:/app:ro", "-w", "/app", "-e", "PROVIDER=demo", "-e", "PYTHONDONTWRITEBYTECODE=1"]
    command = ["--entrypoint", "gunicorn", IMAGE, "app:create_app()"]
    docker(engine, "run", "-d", "--name", "weather", "-p", "4567", *environment, *code, *command)


def _register_weather(lab: Lab) -> int:
    """By Registrator's rules, through the instance's agent at 127.0.0.1; its host port once it is passing."""
    (seen,) = json.loads(docker(lab.ecs.engine, "inspect", "weather"))
    port = int(seen["NetworkSettings"]["Ports"]["4567/tcp"][0]["HostPort"])
    container = Container(
        id=seen["Id"],
        name=seen["Name"],
        image=seen["Config"]["Image"],
        environment=tuple(seen["Config"]["Env"]),
        ports=(PortBinding(4567, "tcp", port, "0.0.0.0"),),
    )
    (service,) = registrations(container, Options(hostname=ECS, host_address=ADDRESSES[ECS])).registrations
    payload = service.payload()
    check = payload["Check"]
    assert isinstance(check, dict)
    check["Interval"] = "1s"

    def register() -> None:
        consul = Consul("127.0.0.1", 8500)
        consul.register(payload)
        assert consul.wait_for("weather", bool, seconds=20)

    inside(lab.ecs.namespace, register)
    return port


def test_registrator_finds_docker_and_the_agent_where_it_looks_for_them(lab: Lab) -> None:
    """On the host's network, with the engine's socket: as the ECS service runs it on each instance."""
    code = (
        "import http.client, json, socket, urllib.request\n"
        "engine = http.client.HTTPConnection('localhost')\n"
        "engine.sock = socket.socket(socket.AF_UNIX)\n"
        "engine.sock.connect('/var/run/docker.sock')\n"
        "engine.request('GET', '/containers/json')\n"
        "names = [name for one in json.load(engine.getresponse()) for name in one['Names']]\n"
        "with urllib.request.urlopen('http://127.0.0.1:8500/v1/agent/self', timeout=5) as answer:\n"
        "    print('/consul' in names, json.load(answer)['Config']['NodeName'])\n"
    )
    place = ["--network", "host", "-v", "/var/run/docker.sock:/var/run/docker.sock"]
    said = docker(lab.ecs.engine, "run", "--rm", *place, "--entrypoint", "python3", IMAGE, "-c", code)
    assert said == f"True {ECS}"


def test_a_server_that_is_killed_comes_back_with_its_data(lab: Lab) -> None:
    put = ["curl", "-fsS", "-X", "PUT", "-d", "kept", "http://127.0.0.1:8500/v1/kv/mark"]
    assert lab.server.run(*put).stdout.strip() == "true"
    started = docker(lab.server.engine, "inspect", "-f", "{{.State.StartedAt}}", "consul")
    lab.server.run("kill", "-9", docker(lab.server.engine, "inspect", "-f", "{{.State.Pid}}", "consul"))

    def again() -> str | None:
        (state,) = json.loads(docker(lab.server.engine, "inspect", "consul"))
        return "running" if state["State"]["Running"] and state["State"]["StartedAt"] != started else None

    wait_for(again)
    get = ["curl", "-fsS", "http://127.0.0.1:8500/v1/kv/mark?raw"]
    assert wait_for(lambda: lab.server.run(*get).stdout or None) == "kept"


def test_a_server_that_is_shut_down_leaves_the_quorum(lab: Lab) -> None:
    """As Docker stops its containers when the machine does: the one that stays must go on alone."""
    docker(lab.peer.engine, "stop", "consul")
    alone = [f"{ADDRESSES[SERVER]}:8300"]
    assert wait_for(lambda: lab.at(lab.server, "status/peers") == alone or None)
    assert lab.at(lab.server, "status/leader") == alone[0]


# ---------------------------------------------------------------- what does not boot


def test_a_boot_that_fails_says_why_signals_failure_and_takes_no_tasks(lab: Lab, user_data: dict[str, str]) -> None:
    other = user_data["ecs-instance"].replace(f"LAB='{LAB}'", "LAB='other'").replace("AWS_SECONDS=40", "AWS_SECONDS=1")
    before = len(lab.vpc.cloud.signals)
    assert lab.ecs.boot(other) == 1
    (signal,) = set(lab.vpc.cloud.signals[before:])
    assert (signal.resource, signal.instance, signal.status) == ("EcsInstances", ECS, "FAILURE")
    last = lab.ecs.console.splitlines()[-30:]
    assert any("ParameterNotFound" in line for line in last)
    assert any("FAILED at line" in line for line in last)
    assert last[-1] == "ecsconsul-boot: signalled FAILURE for EcsInstances"
    assert "mask --now --no-block ecs.service" in lab.ecs.systemctl_calls()


# ---------------------------------------------------------------- what is lost


def test_a_lost_only_server_is_replaced_and_the_agents_are_found(lab: Lab, user_data: dict[str, str]) -> None:
    """As Auto Scaling does it: the new one has nothing of the old one, and nobody told the agents of it."""
    cloud, alive = lab.vpc.cloud, lab.vpc.cloud.is_alive
    for id, lost in ((SERVER, lab.server), (PEER, lab.peer)):
        docker(lost.engine, "rm", "--force", "consul")
        del cloud.instances[id]
    docker(lab.peer.engine, "volume", "rm", "consul-data")
    cloud.instances[ANOTHER] = Ec2Instance(ANOTHER, ADDRESSES[PEER], "2026-01-01T00:09:00.000Z", _tags("ConsulServer"))
    cloud.is_alive = lambda instance: True
    try:
        _boot(lab.peer, user_data["consul-server"])
    finally:
        cloud.is_alive = alive
    leader = f"{ADDRESSES[PEER]}:8300"
    wait_for(lambda: lab.at(lab.ecs, "status/leader") == leader or None)
    wait_for(lambda: lab.at(lab.ecs, "catalog/service/weather") or None)
