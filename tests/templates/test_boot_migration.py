"""A running lab of an earlier version is moved to ACLs and TLS, instance by instance, under a stream of lookups."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ecsconsul.consul.lab_secrets import MANAGEMENT, REGISTRATOR, new_gossip_key, new_secrets
from tests.consul_server import AgentClient
from tests.docker_engine import docker
from tests.templates.booted import (
    IMAGE,
    boot,
    clear,
    image,
    launch,
    parameters,
    promote_at_once,
    require_tools,
    start_docker,
    user_data_of,
    wait_for,
)
from tests.templates.fake_autoscaling import Logs
from tests.templates.load import Lookups
from tests.templates.machine import Machine, machine
from tests.templates.stack import CLUSTER, LAB, REGION
from tests.templates.vpc import AMAZON_DNS, Cloud, Vpc, inside, vpc

# The scripts of version 0.2.
EARLIER = Path(__file__).with_name("earlier_version")
KEY = new_gossip_key()
SECRETS = new_secrets(LAB, KEY)
ADDRESSES = {"first": "10.31.0.11", "second": "10.31.0.12", "a": "10.31.0.13", "b": "10.31.0.14"}
# The server of the transition has ACLs, but its state is that of the first server, which has no anonymous token, until
# it leads and has made one. To a stale read it says SERVFAIL before; the agent then asks the other server.
SERVFAIL_SECONDS, MOST_SERVFAILS = 10.0, 5


def earlier_user_data(script: str) -> str:
    variables = {
        "LAB": LAB, "CLUSTER": CLUSTER, "STACK": "arn:aws:cloudformation:stack", "REGION": REGION,
        "CONSUL_IMAGE": IMAGE, "AMAZON_DNS": AMAZON_DNS,
    }  # fmt: skip
    lines = ["#!/bin/bash", *(f"{name}='{value}'" for name, value in variables.items())]
    return "\n".join([*lines, (EARLIER / "boot.sh").read_text(), (EARLIER / script).read_text()])


@dataclass
class RunningLab:
    """The machines, and what replaces an instance as Auto Scaling does."""

    cloud: Cloud
    vpc: Vpc
    machines: dict[str, Machine]
    lookups: Lookups = field(default_factory=lambda: Lookups(SERVFAIL_SECONDS))
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def start(self, name: str, user_data: str) -> None:
        """A new instance boots on a machine."""
        number = next(self.numbers)
        id = f"i-0a0000000000000{number:02}"
        resource = "EcsInstances" if name in "ab" else "ConsulServer"
        launch(self.cloud, id, ADDRESSES[name], resource, f"2026-01-01T00:{number:02}:00.000Z")
        boot(self.machines[name], user_data)

    def terminate(self, name: str) -> None:
        """Shut an instance down, which lets Consul leave, and clear its machine."""
        one = self.machines[name]
        # Docker's ten seconds may be over on a busy machine before Consul, which waits for five of them, has left
        docker(one.engine, "stop", "--time", "60", "consul", timeout=90)
        clear(one)
        gone = [id for id, instance in self.cloud.instances.items() if instance.address == ADDRESSES[name]]
        for id in gone:
            del self.cloud.instances[id]

    def register(self, name: str, token: str = "") -> None:
        """The Registrator of an instance registers weather."""
        service = {"Name": "weather", "ID": f"weather-{name}", "Port": 80, "Check": {"TTL": "1h", "Status": "passing"}}
        inside(self.machines[name].namespace, lambda: AgentClient("127.0.0.1", 8500, token).register(service))
        self.await_status(name, "passing")

    def report(self, name: str, status: str) -> None:
        """The check of an instance's weather changes."""
        path = f"agent/check/{status}/service:weather-{name}"
        done = self.machines[name].run("curl", "-fsS", "-X", "PUT", f"http://127.0.0.1:8500/v1/{path}")
        assert done.returncode == 0, done.stderr

    def await_status(self, name: str, status: str) -> None:
        """Until the servers know it, as another instance sees them."""
        other = "b" if name == "a" else "a"

        def known() -> bool | None:
            checks = self.get(other if other in self.alive() else name, "health/checks/weather")
            return status in [one["Status"] for one in checks if one["ServiceID"] == f"weather-{name}"] or None

        assert wait_for(known, 60.0)

    def alive(self) -> set[str]:
        addresses = {instance.address for instance in self.cloud.instances.values()}
        return {name for name, address in ADDRESSES.items() if address in addresses}

    def get(self, name: str, path: str) -> Any:
        done = self.machines[name].run("curl", "-fsS", "--max-time", "5", f"http://127.0.0.1:8500/v1/{path}")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def write(self, name: str, token: str = "") -> bool:
        """Whether somebody may write to the key-value store through an instance's agent."""
        header = ["-H", f"X-Consul-Token: {token}"] if token else []
        put = ["curl", "-fsS", *header, "-X", "PUT", "-d", "x", "http://127.0.0.1:8500/v1/kv/mark"]
        return self.machines[name].run(*put).stdout.strip() == "true"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A server and two ECS instances of the earlier version, with weather on both."""
    require_tools()
    found = {f"/ecsconsul/{LAB}/gossip-key": KEY}
    cloud = Cloud(REGION, found, is_alive=lambda instance: True)
    with ExitStack() as stack:
        cloud.services["logs"] = Logs()
        net = stack.enter_context(vpc(cloud, tmp_path_factory.mktemp("vpc")))
        machines = {name: stack.enter_context(machine(net, name, address)) for name, address in ADDRESSES.items()}
        with image(net, tmp_path_factory.mktemp("image")) as archive:
            start_docker(machines.values(), archive)
        lab = RunningLab(cloud, net, machines)
        lab.start("first", earlier_user_data("consul-server.sh"))
        promote_at_once(machines["first"])
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda name: lab.start(name, earlier_user_data("ecs-instance.sh")), "ab"))
        for name in "ab":
            lab.register(name)
        # `up` writes them first
        cloud.parameters |= parameters(SECRETS)
        yield lab


def test_lab_is_moved_without_a_failed_lookup(lab: RunningLab) -> None:
    watch: Callable[..., Any] = lab.lookups.at
    a, b = lab.machines["a"], lab.machines["b"]
    token = SECRETS.token(REGISTRATOR)
    assert lab.write("a"), "the earlier version has no ACLs"

    transition = user_data_of(ConsulSecurity="transition")
    with watch(a, b):
        lab.start("second", transition["consul-server"])
        lab.terminate("first")
    with watch(b):
        lab.terminate("a")
        lab.start("a", transition["ecs-instance"])
        # the Registrator of the earlier version, which ECS starts on the new instance
        lab.register("a")
    with watch(a):
        lab.terminate("b")
        lab.start("b", transition["ecs-instance"])
        lab.register("b")
    # the Registrator's new revision, on one of them
    with watch(a, b):
        lab.register("b", token)

    enforced = user_data_of(ConsulSecurity="enforced")
    with watch(a, b):
        lab.start("first", enforced["consul-server"])
        lab.terminate("second")
        # what was registered without a token is still reported
        lab.report("a", "fail")
        lab.await_status("a", "critical")
    with watch(b):
        lab.terminate("a")
        lab.start("a", enforced["ecs-instance"])
        lab.register("a", token)

    assert lab.lookups.failures == []
    assert [one for one in lab.lookups.repeated.items() if one[1] > MOST_SERVFAILS] == []
    assert lab.lookups.number > 100
    assert not lab.write("a")
    assert not lab.write("a", SECRETS.token(REGISTRATOR))
    assert lab.write("a", SECRETS.token(MANAGEMENT))
    instances = {one["Node"] for one in lab.get("a", "catalog/nodes")}
    assert instances == set(lab.cloud.instances)
