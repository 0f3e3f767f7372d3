"""A lab in containers, as its user and as Docker see it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.capture import Capture
from tests.consul_server import consul_binary
from tests.docker_engine import base_image, docker
from tests.e2e.lab import (
    REPOSITORY,
    TIMEOUT,
    Json,
    Lab,
    Load,
    Result,
    dig,
    eventually,
    free_port,
    get,
    settles,
    write,
    write_portal,
)

# This module has its own lab.
RUNTIMES = ()
CONFIG = """\
lab: {name}
base_image: {base}
services:
  weather: {{path: weather, tags: [http], check: /health, count: 2, environment: {{PROVIDER: demo}}}}
  portal: {{path: portal, host_port: {port}, tags: [http], check: /health}}
  greeter: {{path: greeter, port: 7000, check: {{tcp: true}}, memory: 64, cpu: 128}}
"""

# Written in another language than the lab's own services, on the same base image.
GREETER = {
    "Dockerfile": 'ARG BASE=debian\nFROM ${BASE}\nCOPY . /srv\nCMD ["perl", "/srv/serve.pl"]\n',
    "serve.pl": r"""
use IO::Socket::INET;
$| = 1;
$SIG{TERM} = sub { print "SIGTERM received\n"; exit 3 };
my $server = IO::Socket::INET->new(LocalPort => 7000, Listen => 16, ReuseAddr => 1) or die $!;
print "listening\n";
while (1) {
    my $client = $server->accept or next;
    while (my $line = <$client>) { last if $line =~ /^\r?\n$/ }
    my $body = "hello from " . `hostname`;
    print $client "HTTP/1.0 200 OK\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
    close $client;
}
""",
}


class LabInContainers(Lab):
    """A lab with the Docker runtime."""

    engine: str

    def docker(self, *words: str) -> str:
        return docker(self.engine, *words)

    def containers(self, *filters: str) -> list[Json]:
        """The lab's running containers, from `docker inspect`."""
        words = [word for one in (f"label=ecsconsul.lab={self.name}", *filters) for word in ("-f", one)]
        ids = self.docker("ps", "-q", *words).split()
        found: list[Json] = json.loads(self.docker("inspect", *ids)) if ids else []
        return found

    def number_of(self, service: str) -> int:
        """How many containers of a service run; unlike `docker inspect`, this works while some of them exit."""
        labels = (f"label=ecsconsul.lab={self.name}", f"label=com.amazonaws.ecs.container-name={service}")
        return len(self.docker("ps", "-q", "-f", labels[0], "-f", labels[1]).split())

    def tasks_of(self, service: str) -> list[Json]:
        """The containers of a service's tasks."""
        return self.containers(f"label=com.amazonaws.ecs.container-name={service}")

    def on_engine(self) -> list[str]:
        """Everything with the lab's label, including stopped containers."""
        label = f"label=ecsconsul.lab={self.name}"
        listings = (("ps", "-aq"), ("network", "ls", "-q"), ("images", "-q"))
        return [found for listing in listings for found in self.docker(*listing, "-f", label).split()]

    def piped(self, text: str, *words: str) -> Result:
        """Run the command with standard input."""
        argv = [sys.executable, "-m", "ecsconsul", *words]
        done = subprocess.run(
            argv, cwd=self.folder, env=self.environment(), input=text, capture_output=True, text=True, timeout=TIMEOUT
        )
        return Result(done.returncode, done.stdout, done.stderr, 0.0)

    def exec(self, service: str, *words: str) -> Result:
        return self.run("exec", service, "--", *words)


def create_lab(folder: Path, name: str, engine: str) -> LabInContainers:
    lab = LabInContainers(folder, name, {"ECSCONSUL_RUNTIME": "docker", "DOCKER_HOST": engine})
    lab.engine = engine
    shutil.copytree(REPOSITORY / "services" / "weather", folder / "weather")
    write_portal(folder / "portal")
    write(folder / "greeter", GREETER)
    lab.config.write_text(CONFIG.format(name=name, base=base_image(engine), port=free_port()))
    return lab


