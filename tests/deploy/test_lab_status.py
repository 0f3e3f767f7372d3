"""The document of `status`, from steps, ECS and a real Consul, and the requests that it needs."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ecsconsul.config.container_spec import PortSpec
from ecsconsul.config.lab import Lab, ServiceSpec
from ecsconsul.consul.catalog import Instance
from ecsconsul.deploy import executor
from ecsconsul.deploy.endpoints import Endpoint
from ecsconsul.deploy.lab_status import _is_healthy, _passing, _service, collect
from ecsconsul.deploy.lab_steps import steps_for
from ecsconsul.errors import LabError
from ecsconsul.targets.base import ConsulAddress
from ecsconsul.targets.commands import Alarm, AmiInfo
from tests.consul_server import AgentClient, ConsulServer
from tests.deploy.cloudformation import refusal
from tests.deploy.world import FakeTarget, Runtime, SilentObserver

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep prefetched descriptions fresh on a slow machine."""
    monkeypatch.setattr("ecsconsul.deploy.service_poller.FRESH", 60.0)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    services = (
        ServiceSpec(name="weather", path=str(tmp_path), count=2),
        ServiceSpec(name="portal", path=str(tmp_path)),
    )
    return Lab(name="blue", services=services)


def address_of(server: ConsulServer) -> ConsulAddress:
    return ConsulAddress(server.host, server.http, server.host, server.dns)


@pytest.fixture
def target(world: Runtime, server: ConsulServer, consul: AgentClient, lab: Lab) -> FakeTarget:
    """The lab, created and registered in Consul."""
    world.add_instance(lab.name)
    target = FakeTarget(world.endpoint("region"), address_of(server))
    for service_id, name in (("w1", "weather"), ("w2", "weather"), ("p1", "portal")):
        register(consul, service_id, name)
    executor.up(steps_for(lab, target), SilentObserver())
    target.requests.clear()
    return target


def register(consul: AgentClient, service_id: str, name: str, status: str = "passing") -> None:
    check = {"Name": "HTTP", "TTL": "600s", "Status": status}
    consul.register({"ID": service_id, "Name": name, "Address": "127.0.9.2", "Port": 32768, "Check": check})


NAMED = ServiceSpec(name="dns", path="/d", count=2, ports=(PortSpec(port=53, protocol="udp"), PortSpec(port=80)))


def test_names_of_a_service_are_counted_together() -> None:
    up = Instance("i", "n", "10.0.0.1", 1, "passing", (), ())
    catalog = {"dns": [up, up], "dns-80": [up], "other": [up]}
    found = _service(NAMED, (2, 2), catalog, None, 0)
    assert (found["names"], found["passing"], len(found["instances"])) == (["dns", "dns-80"], 1, 3)
    found = _service(NAMED, (2, 2), {**catalog, "dns-80": [up, up]}, None, 0)
    assert (found["passing"], _is_healthy(found)) == (2, True)


def test_service_that_registers_nothing_is_healthy_when_its_tasks_run() -> None:
    silent = replace(NAMED, ports=())
    found = _service(silent, (2, 2), {}, {"dns": [Endpoint("t", "dns", "n", frozenset())]}, 0)
    assert (found["names"], found["passing"], found["missing"], _is_healthy(found)) == ([], 2, [], True)


def service(document: Json, name: str) -> Json:
    found: Json = next(one for one in document["services"] if one["name"] == name)
    return found


def ops(document: Json) -> dict[str, str]:
    return {step["name"]: step["op"] for step in document["steps"]}


# --- joined


def test_lab_as_desired_is_healthy(target: FakeTarget, lab: Lab, server: ConsulServer) -> None:
    found = collect(lab, target)
    assert found["healthy"] is True
    assert set(ops(found).values()) == {"keep"}
    assert found["consul"]["http"] == f"http://{server.host}:{server.http}"
    assert found["consul"]["leader"].startswith(server.host)
    assert [(m["name"], m["role"], m["status"]) for m in found["consul"]["members"]] == [
        (server.node, "server", "alive")
    ]
    weather = service(found, "weather")
    assert (weather["desired"], weather["running"], weather["passing"]) == (2, 2, 2)
    assert {one["id"] for one in weather["instances"]} == {"w1", "w2"}
    first = weather["instances"][0]
    assert (first["node"], first["address"], first["port"]) == (server.node, "127.0.9.2", 32768)
    assert [check["name"] for check in first["checks"]] == ["HTTP", "Serf Health Status"]
    json.dumps(found)


def test_task_definition_of_a_service_as_desired_is_not_requested(target: FakeTarget, lab: Lab) -> None:
    """The service's fingerprint includes it, so the requests do not grow by one per service."""
    found = collect(lab, target)
    assert ops(found)["tasks/weather"] == "keep"
    assert next(one["detail"] for one in found["steps"] if one["name"] == "tasks/weather") == "blue-weather:1"
    assert target.counted()["DescribeServices"] == 1
    assert target.counted()["DescribeTaskDefinition"] == 0


