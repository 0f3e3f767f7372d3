"""Instances come and go: servers are rolled and their number changes under load, an ECS instance drains, boots fail."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from ecsconsul.consul.lab_secrets import MANAGEMENT, REGISTRATOR, new_secrets
from tests.consul_server import AgentClient
from tests.templates.booted import (
    boot,
    clear,
    first_answer,
    image,
    launch,
    parameters,
    promote_at_once,
    require_tools,
    start_docker,
    user_data_of,
    wait_for,
)
from tests.templates.fake_autoscaling import AutoScaling, Logs
from tests.templates.fake_ecs import Ecs, ecs_agent
from tests.templates.load import Lookups, Writes
from tests.templates.machine import Machine, machine
from tests.templates.stack import LAB, REGION, script_of
from tests.templates.vpc import Cloud, inside, vpc

SECRETS = new_secrets(LAB)
TOKEN = SECRETS.token(MANAGEMENT)
SERVERS = ("a", "b", "c", "d", "e")
ADDRESSES = {name: f"10.31.0.{number}" for number, name in enumerate((*SERVERS, "ecs"), 11)}
ECS = "i-0a000000000000099"
LEAVE_SECONDS = 90.0


@dataclass
class RunningLab:
    """The machines, and what Auto Scaling and CloudFormation do with the instances on them."""

    cloud: Cloud
    machines: dict[str, Machine]
    autoscaling: AutoScaling
    logs: Logs
    ecs: Ecs
    user_data: dict[str, str]
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def start(self, name: str, resource: str) -> str:
        """A new server boots on a machine; returns its id once it has signalled."""
        number = next(self.numbers)
        id = f"i-0a0000000000000{number:02}"
        launch(self.cloud, id, ADDRESSES[name], resource, f"2026-01-01T00:{number:02}:00.000Z")
        boot(self.machines[name], self.user_data["consul-server"])
        return id

    def start_peers(self, *names: str) -> list[str]:
        """Several servers boot at once."""
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda name: self.start(name, "ConsulPeers"), names))

    def await_gone(self, *instances: str) -> None:
        """Until the instances have left and are terminated."""
        wait_for(lambda: set(instances) <= set(self.autoscaling.completed) or None, LEAVE_SECONDS)
        for id in instances:
            name = self.machine_of(id)
            clear(self.machines[name])
            del self.cloud.instances[id]

    def machine_of(self, id: str) -> str:
        return next(name for name, address in ADDRESSES.items() if address == self.cloud.instances[id].address)

    def ask(self, name: str, path: str) -> Any:
        """The answer of a machine's Consul agent; None without one."""
        # Consul answers 429 while a server is unhealthy
        request = ["curl", "-sS", "--max-time", "5", "-H", f"X-Consul-Token: {TOKEN}"]
        done = self.machines[name].run(*request, f"http://127.0.0.1:8500/v1/{path}")
        return json.loads(done.stdout) if done.stdout.startswith(("{", "[", '"')) else None

    def is_voter(self, id: str) -> bool:
        """Whether the Raft configuration says so, as the instance itself knows it, leader or none.

        Unlike its health, which a new leader does not know at once, that is true from then on.
        """
        name = self.machine_of(id)
        peers = first_answer(lambda: self.ask(name, "operator/raft/configuration?stale")) or {"Servers": []}
        return any(one["Address"] == f"{ADDRESSES[name]}:8300" and one["Voter"] for one in peers["Servers"])

    def voters(self) -> set[str]:
        """As the ECS instance's agent knows them."""
        health = self.ask("ecs", "operator/autopilot/health") or {"Servers": []}
        return {one["Name"] for one in health["Servers"] if one["Voter"]}

    def await_voters(self, *instances: str) -> None:
        """Autopilot's view is seconds old."""
        wait_for(lambda: self.voters() == set(instances) or None)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """It's the test's turn to leave."""
        session = self.put("session/create", '{"Name": "test", "LockDelay": "0s", "Behavior": "delete"}')["ID"]
        assert wait_for(lambda: self.put(f"kv/ecsconsul/leaving?acquire={session}", "test") or None)
        yield
        self.put(f"session/destroy/{session}", "")

    def put(self, path: str, body: str) -> Any:
        """Repeated while Consul has no leader."""
        request = ["curl", "-fsS", "-H", f"X-Consul-Token: {TOKEN}", "-X", "PUT", "-d", body]

        def answer() -> Any:
            done = self.machines["ecs"].run(*request, f"http://127.0.0.1:8500/v1/{path}")
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)

        return wait_for(answer)

    def waiting_for_their_turn(self) -> list[dict[str, Any]] | None:
        """The sessions of two servers that would leave; None before."""
        found = [one for one in self.ask("ecs", "session/list") or [] if one["Name"] == "leaving"]
        return found if len({one["Node"] for one in found}) == 2 else None


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A server and an ECS instance, with machines for four more servers."""
    require_tools()
    # the metadata are asked more often than in AWS
    user_data = {
        role: re.sub(r"(target-lifecycle-state.*\n)sleep 5\n", r"\1sleep 1\n", script_of(text))
        for role, text in user_data_of().items()
    }
    assert all("sleep 1" in text for text in user_data.values())
    cloud = Cloud(REGION, parameters(SECRETS))
    autoscaling, logs = AutoScaling(cloud), Logs()
    with ExitStack() as stack:
        net = stack.enter_context(vpc(cloud, tmp_path_factory.mktemp("vpc")))
        machines = {name: stack.enter_context(machine(net, name, address)) for name, address in ADDRESSES.items()}
        with image(net, tmp_path_factory.mktemp("image")) as archive:
            start_docker(machines.values(), archive)
        ecs = Ecs(machines["ecs"])
        cloud.services |= {"autoscaling": autoscaling, "logs": logs, "ecs": ecs}
        found = RunningLab(cloud, machines, autoscaling, logs, ecs, user_data)
        cloud.is_alive = lambda id: "ecsconsul:consul-server-of" not in cloud.instances[id].tags or found.is_voter(id)
        found.start("a", "ConsulServer")
        promote_at_once(machines["a"], TOKEN)
        launch(cloud, ECS, ADDRESSES["ecs"], "EcsInstances", "2026-01-01T00:00:00.000Z")
        boot(machines["ecs"], user_data["ecs-instance"])
        yield found


def test_servers_are_rolled_and_their_number_changes_under_load(lab: RunningLab) -> None:
    """1, 3, each replaced, 5, 3: as CloudFormation does it, which does not wait until an old instance is gone."""
    ecs, lookups, writes = lab.machines["ecs"], Lookups(), Writes(TOKEN)
    service = {"Name": "weather", "Port": 80, "Check": {"TTL": "1h", "Status": "passing"}}
    agent = AgentClient("127.0.0.1", 8500, SECRETS.token(REGISTRATOR))
    inside(ecs.namespace, lambda: agent.register(service))
    wait_for(lambda: lab.ask("ecs", "catalog/service/weather") or None)
    (first,) = wait_for(lambda: lab.voters() or None)
    with lookups.at(ecs), writes.at(ecs):
        second, third = lab.start_peers("b", "c")
        lab.await_voters(first, second, third)
        new = [lab.start("d", "ConsulServer")]
        lab.autoscaling.terminate(first)
        new.append(lab.start("e", "ConsulPeers"))
        lab.autoscaling.terminate(second)
        lab.await_gone(first)
        new.append(lab.start("a", "ConsulPeers"))
        lab.autoscaling.terminate(third)
        lab.await_gone(second, third)
        lab.await_voters(*new)
        more = lab.start_peers("b", "c")
        lab.await_voters(*new, *more)
        # Auto Scaling terminates both at once; they leave one after the other, and none while somebody else does
        with lab.turn():
            lab.autoscaling.terminate(new[1], new[2])
            waiting = {one["Node"] for one in wait_for(lab.waiting_for_their_turn)}
            assert waiting == {new[1], new[2]}
            lab.await_voters(*new, *more)
        lab.await_gone(new[1], new[2])
        lab.await_voters(new[0], *more)
    assert lookups.failures == []
    assert lookups.number > 200
    assert writes.failures == []
    # one for each leader that goes, of which a busy machine adds some
    assert len(writes.errors) <= 20, writes.errors
    assert len(writes.keys) > 100
    assert set(lab.ask("ecs", "kv/load/?keys")) == set(writes.keys)


def test_every_server_signalled_as_a_voter(lab: RunningLab) -> None:
    servers = [signal for signal in lab.cloud.signals if signal.resource != "EcsInstances"]
    assert len({signal.instance for signal in servers}) == 8
    assert {(signal.status, signal.alive) for signal in servers} == {("SUCCESS", True)}


def test_boot_log_is_in_cloudwatch(lab: RunningLab) -> None:
    (text,) = wait_for(lambda: lab.logs.streams.get(f"boot/{ECS}") or None)
    console = lab.machines["ecs"].console.splitlines()
    assert text.splitlines() == [line.replace("\t", " ") for line in console][-100:]


def test_instance_leaves_when_its_tasks_have_moved(lab: RunningLab) -> None:
    """A daemon's task and one without a service stay to the end."""
    lab.ecs.start({
        "weather": "service:weather", "portal": "service:portal",
        "registrator": "service:registrator", "batch": "family:batch",
    })  # fmt: skip
    seen: list[tuple[set[str], list[str], bool]] = []
    server = min(wait_for(lambda: lab.voters() or None))

    def look(id: str) -> None:
        members = {one["Name"]: one["Status"] for one in lab.ask(lab.machine_of(server), "agent/members")}
        seen.append((lab.ecs.running(), list(lab.ecs.moved), members[id] == 3))

    lab.autoscaling.on_complete = look
    try:
        with ecs_agent(lab.machines["ecs"]):
            lab.autoscaling.terminate(ECS)
            wait_for(lambda: ECS in lab.autoscaling.completed or None, LEAVE_SECONDS)
    finally:
        lab.autoscaling.on_complete = lambda id: None
    assert seen[0] == ({"registrator", "batch"}, ["weather", "portal"], True)
    assert ("RecordLifecycleActionHeartbeat", ECS) in lab.autoscaling.calls


