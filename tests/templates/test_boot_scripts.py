"""The boot scripts, run for real: Consul servers and an ECS instance in a VPC, each with its own Docker engine."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from ecsconsul.consul.lab_secrets import AGENT, MANAGEMENT, REGISTRATOR, new_secrets, service_holder
from ecsconsul.paths import services_dir
from ecsconsul.registrator.rules import Container, Options, PortBinding, registrations
from tests.capture import Capture
from tests.consul_server import AgentClient
from tests.docker_engine import docker
from tests.templates.booted import (
    BRIDGE,
    IMAGE,
    boot,
    image,
    launch,
    listed_as_alive,
    parameters,
    promote_at_once,
    require_tools,
    start_docker,
    user_data_of,
    wait_for,
)
from tests.templates.fake_autoscaling import AutoScaling, Logs
from tests.templates.machine import Machine, machine
from tests.templates.stack import LAB, REGION, script_of
from tests.templates.vpc import AMAZON_DNS, OUTSIDE, Cloud, Vpc, inside, vpc

SECRETS = new_secrets(LAB)
TTL = "ticker"
SERVER, PEER, ECS = "i-0a000000000000001", "i-0a000000000000002", "i-0a000000000000003"
ADDRESSES = {SERVER: "10.31.0.11", PEER: "10.31.0.12", ECS: "10.31.0.13"}
ANOTHER = "i-0a000000000000004"

# The variables of the weather service, as in its task definition.
SERVICE = {
    "SERVICE_4567_NAME": "weather",
    "SERVICE_4567_CHECK_HTTP": "/health",
    "SERVICE_4567_CHECK_INTERVAL": "10s",
    "SERVICE_TAGS": "http",
}

# Runs in a container with nothing but Docker's default DNS settings.
LOOKUPS = """
import json, socket, ssl, urllib.request
import dns.resolver
resolver = dns.resolver.get_default_resolver()
srv = resolver.resolve("weather", "SRV", search=True)
by_tcp = resolver.resolve("weather.service.consul", "SRV", tcp=True)
port = srv[0].port
with urllib.request.urlopen(f"http://weather:{port}/weather/Berlin", timeout=30) as answer:
    weather = json.load(answer)
try:
    request = urllib.request.Request("http://169.254.169.254/latest/api/token", method="PUT",
                                     headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    urllib.request.urlopen(request, timeout=2)
    credentials = "reached"
except OSError as error:
    credentials = "not reached"
agent, unverified = "https://172.17.0.1:8501", ssl._create_unverified_context()
with urllib.request.urlopen(f"{agent}/v1/catalog/service/weather", timeout=30, context=unverified) as answer:
    catalog = [one["ServicePort"] for one in json.load(answer)]
print(json.dumps({
    "resolv.conf": open("/etc/resolv.conf").read(),
    "a": socket.gethostbyname("weather"),
    "srv": [srv.qname.to_text(), port, resolver.resolve(srv[0].target, "A")[0].to_text()],
    "by tcp": by_tcp[0].port,
    "outside": socket.gethostbyname("outside.example"),
    "weather": weather["city"],
    "credentials": credentials,
    "catalog": catalog,
}))
"""

# Sends the requests in its argument, each [token, method, url, body], and prints the status and text of each answer; 0
# for none. Without verification, as the agent's certificate has no address. An answer that says nothing about the
# request is asked for again for a while: servers may elect a leader, and a busy machine may be slow.
REQUESTS = """
import json, ssl, sys, time, urllib.error, urllib.request
def answer(token, method, url, body):
    data = json.dumps(body).encode() if body is not None else None
    headers = {"X-Consul-Token": token} if token else {}
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30, context=ssl._create_unverified_context()) as found:
            return found.status, found.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)
def is_settled(status, text):
    return (status != 0 or "refused" in text) and "No cluster leader" not in text
def settled(*request):
    found = answer(*request)
    while not is_settled(*found) and time.monotonic() < end:
        time.sleep(0.2)
        found = answer(*request)
    return found