@pytest.fixture(scope="session")
def running(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabInContainers]:
    consul_binary()
    lab = create_lab(tmp_path_factory.mktemp("docker"), f"e2e-docker-{os.getpid()}", engine)
    try:
        assert lab.up()["runtime"] == "docker"
        yield lab
    finally:
        lab.clear()
    assert lab.on_engine() == []


@pytest.fixture
def lab(running: LabInContainers) -> LabInContainers:
    return running


def weather_answer(lab: Lab) -> Json:
    status, body = get(f"{lab.portal}api/weather/Paris")
    assert status == 200, body
    found: Json = json.loads(body)
    return found


# --- what runs


def test_second_up_changes_nothing(lab: LabInContainers) -> None:
    before = sorted(one["Id"] for one in lab.containers())
    assert lab.up()["changes"] == {"created": 0, "updated": 0, "kept": 13, "destroyed": 0}
    assert sorted(one["Id"] for one in lab.containers()) == before


def test_status_shows_the_runtime_and_its_reason(lab: LabInContainers) -> None:
    status = lab.status()
    assert status["healthy"]
    assert (status["runtime"], status["runtime_why"]) == ("docker", "as requested")
    assert "tasks  containers (as requested)" in lab.ok("status").out


def test_each_instance_is_a_container_with_a_consul_agent(lab: LabInContainers) -> None:
    members = {one["name"]: one["address"] for one in lab.status()["consul"]["members"]}
    agents = [one for one in lab.containers() if one["Config"]["Entrypoint"] == ["/ecsconsul/consul"]]
    assert len(agents) == 3
    assert members == {
        one["Config"]["Labels"]["ecsconsul.instance"]: next(iter(one["NetworkSettings"]["Networks"].values()))[
            "IPAddress"
        ]
        for one in agents
    }
    assert all(one["HostConfig"]["RestartPolicy"]["Name"] == "always" for one in agents)


def test_task_is_a_container_like_the_ecs_agents(lab: LabInContainers) -> None:
    (task,) = lab.tasks("greeter")
    (container,) = lab.tasks_of("greeter")
    assert task["containers"][0]["runtimeId"] == container["Id"]
    labels = container["Config"]["Labels"]
    assert {name.rpartition(".")[2]: labels[f"com.amazonaws.ecs.{name}"] for name in (
        "cluster", "container-name", "task-arn", "task-definition-family", "task-definition-version",
    )} == {
        "cluster": lab.name,
        "container-name": "greeter",
        "task-arn": task["taskArn"],
        "task-definition-family": f"{lab.name}-greeter",
        "task-definition-version": task["taskDefinitionArn"].rpartition(":")[2],
    }  # fmt: skip
    assert re.fullmatch(rf"/ecs-{lab.name}-greeter-\d+-greeter-[0-9a-f]{{20}}", container["Name"])
    host = container["HostConfig"]
    assert (host["Memory"], host["CpuShares"]) == (64 * 1024 * 1024, 128)
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert not host["Privileged"] and not host["CapAdd"]
    names = {line.partition("=")[0] for line in container["Config"]["Env"]}
    assert names & {"HOST", "CONSUL_DNS", "ECSCONSUL_LAB_HOME"} == set()
    assert "PORT=7000" in container["Config"]["Env"]


def test_portal_uses_the_systems_resolver_and_search_domain(lab: LabInContainers) -> None:
    (portal,) = lab.tasks_of("portal")
    assert not any(line.startswith("CONSUL_DNS=") for line in portal["Config"]["Env"])
    resolv_conf = lab.exec("portal", "cat", "/etc/resolv.conf").out
    assert "search service.consul" in resolv_conf
    discovery = weather_answer(lab)["discovery"]
    assert discovery["lookups"][0]["name"] == "weather.service.consul."
    assert discovery["endpoint"] in lab.endpoints("weather")