def test_task_definition_of_a_changed_service_is_inspected(target: FakeTarget, lab: Lab) -> None:
    ecs = target.client("ecs")
    app = {"name": "other", "image": "other", "memory": 8}
    other = ecs.register_task_definition(family="blue-weather", containerDefinitions=[app])["taskDefinition"]
    ecs.update_service(cluster=lab.name, service="weather", taskDefinition=other["taskDefinitionArn"])
    found = ops(collect(lab, target))
    assert (found["tasks/weather"], found["services/weather"]) == ("update", "update")
    assert found["tasks/portal"] == "keep"


def test_other_services_in_consul_are_listed(target: FakeTarget, lab: Lab, consul: AgentClient) -> None:
    register(consul, "x1", "theirs", "critical")
    found = collect(lab, target)
    assert (found["others"], found["healthy"]) == (["theirs"], True)


def test_scaled_count_is_desired(target: FakeTarget, lab: Lab, consul: AgentClient) -> None:
    target.client("ecs").update_service(cluster="blue", service="weather", desiredCount=3)
    register(consul, "w3", "weather")
    found = collect(lab, target)
    assert (service(found, "weather")["desired"], found["healthy"]) == (3, True)
    assert ops(found)["services/weather"] == "update"
    assert ops(found)["discovery"] == "keep", "Consul sees what ECS is to run"


# --- not healthy


def test_critical_instance_is_unhealthy(target: FakeTarget, lab: Lab, consul: AgentClient) -> None:
    consul.deregister("w2")
    register(consul, "w3", "weather", "critical")
    found = collect(lab, target)
    assert found["healthy"] is False
    assert (service(found, "weather")["running"], service(found, "weather")["passing"]) == (2, 1)


def test_unregistered_task_is_unhealthy(target: FakeTarget, lab: Lab, consul: AgentClient) -> None:
    consul.deregister("p1")
    found = collect(lab, target)
    assert (found["healthy"], service(found, "portal")["instances"]) == (False, [])


def test_passing_ghost_is_unhealthy(target: FakeTarget, lab: Lab, consul: AgentClient) -> None:
    """Registered in Consul without a running task."""
    register(consul, "w3", "weather")
    found = collect(lab, target)
    assert found["healthy"] is False
    assert service(found, "weather")["passing"] == 3


def test_deleted_service_is_unhealthy(target: FakeTarget, lab: Lab) -> None:
    target.client("ecs").delete_service(cluster="blue", service="portal", force=True)
    found = collect(lab, target)
    assert (found["healthy"], service(found, "portal")["running"]) == (False, 0)
    assert ops(found)["services/portal"] == "create"


def test_missing_cluster_is_unhealthy(target: FakeTarget, lab: Lab) -> None:
    for name in ("weather", "portal"):
        target.client("ecs").delete_service(cluster="blue", service=name, force=True)
    found = collect(replace(lab, name="green"), target)
    assert found["healthy"] is False
    assert ops(found)["cluster"] == "create"


def test_unreachable_consul_is_reported_beside_ecs(target: FakeTarget, lab: Lab) -> None:
    target.consul_address = ConsulAddress("127.0.0.1", 9, "127.0.0.1", 9)
    found = collect(lab, target)
    assert found["healthy"] is False
    assert "Connection refused" in found["consul"]["error"]
    assert found["consul"]["http"] == "http://127.0.0.1:9"
    assert service(found, "weather")["running"] == 2


def test_unreachable_registry_is_reported_beside_the_rest(target: FakeTarget, lab: Lab) -> None:
    target.images.away = True
    found = collect(lab, target)
    assert {name for name, op in ops(found).items() if op == "wait"} == {"images/weather", "images/portal"}
    assert (found["healthy"], service(found, "weather")["passing"]) == (False, 2)


def test_absent_target(lab: Lab) -> None:
    found = collect(lab, FakeTarget(None))
    assert found["healthy"] is False
    assert set(ops(found).values()) == {"create"}
    assert found["consul"] == {"http": None, "dns": None, "leader": "", "members": []}
    assert [service["desired"] for service in found["services"]] == [2, 1]


def test_nothing_is_a_ghost_while_ecs_is_absent(target: FakeTarget, lab: Lab) -> None:
    """As when the region's process hangs: tasks and Consul keep running."""
    found = collect(lab, FakeTarget(None, target.consul_address))
    assert (found["healthy"], found["aws"]["error"]) == (False, "there is no such target")
    weather = service(found, "weather")
    assert (weather["passing"], weather["ghosts"], weather["missing"]) == (2, None, None)


# --- a Consul between us and the real one