end = time.monotonic() + 60
print(json.dumps([settled(*one) for one in json.loads(sys.argv[1])]))
"""
# More than a minute of repetitions and a last answer.
REQUESTS_SECONDS = 180.0
IMDS_HEADER = "X-aws-ec2-metadata-token-ttl-seconds: 60"
AGENT_API = f"https://{BRIDGE}:8501/v1"
CREDENTIALS_CHECK = {
    "HTTP": "http://169.254.169.254/latest/api/token",
    "Method": "PUT",
    "Header": {"X-aws-ec2-metadata-token-ttl-seconds": ["60"]},
    "Interval": "1s",
    "Timeout": "2s",
}
# What no task may do, each as [method, path, body].
WRITES = [
    ("PUT", "agent/service/register", {"Name": "evil", "Port": 1}),
    ("PUT", "agent/service/register", {"Name": "weather", "Port": 1}),
    ("PUT", "agent/service/deregister/{weather}", None),
    ("PUT", "agent/check/register", {"Name": "credentials", **CREDENTIALS_CHECK}),
    ("PUT", "agent/leave", None),
    ("PUT", "agent/reload", None),
    ("PUT", f"agent/force-leave/{SERVER}", None),
    ("PUT", "agent/maintenance?enable=true", None),
    ("PUT", "agent/token/agent", {"Token": "mine"}),
    ("PUT", "catalog/register", {"Node": "evil", "Address": "10.31.0.99"}),
    ("PUT", "catalog/deregister", {"Node": SERVER}),
    ("PUT", "kv/mark", "evil"),
    ("PUT", "session/create", {}),
    ("PUT", "event/fire/evil", {}),
    ("POST", "query", {"Name": "evil", "Service": {"Service": "weather"}}),
    ("PUT", "txn", [{"KV": {"Verb": "set", "Key": "mark", "Value": ""}}]),
    ("PUT", "config", {"Kind": "proxy-defaults", "Name": "global"}),
    ("PUT", "acl/bootstrap", None),
    ("PUT", "acl/token", {"Policies": [{"Name": "global-management"}]}),
    ("GET", "agent/self", None),
    ("GET", "acl/tokens", None),
    ("DELETE", "operator/raft/peer?address=10.31.0.11:8300", None),
]
# A server's agent looks for a service first, and does not have that of the instance.
REFUSALS = ("ermission denied", "ACL not found", "ACL bootstrap no longer allowed", "Unknown service {")


@dataclass
class Lab:
    """The booted instances."""

    vpc: Vpc
    server: Machine
    peer: Machine
    ecs: Machine

    def get(self, machine: Machine, path: str) -> Any:
        """The answer of an instance's Consul agent at 127.0.0.1."""
        token = f"X-Consul-Token: {SECRETS.token(MANAGEMENT)}"
        done = machine.run("curl", "-fsS", "--max-time", "5", "-H", token, f"http://127.0.0.1:8500/v1/{path}")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def user_data() -> dict[str, str]:
    return user_data_of()