def test_container_resolves_a_name_without_a_domain(lab: LabInContainers) -> None:
    script = "import socket; print(socket.getaddrinfo('greeter', 7000, socket.AF_INET)[0][4][0])"
    addresses = {one.rpartition(":")[0] for one in lab.endpoints("greeter")}
    assert lab.exec("portal", "python3", "-c", script).out.strip() in addresses


def test_host_and_containers_reach_a_service_in_another_language(lab: LabInContainers) -> None:
    (endpoint,) = lab.endpoints("greeter")
    (container,) = lab.tasks_of("greeter")
    assert get(f"http://{endpoint}/") == (200, f"hello from {container['Config']['Hostname']}\n")
    script = f"import urllib.request; print(urllib.request.urlopen('http://{endpoint}/').read().decode())"
    assert "hello from" in lab.exec("portal", "python3", "-c", script).out


def test_dig_returns_the_published_ports(lab: LabInContainers) -> None:
    answers = lab.ok("dig", "weather", "--output", "json").document["answers"]
    assert sorted(f"{one['address']}:{one['port']}" for one in answers) == lab.endpoints("weather")
    assert len(dig(lab.dns, "weather.service.consul")) == 2


def test_logs_are_the_containers_output(lab: LabInContainers) -> None:
    assert "listening" in lab.ok("logs", "greeter").out
    weather_answer(lab)
    eventually(lambda: lab.ok("logs", "weather", "-n", "50").out, lambda out: "GET /weather/Paris" in out)


# --- exec