def test_task_that_never_moves_holds_its_instance_for_a_bounded_time(lab: RunningLab) -> None:
    ecs = lab.machines["ecs"]
    lab.ecs.start({"stubborn": "service:stubborn"})
    lab.ecs.stuck = ("stubborn",)
    lab.autoscaling.completed.remove(ECS)
    program = ecs.file("/etc/ecsconsul/leave")
    assert "retry_for 900 is_drained" in program.read_text()
    program.write_text(program.read_text().replace("retry_for 900 is_drained", "retry_for 1 is_drained"))
    with ecs_agent(ecs):
        ecs.run("systemctl", "enable", "--now", "--no-block", "ecsconsul-leave.service")
        wait_for(lambda: ECS in lab.autoscaling.completed or None, LEAVE_SECONDS)
    assert "stubborn" in lab.ecs.running()
    assert "gave up: is_drained" in (ecs.folder / "log/ecsconsul-leave.service.log").read_text()


# ---------------------------------------------------------------- boots that fail


def failing(user_data: str) -> str:
    """No registry has the image."""
    return re.sub(r"CONSUL_IMAGE='.*'", "CONSUL_IMAGE='absent.example/consul:1'", user_data).replace(
        "PULL_SECONDS=120", "PULL_SECONDS=1"
    )