@pytest.fixture(scope="module")
def lab(user_data: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A server, then a peer and an ECS instance, booted in CloudFormation's order."""
    require_tools()
    cloud = Cloud(REGION, parameters(SECRETS, TTL))
    with ExitStack() as stack:
        net = stack.enter_context(vpc(cloud, tmp_path_factory.mktemp("vpc")))
        cloud.services |= {"autoscaling": AutoScaling(cloud), "logs": Logs()}
        authority = tmp_path_factory.mktemp("authority") / "ca.pem"
        authority.write_text(SECRETS.ca_certificate)
        cloud.is_alive = lambda instance: listed_as_alive(net, ADDRESSES[SERVER], authority, instance)
        machines = [
            stack.enter_context(machine(net, name, ADDRESSES[id]))
            for name, id in (("server", SERVER), ("peer", PEER), ("ecs", ECS))
        ]
        with image(net, tmp_path_factory.mktemp("image")) as archive:
            start_docker(machines, archive)
        booted = Lab(net, *machines)
        launch(cloud, SERVER, ADDRESSES[SERVER], "ConsulServer", "2026-01-01T00:00:00.000Z")
        boot(booted.server, user_data["consul-server"])
        promote_at_once(booted.server, SECRETS.token(MANAGEMENT))
        launch(cloud, PEER, ADDRESSES[PEER], "ConsulPeers", "2026-01-01T00:03:00.000Z")
        launch(cloud, ECS, ADDRESSES[ECS], "EcsInstances", "2026-01-01T00:03:00.000Z")
        with ThreadPoolExecutor() as pool:
            peer = pool.submit(boot, booted.peer, user_data["consul-server"])
            boot(booted.ecs, user_data["ecs-instance"])
            peer.result()
        yield booted


# ---------------------------------------------------------------- booted instances


def test_instance_signals_success_only_after_joining(lab: Lab) -> None:
    """The AWS CLI repeats a request that times out, so a signal may arrive twice."""
    signals = {(s.resource, s.instance, s.status, s.alive) for s in lab.vpc.cloud.signals}
    assert signals == {
        ("ConsulServer", SERVER, "SUCCESS", True),
        ("ConsulPeers", PEER, "SUCCESS", True),
        ("EcsInstances", ECS, "SUCCESS", True),
    }
    assert lab.vpc.cloud.unsigned == []


def test_oldest_server_bootstraps_and_the_other_joins(lab: Lab) -> None:
    for one in (lab.server, lab.peer):
        peers = lab.get(one, "status/peers")
        assert sorted(peers) == [f"{ADDRESSES[SERVER]}:8300", f"{ADDRESSES[PEER]}:8300"]
        assert not one.file("/etc/ecsconsul/consul/bootstrap.json").exists()
    assert "bootstrapping a new cluster" in lab.server.console
    assert f"joining {SERVER}, which is older" in lab.peer.console


def test_members_have_instance_ids_and_encrypted_gossip(lab: Lab) -> None:
    members = {member["Name"]: member["Addr"] for member in lab.get(lab.ecs, "agent/members")}
    assert members == ADDRESSES
    for one in (lab.server, lab.peer, lab.ecs):
        assert lab.get(one, "agent/self")["DebugConfig"]["EncryptKey"] == "hidden"


def test_only_root_can_read_the_secrets(lab: Lab) -> None:
    for one in (lab.server, lab.peer, lab.ecs):
        mode = one.file("/etc/ecsconsul").stat()
        assert (stat.S_IMODE(mode.st_mode), mode.st_uid) == (0o700, 0)
        # what only the boot needed is gone; services that it left behind are beside Consul's files, and know no secret
        left = {path.name: path for path in one.file("/etc/ecsconsul").iterdir()}
        assert "consul" in left and "parameters" not in left
        texts = [path.read_text() for path in left.values() if path.is_file()]
        secrets = [SECRETS.gossip_key, *(SECRETS.token(holder) for holder in (MANAGEMENT, AGENT, REGISTRATOR))]
        assert texts and not [each for each in secrets if any(each in text for text in texts)]
        config = json.loads(one.file("/etc/ecsconsul/consul/security.json").read_text())
        assert config["encrypt"] == SECRETS.gossip_key
    files = {path.name for path in lab.ecs.file("/etc/ecsconsul/consul").iterdir()}
    assert files == {"agent.json", "security.json", "ca.pem"}
    assert SECRETS.token(MANAGEMENT) not in lab.ecs.file("/etc/ecsconsul/consul/security.json").read_text()


def test_no_secret_is_where_others_can_read_it(lab: Lab) -> None:
    secret = [SECRETS.gossip_key, SECRETS.server_key.splitlines()[1], SECRETS.token_seed]
    secret += [SECRETS.token(holder) for holder in (MANAGEMENT, AGENT, REGISTRATOR)]
    for one in (lab.server, lab.peer, lab.ecs):
        processes = one.run("bash", "-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' '\\n'").stdout
        public = {
            "boot log": one.console,
            "docker inspect": docker(one.engine, "inspect", "consul"),
            "docker logs": docker(one.engine, "logs", "consul"),
            "user data": one.file("/etc/user-data").read_text(),
            "service": one.file("/etc/ecsconsul/leave").read_text(),
            "processes": processes,
        }
        assert "consul agent" in public["processes"].replace("\n", " ")
        assert [where for where, text in public.items() if any(each in text for each in secret)] == []


def test_docker_and_the_ecs_agent_are_configured(lab: Lab) -> None:
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
    assert {53, 8500, 8501} <= set(json.loads(settings["ECS_RESERVED_PORTS"]))
    # systemd starts the ECS agent after cloud-init, so waiting for it in user data would never end
    assert not [call for call in lab.ecs.systemctl_calls() if call.endswith("ecs.service")]
    assert not lab.server.file("/etc/ecs/ecs.config").exists()
    assert {"mask --now --no-block ecs.service", "enable docker.service"} <= set(lab.server.systemctl_calls())


def test_consul_restarts_always_and_is_not_privileged(lab: Lab) -> None:
    for one in (lab.server, lab.ecs):
        (consul,) = json.loads(docker(one.engine, "inspect", "consul"))
        host = consul["HostConfig"]
        assert (host["RestartPolicy"]["Name"], host["NetworkMode"], host["Privileged"]) == ("always", "host", False)
        user = docker(one.engine, "exec", "consul", "sh", "-c", "stat -c %u /proc/1")
        assert user == "100"


def test_console_has_the_scripts_output(lab: Lab) -> None:
    for one, id in ((lab.server, SERVER), (lab.ecs, ECS)):
        lines = one.console.splitlines()
        assert all(line.startswith("ecsconsul-boot: ") for line in lines)
        assert any(id in line for line in lines)
        assert lines[-1].startswith("ecsconsul-boot: ready after ")
        assert (one.folder / "log/ecsconsul-boot.log").read_text() == one.console


def test_aws_cli_is_installed_with_a_retry(lab: Lab) -> None:
    calls = (lab.ecs.folder / "log/dnf.calls").read_text().splitlines()
    assert [call for call in calls if "awscli" in call] == ["install --assumeyes --quiet awscli-2"] * 2


# ---------------------------------------------------------------- discovery


def test_container_finds_a_service_by_name(lab: Lab) -> None:
    engine = lab.ecs.engine
    _run_weather(engine)
    port = _register_weather(lab)
    answers = json.loads(docker(engine, "run", "--rm", "--entrypoint", "python3", IMAGE, "-c", LOOKUPS))
    settings = [line for line in answers.pop("resolv.conf").splitlines() if line.startswith(("nameserver", "search"))]
    assert settings == ["search service.consul", f"nameserver {BRIDGE}", f"nameserver {AMAZON_DNS}"]
    assert answers == {
        "a": ADDRESSES[ECS],
        "srv": ["weather.service.consul.", port, ADDRESSES[ECS]],
        "by tcp": port,
        "outside": OUTSIDE["outside.example."],
        "weather": "Berlin",
        "credentials": "not reached",
        "catalog": [port],
    }


def _run_weather(engine: str) -> None:
    environment = [word for key, value in SERVICE.items() for word in ("-e", f"{key}={value}")]
    folder = services_dir() / "weather"
    code = ["-v", f"{folder}:/app:ro", "-w", "/app", "-e", "PROVIDER=demo", "-e", "PYTHONDONTWRITEBYTECODE=1"]
    command = ["--entrypoint", "gunicorn", IMAGE, "app:create_app()"]
    docker(engine, "run", "-d", "--name", "weather", "-p", "4567", *environment, *code, *command)


def _register_weather(lab: Lab) -> int:
    """Register weather by Registrator's rules, with the instance's agent; returns its host port once it passes."""
    (inspected,) = json.loads(docker(lab.ecs.engine, "inspect", "weather"))
    port = int(inspected["NetworkSettings"]["Ports"]["4567/tcp"][0]["HostPort"])
    container = Container(
        id=inspected["Id"],
        name=inspected["Name"],
        image=inspected["Config"]["Image"],
        environment=tuple(inspected["Config"]["Env"]),
        ports=(PortBinding(4567, "tcp", port, "0.0.0.0"),),
    )
    (service,) = registrations(container, Options(hostname=ECS, host_address=ADDRESSES[ECS])).registrations
    payload = service.payload()
    check = payload["Check"]
    assert isinstance(check, dict)
    check["Interval"] = "1s"

    def register() -> None:
        consul = AgentClient("127.0.0.1", 8500, SECRETS.token(REGISTRATOR))
        consul.register(payload)
        assert consul.wait_for("weather", seconds=60)

    inside(lab.ecs.namespace, register)
    return port


def in_task(lab: Lab, *requests: tuple[str, str, str, object]) -> list[tuple[int, str]]:
    """The answers to a task's requests, each with a token, on Docker's bridge."""
    argv = ["--entrypoint", "python3", IMAGE, "-c", REQUESTS, json.dumps(requests)]
    answers = docker(lab.ecs.engine, "run", "--rm", *argv, timeout=REQUESTS_SECONDS)
    return [(status, text) for status, text in json.loads(answers)]


@pytest.mark.parametrize("api", [AGENT_API, f"https://{ADDRESSES[SERVER]}:8501/v1"])
@pytest.mark.parametrize("token", ["", "guessed", SECRETS.token(service_holder(TTL))], ids=["none", "guessed", "ttl"])
def test_task_cannot_write_to_consul(lab: Lab, api: str, token: str) -> None:
    before = lab.get(lab.ecs, "agent/services")
    weather = next(iter(before), "weather")
    requests = [(token, method, f"{api}/{path.format(weather=weather)}", body) for method, path, body in WRITES]
    answers = in_task(lab, *requests)
    allowed = [
        (asked[2], status, text)
        for asked, (status, text) in zip(requests, answers, strict=True)
        if status < 400 or not any(words in text for words in REFUSALS)
    ]
    assert allowed == []
    assert lab.get(lab.ecs, "agent/services") == before
    members = {member["Name"]: member["Status"] for member in lab.get(lab.ecs, "agent/members")}
    assert members == dict.fromkeys(ADDRESSES, 1)


def test_task_reads_the_catalog_without_a_token(lab: Lab) -> None:
    paths = ("catalog/services", "health/service/weather?passing=1", "catalog/nodes", "agent/members", "status/leader")
    for status, text in in_task(lab, *(("", "GET", f"{AGENT_API}/{path}", None) for path in paths)):
        assert status == 200
        assert json.loads(text)


def test_http_without_tls_listens_on_loopback_only(lab: Lab) -> None:
    hosts = (BRIDGE, *ADDRESSES.values())
    found = in_task(lab, *(("", "GET", f"http://{host}:8500/v1/status/leader", None) for host in hosts))
    assert [status for status, _ in found] == [0] * len(hosts)
    assert all("refused" in text for _, text in found)


def test_task_with_a_ttl_check_writes_its_own_service_only(lab: Lab) -> None:
    token = SECRETS.token(service_holder(TTL))
    service = {"Name": TTL, "Port": 80, "Check": {"TTL": "60s", "Status": "critical"}}
    inside(lab.ecs.namespace, lambda: AgentClient("127.0.0.1", 8500, SECRETS.token(REGISTRATOR)).register(service))
    passed, foreign = in_task(
        lab,
        (token, "PUT", f"{AGENT_API}/agent/check/pass/service:{TTL}", None),
        (token, "PUT", f"{AGENT_API}/agent/check/pass/service:weather", None),
    )
    assert (passed[0], foreign[0]) == (200, 403) or "Unknown check" in foreign[1]
    assert wait_for(lambda: lab.get(lab.ecs, f"health/service/{TTL}?passing=1") or None)


@pytest.mark.parametrize("api", [AGENT_API, f"https://{ADDRESSES[SERVER]}:8501/v1"])
def test_credentials_cannot_be_fetched_through_a_check(lab: Lab, api: str) -> None:
    """Who may write a service may give it a check; Consul, which is on the host's network, makes it."""
    token = SECRETS.token(service_holder(TTL))
    service = {"ID": "attack", "Name": TTL, "Port": 80, "Check": CREDENTIALS_CHECK}
    ((status, _),) = in_task(lab, (token, "PUT", f"{api}/agent/service/register", service))
    assert status == 200

    def output() -> str | None:
        checks = [check for check in lab.get(lab.ecs, f"health/checks/{TTL}") if check["ServiceID"] == "attack"]
        return next((check["Output"] for check in checks if check["Output"]), None)

    wait_for(lambda: "refused" in (output() or "") or None)
    # root, such as the ECS agent, gets them
    fetch = ("curl", "-fsS", "-X", "PUT", "-H", IMDS_HEADER, "http://169.254.169.254/latest/api/token")
    assert lab.ecs.run(*fetch).returncode == 0
    ((status, _),) = in_task(lab, (token, "PUT", f"{api}/agent/service/deregister/attack", None))
    assert status == 200
    wait_for(lambda: output() is None or None)


def test_nothing_readable_passes_between_instances(lab: Lab) -> None:
    capture = Capture("subnet", {53, 8300, 8301, 8501})
    inside(lab.vpc.namespace, capture.__enter__)
    try:
        lookups = "import socket; print(socket.gethostbyname('weather'), socket.gethostbyname('outside.example'))"
        docker(lab.ecs.engine, "run", "--rm", "--entrypoint", "python3", IMAGE, "-c", lookups)
        servers = f"https://{ADDRESSES[SERVER]}:8501/v1/health/service/weather"
        assert "weather" in in_task(lab, ("", "GET", servers, None))[0][1]
        # a change, which the agent sends to the servers
        _register_weather(lab)
        # gossip goes from any member to any other each second
        wait_for(lambda: {8300, 8301, 8501} <= capture.ports or None)
    finally:
        capture.__exit__(None, None, None)
    assert b"outside" in capture.content, "what is not encrypted was seen"
    secrets = [SECRETS.token(holder) for holder in (MANAGEMENT, AGENT, REGISTRATOR)]
    assert [word for word in ("weather", SERVER, *secrets) if word.encode() in capture.content] == []


def test_rebooted_instance_rejoins_and_protects_its_credentials(lab: Lab) -> None:
    """Docker stops Consul, which leaves; and the user data don't run again."""
    rule = ["OUTPUT", "-d", "169.254.169.254", "-m", "owner", "!", "--uid-owner", "0", "-j", "REJECT"]
    assert lab.ecs.run("iptables", "--delete", *rule).returncode == 0
    assert lab.ecs.run("systemctl", "restart", "docker.service", timeout=120).returncode == 0
    assert lab.ecs.run("iptables", "--check", *rule).returncode == 0

    def rejoined() -> bool | None:
        members = {member["Name"]: member["Status"] for member in lab.get(lab.server, "agent/members")}
        return members[ECS] == 1 or None

    assert wait_for(rejoined)


def test_registrator_reaches_docker_and_the_agent(lab: Lab) -> None:
    """On the host's network and with the engine's socket, as the ECS service runs it on each instance."""
    code = (
        "import http.client, json, os, socket, urllib.request\n"
        "engine = http.client.HTTPConnection('localhost')\n"
        "engine.sock = socket.socket(socket.AF_UNIX)\n"
        "engine.sock.connect('/var/run/docker.sock')\n"
        "engine.request('GET', '/containers/json')\n"
        "names = [name for one in json.load(engine.getresponse()) for name in one['Names']]\n"
        "token = {'X-Consul-Token': os.environ['CONSUL_HTTP_TOKEN']}\n"
        "self = urllib.request.Request('http://127.0.0.1:8500/v1/agent/self', headers=token)\n"
        "with urllib.request.urlopen(self, timeout=5) as answer:\n"
        "    print('/consul' in names, json.load(answer)['Config']['NodeName'])\n"
    )
    options = ["--network", "host", "-v", "/var/run/docker.sock:/var/run/docker.sock"]
    options += ["-e", f"CONSUL_HTTP_TOKEN={SECRETS.token(REGISTRATOR)}"]
    output = docker(lab.ecs.engine, "run", "--rm", *options, "--entrypoint", "python3", IMAGE, "-c", code)
    assert output == f"True {ECS}"


def test_killed_server_restarts_with_its_data(lab: Lab) -> None:
    token = ["-H", f"X-Consul-Token: {SECRETS.token(MANAGEMENT)}"]
    put = ["curl", "-fsS", *token, "-X", "PUT", "-d", "kept", "http://127.0.0.1:8500/v1/kv/mark"]
    assert lab.server.run(*put).stdout.strip() == "true"
    started = docker(lab.server.engine, "inspect", "-f", "{{.State.StartedAt}}", "consul")
    lab.server.run("kill", "-9", docker(lab.server.engine, "inspect", "-f", "{{.State.Pid}}", "consul"))

    def restarted() -> str | None:
        (state,) = json.loads(docker(lab.server.engine, "inspect", "consul"))
        return "running" if state["State"]["Running"] and state["State"]["StartedAt"] != started else None

    wait_for(restarted)
    get = ["curl", "-fsS", *token, "http://127.0.0.1:8500/v1/kv/mark?raw"]
    assert wait_for(lambda: lab.server.run(*get).stdout or None) == "kept"


def test_stopped_server_leaves_the_quorum(lab: Lab) -> None:
    """Docker stops its containers when the machine shuts down. The remaining server must lead alone."""
    docker(lab.peer.engine, "stop", "consul")
    remaining = [f"{ADDRESSES[SERVER]}:8300"]
    assert wait_for(lambda: lab.get(lab.server, "status/peers") == remaining or None)
    wait_for(lambda: lab.get(lab.server, "status/leader") == remaining[0] or None)


# ---------------------------------------------------------------- failed boots


def test_failed_boot_signals_failure_and_accepts_no_tasks(lab: Lab, user_data: dict[str, str]) -> None:
    script = script_of(user_data["ecs-instance"])
    other = script.replace(f"LAB='{LAB}'", "LAB='other'").replace("AWS_SECONDS=40", "AWS_SECONDS=1")
    before = len(lab.vpc.cloud.signals)
    assert lab.ecs.boot(other) == 1
    (signal,) = set(lab.vpc.cloud.signals[before:])
    assert (signal.resource, signal.instance, signal.status) == ("EcsInstances", ECS, "FAILURE")
    last = lab.ecs.console.splitlines()[-30:]
    assert any("ParameterNotFound" in line for line in last)
    assert any("FAILED at line" in line for line in last)
    assert last[-1] == "ecsconsul-boot: signalled FAILURE for EcsInstances"
    assert "mask --now --no-block ecs.service" in lab.ecs.systemctl_calls()


# ---------------------------------------------------------------- lost servers


def test_replaced_server_joins_the_existing_agents(lab: Lab, user_data: dict[str, str]) -> None:
    """As Auto Scaling replaces it: the new server has no data, and the agents don't know its address."""
    cloud, alive = lab.vpc.cloud, lab.vpc.cloud.is_alive
    for id, lost in ((SERVER, lab.server), (PEER, lab.peer)):
        docker(lost.engine, "rm", "--force", "consul")
        del cloud.instances[id]
    docker(lab.peer.engine, "volume", "rm", "consul-data")
    launch(cloud, ANOTHER, ADDRESSES[PEER], "ConsulServer", "2026-01-01T00:09:00.000Z")
    cloud.is_alive = lambda instance: True
    try:
        boot(lab.peer, user_data["consul-server"])
    finally:
        cloud.is_alive = alive
    leader = f"{ADDRESSES[PEER]}:8300"
    wait_for(lambda: lab.get(lab.ecs, "status/leader") == leader or None)
    wait_for(lambda: lab.get(lab.ecs, "catalog/service/weather") or None)