def test_exec_connects_input_and_output_and_returns_the_exit_code(lab: LabInContainers) -> None:
    result = lab.exec("weather", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (result.code, result.out, result.err) == (7, "out\n", "err\n")
    text = "".join(f"line {number}\n" for number in range(50_000))
    assert lab.piped(text, "exec", "weather", "--", "cat").out == text


def test_exec_runs_in_the_requested_task(lab: LabInContainers) -> None:
    for container in lab.tasks_of("weather"):
        task = container["Config"]["Labels"]["com.amazonaws.ecs.task-arn"].rpartition("/")[2]
        result = lab.ok("exec", "--task", task[:12], "weather", "--", "hostname")
        assert result.out.strip() == container["Config"]["Hostname"]
    assert lab.run("exec", "--task", "nosuch", "weather", "--", "true").code == 2


# --- what a hostile task and a hostile network can do

# Runs in a task, which knows its agent as its name server: what each request to the agent answers.
ATTACKS = """
import json, re, socket, ssl, urllib.error, urllib.request
agent = json.load(open("/dev/stdin"))
def ask(method, path, body=None):
    request = urllib.request.Request(agent + path, json.dumps(body).encode() if body else None, method=method)
    try:
        context = ssl._create_unverified_context()
        return urllib.request.urlopen(request, timeout=5, context=context).read().decode()
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"
    except OSError as error:
        return f"{error}"
check = {"Name": "x", "Interval": "1s", "HTTP": "http://169.254.169.254/"}
print(json.dumps({path: ask(method, path, body) for method, path, body in [
    ("PUT", "/v1/agent/service/register", {"Name": "x", "Check": check}),
    ("PUT", "/v1/agent/service/register", {"Name": "weather", "Port": 1}),
    ("PUT", "/v1/agent/check/register", check),
    ("PUT", "/v1/agent/leave", None),
    ("PUT", "/v1/kv/x", {"a": 1}),
    ("PUT", "/v1/catalog/deregister", {"Node": "x"}),
    ("GET", "/v1/agent/self", None),
    ("GET", "/v1/catalog/services", None),
    ("GET", "/v1/health/service/weather", None),
]}))
"""
READS = {"/v1/catalog/services", "/v1/health/service/weather"}


def test_a_task_reads_the_catalog_over_https_and_can_change_nothing(lab: LabInContainers) -> None:
    agents = [one["address"] for one in lab.status()["consul"]["members"]]
    for address in agents:
        result = lab.piped(json.dumps(f"https://{address}:8501"), "exec", "weather", "--", "python3", "-c", ATTACKS)
        answers = json.loads(result.out)
        assert {path for path, answer in answers.items() if "denied" in answer} == answers.keys() - READS, answers
        assert "weather" in json.loads(answers["/v1/catalog/services"])


def test_a_task_cannot_reach_consul_without_tls(lab: LabInContainers) -> None:
    for one in lab.status()["consul"]["members"]:
        result = lab.piped(
            json.dumps(f"http://{one['address']}:8500"), "exec", "weather", "--", "python3", "-c", ATTACKS
        )
        assert all("refused" in answer for answer in json.loads(result.out).values())


def test_between_machines_nothing_is_readable(lab: LabInContainers) -> None:
    """Gossip, RPC and HTTP, while services come and go, and while commands read the catalog."""
    network = lab.docker("network", "ls", "-q", "-f", f"label=ecsconsul.lab={lab.name}").strip()
    with Capture(f"br-{network}", ports={8300, 8301, 8500, 8501}) as capture:
        lab.ok("scale", "weather=3")
        lab.status()
        lab.ok("scale", "weather=2")
        eventually(lambda: lab.number_of("weather"), lambda count: count == 2)
    assert capture.ports >= {8300, 8301}, "RPC and gossip were seen"
    words = ("weather", "portal", "greeter", "http", lab.ok("env", "--output", "json").document["CONSUL_HTTP_TOKEN"])
    assert [word for word in words if word.encode() in capture.content] == []


# --- changes and failures


def test_scaling_fails_no_request(lab: LabInContainers) -> None:
    with Load([f"{lab.portal}api/weather/Paris"]).running() as load:
        lab.ok("scale", "weather=4")
        assert len(lab.endpoints("weather")) == lab.number_of("weather") == 4
        lab.ok("scale", "weather=2")
        eventually(lambda: lab.number_of("weather"), lambda count: count == 2)
    assert load.answers
    assert load.failures == []


def test_rolling_deploy_fails_no_request(lab: LabInContainers) -> None:
    before = lab.tasks_of("weather")
    with (lab.folder / "weather" / "app.py").open("a") as source:
        source.write("# another version\n")
    with Load([f"{lab.portal}api/weather/Paris"]).running() as load:
        assert lab.up()["changes"]["updated"] == 3
        eventually(lambda: lab.number_of("weather"), lambda count: count == 2)
    assert {one["Id"] for one in before}.isdisjoint(one["Id"] for one in lab.tasks_of("weather"))
    assert {one["Image"] for one in before}.isdisjoint(one["Image"] for one in lab.tasks_of("weather"))
    assert load.answers
    assert load.failures == []


def test_killed_task_is_deregistered_and_replaced(lab: LabInContainers) -> None:
    first, _ = lab.tasks_of("weather")
    lab.docker("kill", first["Id"])
    port = next(iter(first["NetworkSettings"]["Ports"].values()))[0]["HostPort"]
    eventually(lambda: [e.rpartition(":")[2] for e in lab.endpoints("weather")], lambda ports: port not in ports)
    eventually(lambda: len(lab.endpoints("weather")), lambda count: count == 2)
    assert first["Id"] not in {one["Id"] for one in lab.tasks_of("weather")}
    stopped = lab.tasks("weather", "STOPPED")
    assert any(one["containers"][0].get("exitCode") == 137 for one in stopped)


def test_stopped_task_gets_sigterm_and_its_exit_code_is_shown(lab: LabInContainers) -> None:
    with lab.scaled("greeter=0"):
        (stopped,) = eventually(
            lambda: lab.tasks("greeter", "STOPPED"), lambda found: [one["lastStatus"] for one in found] == ["STOPPED"]
        )
        assert stopped["containers"][0]["exitCode"] == 3
        assert "SIGTERM received" in lab.ok("logs", "greeter").out


def test_killed_agent_restarts_with_its_address_and_services(lab: LabInContainers) -> None:
    """Docker does not restart a container after `docker kill`, so the region has to."""
    endpoints = lab.endpoints("weather")
    instance = lab.tasks_of("weather")[0]["Config"]["Labels"]["ecsconsul.instance"]
    (agent,) = (
        one for one in lab.containers(f"label=ecsconsul.instance={instance}")
        if one["Config"]["Entrypoint"] == ["/ecsconsul/consul"]
    )  # fmt: skip
    lab.docker("kill", agent["Id"])
    again = eventually(
        lambda: lab.docker("inspect", "-f", "{{.State.StartedAt}} {{.State.Running}}", agent["Id"]).split(),
        lambda state: state[0] != agent["State"]["StartedAt"] and state[1] == "true",
    )
    assert again[0] > agent["State"]["StartedAt"]
    settles(lambda: (lab.status()["healthy"], lab.endpoints("weather")), lambda seen: seen == (True, endpoints))


# --- other runtimes and engines


def test_another_runtime_recreates_the_lab_and_auto_keeps_it(lab: LabInContainers) -> None:
    before = sorted(one["Id"] for one in lab.containers())
    result = lab.run("plan", "--runtime", "processes", "--output", "json")
    assert result.document["changes"]["created"] == 13, "Consul too would start again"
    lab.ok("plan", "--runtime", "auto", "--exit-code")
    assert sorted(one["Id"] for one in lab.containers()) == before


def test_killed_region_is_replaced_and_its_containers_are_removed(engine: str, tmp_path: Path) -> None:
    lab = create_lab(tmp_path, f"e2e-docker-{os.getpid()}-killed", engine)
    try:
        lab.up()
        before = {one["Id"] for one in lab.containers()}
        os.kill(region_of(lab).pid, signal.SIGKILL)
        document = lab.up()
        assert before.isdisjoint(one["Id"] for one in lab.containers())
        assert next(step["op"] for step in document["steps"] if step["name"] == "images/weather") == "keep"
        assert weather_answer(lab)["data"]["city"] == "Paris"
        os.kill(region_of(lab).pid, signal.SIGKILL)
        assert lab.down()["left"] == []
        assert lab.on_engine() == []
    finally:
        lab.clear()


def region_of(lab: Lab) -> psutil.Process:
    info = json.loads((lab.state_dir / lab.name / "region.json").read_text())
    return psutil.Process(info["pid"])


def test_missing_docker_is_an_error_with_a_hint(tmp_path: Path) -> None:
    nowhere = f"unix://{tmp_path}/docker.sock"
    lab = Lab(tmp_path, "e2e-nowhere", {"ECSCONSUL_RUNTIME": "docker", "DOCKER_HOST": nowhere})
    result = lab.run("up")
    assert result.code == 1
    assert f"there is no {tmp_path}/docker.sock" in result.err
    assert "--runtime processes" in result.err


def test_failed_build_shows_its_last_lines(engine: str, tmp_path: Path) -> None:
    lab = create_lab(tmp_path, f"e2e-docker-{os.getpid()}-broken", engine)
    broken = "ARG BASE=debian\nFROM ${BASE}\nRUN echo about to fail && exit 9\nCMD true\n"
    (lab.folder / "greeter" / "Dockerfile").write_text(broken)
    try:
        result = lab.run("up")
        assert result.code == 1
        assert "about to fail" in result.err
        assert "greeter/Dockerfile" in result.err
    finally:
        lab.clear()
    assert lab.on_engine() == []


def test_lab_has_its_own_network_and_no_mounts(lab: LabInContainers) -> None:
    """No container of the lab is on the default network, or has a writable mount but for an agent's socket."""
    networks = {name for one in lab.containers() for name in one["NetworkSettings"]["Networks"]}
    assert len(networks) == 1 and networks != {"bridge"}
    mounts = [mount for one in lab.containers() for mount in one["Mounts"] if mount.get("RW")]
    assert {mount["Destination"] for mount in mounts} == {"/ecsconsul/sockets"}