def test_failed_boot_marks_its_instance_with_the_reason(lab: RunningLab) -> None:
    id, free = "i-0a000000000000077", lab.machines["e"]
    launch(lab.cloud, id, ADDRESSES["e"], "ConsulPeers", "2026-01-01T01:00:00.000Z")
    assert free.boot(failing(lab.user_data["consul-server"])) == 1
    last = lab.cloud.signals[-1]
    assert (last.instance, last.status) == (id, "FAILURE")
    wait_for(lambda: id in lab.autoscaling.unhealthy or None)
    reason = lab.cloud.instances[id].tags["ecsconsul:boot-failure"]
    assert re.search(r"absent.example.*gave up: has_image.*FAILED at line \d+", reason)
    (text,) = wait_for(lambda: lab.logs.streams.get(f"boot/{id}") or None)
    assert "gave up: has_image" in text
    # Auto Scaling replaces it; it has joined nothing that it could leave
    lab.autoscaling.terminate(id)
    wait_for(lambda: id in lab.autoscaling.completed or None, LEAVE_SECONDS)


def test_failure_after_a_failure_is_replaced_later(lab: RunningLab) -> None:
    earlier, id = "i-0a000000000000077", "i-0a000000000000078"
    lab.cloud.instances[earlier].state = "terminated"
    lab.cloud.instances[earlier].address = "10.31.0.99"
    clear(lab.machines["e"])
    launch(lab.cloud, id, ADDRESSES["e"], "ConsulPeers", "2026-01-01T01:10:00.000Z")
    assert lab.machines["e"].boot(failing(lab.user_data["consul-server"])) == 1
    wait_for(lambda: lab.machines["e"].run("pgrep", "-fx", "sleep 600").stdout or None)
    assert "ecsconsul:boot-failure" in lab.cloud.instances[id].tags
    assert id not in lab.autoscaling.unhealthy
