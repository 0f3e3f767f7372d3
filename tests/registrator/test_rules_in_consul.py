"""A real Consul agent accepts every payload that the rules produce, and stores it as given."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from ecsconsul.registrator.checks import duration_seconds
from ecsconsul.registrator.probe import run_probe
from ecsconsul.registrator.rules import Container, Options, PortBinding, Registration, initial_probe, registrations

TIMEOUT = 60.0
# of a check that Consul shall never run; it runs each for the first time at a random moment of its interval
NEVER = "87600h"
ADDRESS = "127.77.0.1" if os.uname().sysname == "Linux" else "127.0.0.1"
BINARY = os.environ.get("ECSCONSUL_CONSUL_BIN") or shutil.which("consul")

pytestmark = pytest.mark.skipif(not BINARY, reason="no consul: neither ECSCONSUL_CONSUL_BIN nor on PATH")


class Agent:
    """The HTTP API of one Consul agent, each request bounded."""

    def __init__(self, port: int) -> None:
        self.port = port

    def exchange(self, method: str, path: str, body: object = None) -> tuple[HTTPResponse, str]:
        connection = HTTPConnection(ADDRESS, self.port, timeout=TIMEOUT)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None)
            response = connection.getresponse()
            return response, response.read().decode()
        finally:
            connection.close()

    def request(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        response, text = self.exchange(method, path, body)
        return response.status, text

    def get(self, path: str) -> Any:
        status, text = self.request("GET", path)
        assert status == 200, text
        return json.loads(text)

    def catalogued(self, name: str) -> Any:
        """The one instance of a service; the agent updates its catalog a moment after the registration."""
        index, deadline = "0", time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            response, text = self.exchange("GET", f"/v1/health/service/{name}?index={index}&wait=2s")
            if instances := json.loads(text):
                (instance,) = instances
                return instance
            index = response.headers["X-Consul-Index"]
        pytest.fail(f"{name} is not in the catalog")

    def register(self, payload: dict[str, object]) -> tuple[int, str]:
        return self.request("PUT", "/v1/agent/service/register", payload)

    def wait_until_up(self, process: subprocess.Popen[bytes], log: Path) -> None:
        """Until the agent is its own leader: without one its services don't reach the catalog."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(OSError):
                status, leader = self.request("GET", "/v1/status/leader")
                if status == 200 and json.loads(leader):
                    return
            time.sleep(0.1)
        pytest.fail(f"consul is not up: {log.read_text()[-2000:]}")


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server((ADDRESS, 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    log = tmp_path_factory.mktemp("consul") / "log"
    http, server, lan, wan = free_ports(4)
    options = [f"-bind={ADDRESS}", f"-client={ADDRESS}", "-enable-script-checks", "-log-level=warn"]
    options += [
        f"-http-port={http}",
        f"-server-port={server}",
        f"-serf-lan-port={lan}",
        f"-serf-wan-port={wan}",
    ]
    options += ["-dns-port=-1", "-grpc-port=-1", "-hcl=connect { enabled = false }"]
    with log.open("wb") as sink:
        process = subprocess.Popen([str(BINARY), "agent", "-dev", *options], stdout=sink, stderr=sink)
    try:
        agent = Agent(http)
        agent.wait_until_up(process, log)
        yield agent
    finally:
        process.kill()
        process.wait(TIMEOUT)


def decide(*env: str, **details: Any) -> list[Registration]:
    options = Options("host", host_address=details.pop("host_address", ADDRESS))
    ports = details.pop("ports", (PortBinding(80, host_port=32768),))
    container = Container("0123456789ab", "/c", "acme/web:1", env, ports=ports, **details)
    return list(registrations(container, options).registrations)


CHECKS = {
    "http": ("SERVICE_CHECK_HTTP=/health", "SERVICE_CHECK_HTTP_METHOD=HEAD", "SERVICE_CHECK_TIMEOUT=500ms"),
    "https": ("SERVICE_CHECK_HTTPS=/", "SERVICE_CHECK_TLS_SKIP_VERIFY=1"),
    "tcp": ("SERVICE_CHECK_TCP=1", "SERVICE_CHECK_INTERVAL=1m", "SERVICE_CHECK_DEREGISTER_AFTER=90m"),
    "ttl": ("SERVICE_CHECK_TTL=1h30m", "SERVICE_CHECK_INTERVAL=5s"),
    "script": ("SERVICE_CHECK_SCRIPT=sh -c 'test -n $SERVICE_IP'",),
    "grpc": ("SERVICE_CHECK_GRPC=1", "SERVICE_CHECK_GRPC_USE_TLS=1", "SERVICE_CHECK_TLS_SKIP_VERIFY=1"),
    "none": (),
    "nonsense options": (
        "SERVICE_CHECK_TCP=1",
        "SERVICE_CHECK_INTERVAL=5",
        "SERVICE_CHECK_TIMEOUT=soon",
        "SERVICE_CHECK_INITIAL_STATUS=up",
        "SERVICE_CHECK_DEREGISTER_AFTER=never",
    ),
}


def rarely_checked(payload: dict[str, Any]) -> dict[str, Any]:
    """The same with an interval of years."""
    check = payload.get("Check", {})
    return payload | ({"Check": check | {"Interval": NEVER}} if "Interval" in check else {})


@pytest.mark.parametrize("kind", CHECKS)
@pytest.mark.parametrize("status", [None, "passing", "warning", "critical"])
def test_every_check_is_accepted(agent: Agent, kind: str, status: Any) -> None:
    (registration,) = decide(*CHECKS[kind], f"SERVICE_ID={kind} {status}")
    assert agent.register(rarely_checked(registration.payload(status))) == (200, "")
    found = agent.get("/v1/agent/checks").get(f"service:{kind} {status}")
    assert (found is None) == (kind == "none")
    if found and status:
        assert found["Status"] == status
    assert agent.register(registration.payload(status)) == (200, "")


def test_every_field_is_stored(agent: Agent) -> None:
    ports = (PortBinding(53, "udp", 5353),)
    env = ("SERVICE_NAME=dns", r"SERVICE_TAGS=a\,b,c", "SERVICE_REGION=us2")
    (registration,) = decide(*env, ports=ports)
    assert agent.register(registration.payload()) == (200, "")
    found = agent.get("/v1/agent/services")["host:c:53:udp"]
    details = {key: found[key] for key in ("ID", "Service", "Address", "Port", "Meta")}
    assert details == {
        "ID": "host:c:53:udp",
        "Service": "dns",
        "Address": ADDRESS,
        "Port": 5353,
        "Meta": {"region": "us2"},
    }
    assert sorted(found["Tags"]) == ["a,b", "c", "udp"]


def test_meta_limits_are_consuls(agent: Agent) -> None:
    """One step beyond each limit, Consul refuses the registration."""
    env = (
        "SERVICE_" + "K" * 128 + "=" + "é" * 256,
        "SERVICE_Z.=1",
        "SERVICE_CONSUL-X=1",
        "SERVICE_L=" + "é" * 257,
    )
    many = (f"SERVICE_M{n}=x" for n in range(70))
    (registration,) = decide(*env, *many, "SERVICE_ID=meta")
    assert len(registration.meta) == 64
    assert agent.register(registration.payload()) == (200, "")
    beyond = [{"k" * 129: "x"}, {"k": "é" * 257}, {"z.": "1"}, {"consul-x": "1"}, {"": "1"}]
    beyond.append(dict(registration.meta) | {"one-more": "x"})
    for meta in beyond:
        status, why = agent.register(registration.payload() | {"Meta": meta})
        assert (status, why.startswith("Invalid Service Meta")) == (400, True), meta


@pytest.mark.parametrize(
    "text",
    ["10s", "1.s", ".5s", "+2s", "1h30m", "3µs", "10", "0s", "-1s", "1d", "s", "1e3s", " 1s", "2562048h"],
)
def test_durations_are_those_that_consul_accepts(agent: Agent, text: str) -> None:
    payload = {"ID": "duration", "Name": "duration", "Port": 1, "Check": {"TTL": text, "Status": "passing"}}
    status, why = agent.register(payload)
    assert (status == 200) == (duration_seconds(text) is not None), why


def test_empty_address_means_the_nodes(agent: Agent) -> None:
    (registration,) = decide("SERVICE_NAME=nowhere", host_address="")
    assert agent.register(registration.payload()) == (200, "")
    found = agent.catalogued("nowhere")
    assert (found["Service"]["Address"], found["Node"]["Address"]) == ("", ADDRESS)


def test_consul_refuses_the_address_that_the_rules_replace(agent: Agent) -> None:
    (registration,) = decide(ports=(PortBinding(80, "tcp", 32768, "0.0.0.0"),))
    assert agent.register(registration.payload()) == (200, "")
    assert agent.register(registration.payload() | {"Address": "0.0.0.0"})[0] == 400


def healthy_service(agent: Agent, id: str) -> Registration:
    """A healthy service (the agent's own API) whose check Consul won't run."""
    env = ("SERVICE_CHECK_HTTP=/v1/agent/self", f"SERVICE_CHECK_INTERVAL={NEVER}", f"SERVICE_ID={id}")
    (registration,) = decide(*env, ports=(PortBinding(80, host_port=agent.port),))
    return registration


def status_in_consul(agent: Agent, id: str) -> str:
    return str(agent.get("/v1/agent/checks")[f"service:{id}"]["Status"])


def test_initial_probe_makes_it_passing_at_once(agent: Agent) -> None:
    unprobed, probed = healthy_service(agent, "unprobed"), healthy_service(agent, "probed")
    assert agent.register(unprobed.payload()) == (200, "")
    assert status_in_consul(agent, "unprobed") == "critical"
    probe = initial_probe(probed)
    assert probe is not None
    assert agent.register(probed.payload(run_probe(probe).status)) == (200, "")
    assert status_in_consul(agent, "probed") == "passing"


def test_status_of_a_second_registration_is_ignored(agent: Agent) -> None:
    """Consul keeps the status of a check that it already has (docs/registrator.md)."""
    registration = healthy_service(agent, "late")
    agent.register(registration.payload())
    assert agent.register(registration.payload("passing")) == (200, "")
    assert status_in_consul(agent, "late") == "critical"