@contextmanager
def between(server: ConsulServer, leader: bool = True) -> Iterator[tuple[ConsulAddress, Counter[str]]]:
    """A proxy that counts requests. Without a `leader` it behaves like a server that has lost the others.

    Such a one says so, knows the members, and does not answer what needs a leader (Consul 1.8.7, for 10 s and more).
    """
    asked: Counter[str] = Counter()
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            asked[path] += 1
            if not leader and path == "/v1/status/leader":
                return self._answer(b'""', {})
            if not leader and not path.startswith("/v1/agent/"):
                ended.wait()
                return None
            with urllib.request.urlopen(f"http://{server.host}:{server.http}{self.path}", timeout=10) as answer:
                self._answer(answer.read(), dict(answer.headers))

        def _answer(self, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(200)
            for name in headers.keys() & {"X-Consul-Index", "Content-Type"}:
                self.send_header(name, headers[name])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield ConsulAddress("127.0.0.1", proxy.server_port, "127.0.0.1", server.dns), asked
        finally:
            ended.set()
            proxy.shutdown()
            thread.join()


def test_missing_leader_is_reported_with_the_members(target: FakeTarget, lab: Lab, server: ConsulServer) -> None:
    with between(server, leader=False) as (address, asked):
        target.consul_address = address
        found = collect(lab, target)
    assert found["healthy"] is False
    assert "Consul has no leader" in found["consul"]["error"]
    assert [member["name"] for member in found["consul"]["members"]] == [server.node]
    assert asked.keys() == {"/v1/status/leader", "/v1/agent/members"}


def fill(server: ConsulServer, services: int, instances: int) -> None:
    """Services with this many instances each, on ten nodes."""
    nodes = [{"Node": {"Verb": "set", "Node": {"Node": f"n{n}", "Address": f"192.0.2.{n}"}}} for n in range(10)]
    entries = [
        {
            "Service": {
                "Verb": "set",
                "Node": f"n{i % 10}",
                "Service": {"ID": f"s{s}-{i}", "Service": f"s{s}", "Port": i},
            }
        }
        for s in range(services)
        for i in range(instances)
    ]
    for start in range(0, len(entries), 50):
        body = json.dumps([*nodes, *entries[start : start + 50]]).encode()
        request = urllib.request.Request(f"http://{server.host}:{server.http}/v1/txn", body, method="PUT")
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer)["Errors"] is None


def test_big_catalog_needs_no_more_requests(target: FakeTarget, lab: Lab, server: ConsulServer) -> None:
    with between(server) as (address, asked):
        target.consul_address = address
        collect(lab, target)
        few, aws = Counter(asked), target.counted()
        fill(server, 200, 10)
        asked.clear()
        target.requests.clear()
        found = collect(lab, target)
    assert (found["healthy"], len(found["others"])) == (True, 200)
    assert asked == few
    assert set(asked.values()) == {1}
    assert len(asked) == 3
    assert target.counted() == aws


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        ([], []),
        (None, None),
        ([Alarm("blue-no-leader", "why", "then")], [{"name": "blue-no-leader", "text": "why", "since": "then"}]),
    ],
)
def test_raised_alarms_are_listed(target: FakeTarget, lab: Lab, raised: list[Alarm] | None, expected: object) -> None:
    target.raised = raised
    assert collect(lab, target)["alarms"] == expected


class AccountTarget(FakeTarget):
    """A target whose instances have an AMI, or don't say which."""

    error: Exception | None = None

    def amis(self) -> list[AmiInfo]:
        if self.error:
            raise self.error
        return [AmiInfo("ami-1", ("ECS instances", "Consul servers"), 40, deprecated=False, gone=False, newer="ami-2")]


def test_amis_are_told(lab: Lab) -> None:
    assert collect(lab, AccountTarget(None))["aws"]["amis"] == [
        {
            "id": "ami-1", "used_by": ["ECS instances", "Consul servers"], "age_days": 40, "deprecated": False,
            "gone": False, "newer": "ami-2", "detail": "ami-1, 40 days old, ami-2 is current",
        }
    ]  # fmt: skip


@pytest.mark.parametrize("error", [LabError("no"), refusal("UnauthorizedOperation", "no")])
def test_unknown_amis_are_no_reason_for_a_status_to_fail(lab: Lab, error: Exception) -> None:
    target = AccountTarget(None)
    target.error = error
    assert collect(lab, target)["aws"]["amis"] == []


def test_tasks_that_pass_are_those_that_pass_under_every_name() -> None:
    """One name with many instances doesn't make up for another with none."""
    ports = (PortSpec(port=80, name="web"), PortSpec(port=81, name="web-admin"))
    spec = ServiceSpec(name="web", path="", ports=ports)
    one = Instance("web", "n", "127.0.0.1", 80, "passing", (), ())
    assert _passing(spec, {"web": [one, one, one], "web-admin": [one]}) == 1
    assert _passing(spec, {"web": [one, one]}) == 0
