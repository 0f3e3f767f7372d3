"""Booted instances, watched: the leading server publishes metrics, and logs go where CloudWatch finds them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from ecsconsul.consul.lab_secrets import MANAGEMENT, REGISTRATOR, new_secrets
from tests.consul_server import AgentClient
from tests.docker_engine import docker
from tests.templates.booted import (
    boot,
    image,
    launch,
    parameters,
    promote_at_once,
    require_tools,
    start_docker,
    user_data_of,
    wait_for,
)
from tests.templates.machine import Machine, machine
from tests.templates.stack import LAB, REGION, script_of
from tests.templates.vpc import Answer, Cloud, Request, inside, vpc

SECRETS = new_secrets(LAB)
SERVER, PEER, ECS = "i-0a000000000000001", "i-0a000000000000002", "i-0b000000000000001"
ADDRESSES = {SERVER: "10.31.0.11", PEER: "10.31.0.12", ECS: "10.31.0.13"}
RESOURCES = {SERVER: "ConsulServer", PEER: "ConsulPeers", ECS: "EcsInstances"}
WAIT_SECONDS = 120.0
PACE = "$((60 - SECONDS % 60))"
# A leader that a busy machine stalls for half a second would lose its lease, and the test wants to know who leads.
RAFT, SLOW_RAFT = '"raft_multiplier": 1}', '"raft_multiplier": 5}'
QUERY_ANSWER = (
    '<PutMetricDataResponse xmlns="http://monitoring.amazonaws.com/doc/2010-08-01/"><ResponseMetadata>'
    "<RequestId>1</RequestId></ResponseMetadata></PutMetricDataResponse>"
)


@dataclass
class CloudWatch:
    """Takes metrics, as AWS does from the role that the template gives servers: in one namespace only."""

    published: list[tuple[str, dict[str, float]]] = field(default_factory=list)

    def answer(self, request: Request) -> Answer:
        """CloudWatch knows two protocols, and which one the AWS CLI speaks depends on its version."""
        by_query = not request.operation
        found = _of_query(request.form) if by_query else json.loads(request.body)
        if found["Namespace"] != "ecsconsul" or "PutMetricData" not in (request.operation, request.form.get("Action")):
            return Answer(403, "")
        assert all(one["Dimensions"] == [{"Name": "Lab", "Value": LAB}] for one in found["MetricData"])
        metrics = {one["MetricName"]: float(one["Value"]) for one in found["MetricData"]}
        self.published.append((request.instance.id, metrics))
        return Answer(200, QUERY_ANSWER) if by_query else Answer(200, "{}", "application/x-amz-json-1.0")

    def wait(self, instance: str, servers: int, instances: int, failing: int) -> None:
        """Until this instance publishes these metrics."""
        expected = {"Servers": servers, "EcsInstances": instances, "FailingChecks": failing}
        wait_for(lambda: (instance, expected) in self.published[-2:] or None, WAIT_SECONDS)


def _of_query(form: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of a request in the query protocol, as the other one spells them."""
    numbers = [key.removesuffix(".MetricName") for key in form if key.endswith(".MetricName")]
    metrics = [
        {
            **{key: form[f"{one}.{key}"] for key in ("MetricName", "Value")},
            "Dimensions": [{key: form[f"{one}.Dimensions.member.1.{key}"] for key in ("Name", "Value")}],
        }
        for one in numbers
    ]
    return {"Namespace": form["Namespace"], "MetricData": metrics}


@dataclass
class Lab:
    """The booted instances, and what they publish."""

    machines: dict[str, Machine]
    cloudwatch: CloudWatch


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    require_tools()
    cloudwatch = CloudWatch()
    cloud = Cloud(REGION, parameters(SECRETS), services={"monitoring": cloudwatch.answer})
    user_data = user_data_of()
    server = script_of(user_data["consul-server"])
    assert PACE in server and RAFT in server
    server = server.replace(PACE, "0.5").replace(RAFT, SLOW_RAFT)
    with ExitStack() as stack:
        net = stack.enter_context(vpc(cloud, tmp_path_factory.mktemp("vpc")))
        machines = {id: stack.enter_context(machine(net, id[2:4] + id[-1], at)) for id, at in ADDRESSES.items()}
        with image(net, tmp_path_factory.mktemp("image")) as archive:
            start_docker(machines.values(), archive)
        launch(cloud, SERVER, ADDRESSES[SERVER], RESOURCES[SERVER], "2026-01-01T00:00:00.000Z")
        boot(machines[SERVER], server)
        promote_at_once(machines[SERVER], SECRETS.token(MANAGEMENT))
        for id in (PEER, ECS):
            launch(cloud, id, ADDRESSES[id], RESOURCES[id], "2026-01-01T00:03:00.000Z")
        with ThreadPoolExecutor() as pool:
            peer = pool.submit(boot, machines[PEER], server)
            boot(machines[ECS], user_data["ecs-instance"])
            peer.result()
        yield Lab(machines, cloudwatch)


def on_agent(lab: Lab, do: Callable[[AgentClient], None]) -> None:
    """What the Registrator of the ECS instance does."""
    inside(lab.machines[ECS].namespace, lambda: do(AgentClient("127.0.0.1", 8500, SECRETS.token(REGISTRATOR))))


def test_leader_publishes_members_and_failing_checks_and_nobody_else_does(lab: Lab) -> None:
    lab.cloudwatch.wait(SERVER, servers=2, instances=1, failing=0)
    failing = {"Name": "weather", "ID": "w1", "Check": {"TTL": "1h", "Status": "critical"}}
    on_agent(lab, lambda agent: agent.register(failing))
    lab.cloudwatch.wait(SERVER, servers=2, instances=1, failing=1)
    on_agent(lab, lambda agent: agent.deregister("w1"))
    lab.cloudwatch.wait(SERVER, servers=2, instances=1, failing=0)
    assert {instance for instance, _ in lab.cloudwatch.published} == {SERVER}
    assert not [call for call in lab.machines[ECS].systemctl_calls() if "server_watch" in call]


@pytest.mark.parametrize("id", ADDRESSES)
def test_log_agent_is_installed_and_started_with_its_configuration(lab: Lab, id: str) -> None:
    one = lab.machines[id]
    calls = one.file("/log/log-agent.calls")
    wait_for(lambda: calls.exists() or None)
    assert calls.read_text().split() == ["-a", "fetch-config", "-m", "ec2", "-s", "-c", "file:/etc/ecsconsul/logs.json"]
    config = json.loads(one.file("/etc/ecsconsul/logs.json").read_text())
    # the rule that protects the role's credentials lets root get them
    assert config["agent"] == {"run_as_user": "root"}
    files = config["logs"]["logs_collected"]["files"]["collect_list"]
    assert {file["log_group_name"] for file in files} == {f"/ecsconsul/{LAB}"}
    assert {file["log_stream_name"]: file["file_path"] for file in files} == {
        f"consul/{id}": "/var/lib/docker/volumes/consul-data/_data/consul-*.log",
        f"ecs-agent/{id}": "/var/log/ecs/ecs-agent.log",
        f"ecs-init/{id}": "/var/log/ecs/ecs-init.log",
    }
    # the instance's own /var/lib/docker
    (log,) = (one.folder / "docker/volumes/consul-data/_data").glob("consul-*.log")
    assert "[INFO]" in log.read_text()
    assert "[INFO]" in docker(one.engine, "logs", "consul")


def test_nobody_waits_for_the_services(lab: Lab) -> None:
    """They start when the instance has signalled, and systemd isn't waited for."""
    for id, names in ((SERVER, {"server_watch", "ship_logs"}), (ECS, {"ship_logs"})):
        started = {call for call in lab.machines[id].systemctl_calls() if "ecsconsul-" in call}
        assert {f"enable --now --no-block ecsconsul-{name}.service" for name in names} <= started
        lines = lab.machines[id].console.splitlines()
        assert "signalled SUCCESS" in lines[-2]
        assert "ready after" in lines[-1]


def test_next_leader_goes_on(lab: Lab) -> None:
    """The instance leaves, and then the server that led."""
    for id in (ECS, SERVER):
        docker(lab.machines[id].engine, "stop", "consul")
    lab.cloudwatch.wait(PEER, servers=1, instances=0, failing=0)
