"""One task with a real Consul: passing as soon as it is listed, and out of the catalog before SIGTERM."""

from __future__ import annotations

import itertools
import json
import os
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from ecsconsul.consul.catalog import Instance
from ecsconsul.region import task_supervisor
from ecsconsul.region.ecs.model import PENDING, RUNNING, STOPPED, Task
from ecsconsul.region.port_forwarder import PortForwarder
from ecsconsul.region.registrators import Registrators
from ecsconsul.region.runtimes.lab_dir import LabDir
from ecsconsul.region.runtimes.processes.containers import ProcessContainers
from ecsconsul.region.runtimes.processes.images import ImageStore
from ecsconsul.region.task_supervisor import DRAIN_SECONDS, TaskSupervisor
from ecsconsul.registrator import probe_schedule
from ecsconsul.registrator.consul_client import ConsulClient
from ecsconsul.registrator.settings import Server
from tests.consul_server import AgentClient, ConsulServer, consul_server
from tests.region.ecs import factories
from tests.region.fakes import FakeContainers, ec2_instance

Until = Callable[..., None]
_names = (f"service{number}" for number in itertools.count(1))


@pytest.fixture(scope="module")
def server() -> Iterator[ConsulServer]:
    with consul_server(node="i-1") as found:
        yield found


@pytest.fixture
def consul(server: ConsulServer) -> AgentClient:
    return AgentClient(server.host, server.http)


@pytest.fixture
def name() -> str:
    """A service name that no other test uses."""
    return next(_names)


class Tasks:
    """Runs tasks in a runtime, and stops them all."""

    def __init__(self, lab_dir: LabDir, runtime: Any) -> None:
        self.lab_dir, self.runtime = lab_dir, runtime
        self.secrets = factories.FakeMoto()
        self.registrators = Registrators(runtime.engine)
        self.all: list[TaskSupervisor] = []

    def run(
        self, instance: Any, *containers: dict[str, Any], drain_seconds: float = DRAIN_SECONDS, **more: Any
    ) -> TaskSupervisor:
        definition = factories.definition("weather", 1, *containers)
        task = factories.task(task_definition=definition, last_status="PENDING", created_at=time.time(), **more)
        task.instance_id = instance.instance_id
        supervisor = TaskSupervisor(
            task,
            instance,
            self.runtime,
            self.registrators,
            self.lab_dir,
            lambda: None,
            lambda environment, instance: {},
            self.secrets,
            drain_seconds,
        )
        self.all.append(supervisor)
        supervisor.start()
        return supervisor

    def close(self) -> None:
        for supervisor in self.all:
            supervisor.request_stop(hurry=True)
        if isinstance(self.runtime, FakeContainers):
            self.runtime.close()
        for supervisor in self.all:
            supervisor.join(60)
            assert supervisor.task.last_status == STOPPED
        self.registrators.close()


@pytest.fixture
def tasks(lab_dir: LabDir) -> Iterator[Tasks]:
    tasks = Tasks(lab_dir, FakeContainers())
    yield tasks
    tasks.close()


@pytest.fixture
def port() -> Iterator[int]:
    """A port with a TCP listener."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def app(name: str, port: int, check: str = "TCP", **more: Any) -> dict[str, Any]:
    variables = {"SERVICE_NAME": name, f"SERVICE_CHECK_{check}": "true", "SERVICE_CHECK_INTERVAL": "10s"}
    if not check:
        variables = {"SERVICE_NAME": name}
    environment = [{"name": key, "value": value} for key, value in variables.items()]
    return factories.container(environment=environment, portMappings=[{"containerPort": port}], **more)


def listed(consul: AgentClient, name: str) -> list[Instance]:
    return consul.passing(name)


class ConsulProxy:
    """A port that leads to Consul while `is_open`."""

    def __init__(self, server: ConsulServer) -> None:
        self._server = server
        self.is_open = False
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._forwarder = PortForwarder(lambda port: [(server.host, server.http)] if self.is_open else [])
        self._forwarder.forward({self.port})

    def close(self) -> None:
        self._forwarder.close()


@contextmanager
def proxy_to(server: ConsulServer) -> Iterator[ConsulProxy]:
    proxy = ConsulProxy(server)
    try:
        yield proxy
    finally:
        proxy.close()


WEB = """
import http.server, json, os, signal, sys, urllib.request

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

def leave(*_):
    with urllib.request.urlopen(os.environ["CATALOG"], timeout=60) as answer:
        print("listed at SIGTERM:", len(json.load(answer)), flush=True)
    sys.exit(0)

signal.signal(signal.SIGTERM, leave)
http.server.HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""


def test_task_is_listed_once_passing_and_unlisted_before_sigterm(
    lab_dir: LabDir,
    server: ConsulServer,
    consul: AgentClient,
    tmp_path: Path,
    until: Until,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(task_supervisor, "LEAVE_TIMEOUT", 60.0)
    source = tmp_path / "source"
    source.mkdir()
    (source / "app.py").write_text(WEB)
    (source / "Dockerfile").write_text(f'FROM x\nWORKDIR /app\nCOPY . .\nCMD ["{sys.executable}", "app.py"]\n')
    store = ImageStore(lab_dir)
    store.publish("web", "1", source, lambda line: None)
    tasks = Tasks(lab_dir, ProcessContainers(lab_dir, store))
    ec2 = ec2_instance(tmp_path, "i-1", server.host, server.http)
    catalog = f"http://{server.host}:{server.http}/v1/health/service/{name}?passing"
    web = app(name, 4567, "HTTP", image="lab/web:1")
    web["environment"][1]["value"] = "/health"
    web["environment"].append({"name": "CATALOG", "value": catalog})
    supervisor = tasks.run(ec2, web)
    until(lambda: supervisor.task.passing)
    (instance,) = listed(consul, name)
    (binding,) = supervisor.task.containers[0].bindings
    assert (instance.port, instance.address, instance.status) == (binding.host_port, server.host, "passing")
    assert instance.id == f"i-1:ecs-weather-1-app-{supervisor.task.id[:20]}:4567"
    supervisor.task.desired_status = STOPPED
    supervisor.request_stop(hurry=False)
    supervisor.join(60)
    assert supervisor.task.last_status == STOPPED
    assert supervisor.task.containers[0].exit_code == 0
    tasks.close()
    assert "listed at SIGTERM: 0\n" in (lab_dir.service_logs("weather") / f"{supervisor.task.id}.log").read_text()
    assert list(lab_dir.tasks.iterdir()) == []


HARD = """
import http.server, os, sys
http.server.HTTPServer((os.environ["HOST"], int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def low_port(host: str) -> int:
    """A free port as programs have them built in, below those that are handed out."""
    for port in range(20000 + os.getpid() % 5000, 32000):
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind((host, port))
            return port
    raise AssertionError("no free port")


def test_program_that_does_not_heed_port_is_registered_where_it_listens_as_long_as_it_is_alone(
    lab_dir: LabDir, server: ConsulServer, consul: AgentClient, tmp_path: Path, until: Until, name: str
) -> None:
    source, hard = tmp_path / "source", low_port(server.host)
    source.mkdir()
    (source / "app.py").write_text(HARD)
    (source / "Dockerfile").write_text(
        f'FROM x\nWORKDIR /app\nCOPY . .\nCMD ["{sys.executable}", "app.py", "{hard}"]\n'
    )
    store = ImageStore(lab_dir)
    store.publish("web", "1", source, lambda line: None)
    tasks = Tasks(lab_dir, ProcessContainers(lab_dir, store, own_roots=False))
    ec2 = ec2_instance(tmp_path, "i-1", server.host, server.http)
    web = app(name, hard, "HTTP", image="lab/web:1")
    web["environment"][1]["value"] = "/"
    first = tasks.run(ec2, web, service="weather")
    until(lambda: first.task.passing)
    (instance,) = listed(consul, name)
    (binding,) = first.task.containers[0].bindings
    assert (instance.port, binding.host_port) == (hard, hard)
    assert f"listens at port {hard} instead of port" in first.task.containers[0].reason
    assert "\necsconsul: its program" in "\n" + (lab_dir.service_logs("weather") / f"{first.task.id}.log").read_text()
    second = tasks.run(ec2, web, service="weather")
    until(lambda: second.task.last_status == STOPPED)
    assert second.task.containers[0].reason == (
        f"PortInUse: its program has port {hard} built in and doesn't listen at $PORT, "
        f"but weather's task {first.task.id[:8]} already listens there"
    )
    assert first.task.passing
    tasks.close()


def test_service_without_a_check_passes_once_its_port_listens(
    tasks: Tasks,
    server: ConsulServer,
    consul: AgentClient,
    tmp_path: Path,
    until: Until,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probe_schedule, "CRITICAL_AFTER", 600.0)
    with socket.socket() as later:
        later.bind((server.host, 0))
        supervisor = tasks.run(
            ec2_instance(tmp_path, "i-1", server.host, server.http), app(name, later.getsockname()[1], "")
        )
        until(lambda: supervisor.task.last_status == RUNNING)
        time.sleep(0.2)  # long enough for several probes
        assert not supervisor.task.passing
        assert listed(consul, name) == []
        later.listen()
        until(lambda: supervisor.task.passing)
        assert len(listed(consul, name)) == 1


def test_service_that_never_passes_is_registered_as_critical(
    tasks: Tasks, server: ConsulServer, consul: AgentClient, tmp_path: Path, until: Until, name: str
) -> None:
    with socket.socket() as silent:
        silent.bind((server.host, 0))
        supervisor = tasks.run(
            ec2_instance(tmp_path, "i-1", server.host, server.http), app(name, silent.getsockname()[1])
        )
        until(lambda: consul.catalog().get(name))
        (shown,) = consul.catalog()[name]
        assert shown.status == "critical"
        assert not supervisor.task.passing


def test_override_changes_the_service_name(
    tasks: Tasks, consul: AgentClient, port: int, server: ConsulServer, tmp_path: Path, until: Until, name: str
) -> None:
    environment = [{"name": "SERVICE_NAME", "value": f"{name}-other"}]
    overrides = {"containerOverrides": [{"name": "app", "environment": environment}]}
    ec2 = ec2_instance(tmp_path, "i-1", "127.0.0.1", 9)
    ec2.consul = type(ec2.consul)(http=server.http)
    ec2.address = server.host
    with socket.create_server((server.host, port)):
        supervisor = tasks.run(ec2, app(name, port), overrides=overrides)
        until(lambda: supervisor.task.passing)
        assert len(listed(consul, f"{name}-other")) == 1
        assert listed(consul, name) == []


def test_task_passes_when_consul_starts_later(
    tasks: Tasks, server: ConsulServer, port: int, tmp_path: Path, until: Until, name: str
) -> None:
    with proxy_to(server) as proxy:
        supervisor = tasks.run(ec2_instance(tmp_path, http=proxy.port), app(name, port))
        until(lambda: supervisor.task.last_status == RUNNING)
        assert not supervisor.task.passing
        proxy.is_open = True
        until(lambda: supervisor.task.passing)


@pytest.mark.parametrize("end", ["request", "crash"])
def test_task_stops_while_consul_is_down(
    tasks: Tasks, server: ConsulServer, port: int, tmp_path: Path, until: Until, name: str, end: str
) -> None:
    with proxy_to(server) as proxy:
        proxy.is_open = True
        supervisor = tasks.run(ec2_instance(tmp_path, http=proxy.port), app(name, port))
        until(lambda: supervisor.task.passing)
    if end == "request":
        supervisor.request_stop(hurry=False)
    else:
        tasks.runtime.containers[supervisor.task.id, "app"].end(1)
    until(lambda: supervisor.task.last_status == STOPPED, 25)


def test_crash_is_noticed_while_consul_hangs(
    tasks: Tasks, server: ConsulServer, port: int, tmp_path: Path, until: Until, name: str
) -> None:
    with proxy_to(server) as proxy:
        proxy.is_open = True
        supervisor = tasks.run(ec2_instance(tmp_path, http=proxy.port), app(name, port))
        until(lambda: supervisor.task.passing)
    with socket.create_server(("127.0.0.1", proxy.port)):
        tasks.runtime.containers[supervisor.task.id, "app"].end(1)
        until(lambda: not supervisor.task.should_run)
        assert supervisor.task.stop_code == "EssentialContainerExited"
    until(lambda: supervisor.task.last_status == STOPPED)


def deregister(server: ConsulServer, service_id: str) -> None:
    """Take a service out of Consul behind the Registrator's back."""
    with closing(ConsulClient(Server(server.host, server.http))) as client:
        client.deregister(service_id)


def create_indexes(server: ConsulServer, name: str) -> list[int]:
    """The index at which each instance of a service entered the catalog."""
    with urllib.request.urlopen(f"http://{server.host}:{server.http}/v1/catalog/service/{name}", timeout=60) as answer:
        return [int(entry["CreateIndex"]) for entry in json.load(answer)]


def test_service_deregistered_by_someone_else_is_registered_again(
    tasks: Tasks,
    consul: AgentClient,
    server: ConsulServer,
    port: int,
    tmp_path: Path,
    until: Until,
    name: str,
) -> None:
    with proxy_to(server) as proxy:
        proxy.is_open = True
        supervisor = tasks.run(ec2_instance(tmp_path, http=proxy.port), app(name, port))
        until(lambda: supervisor.task.passing)
        [first] = create_indexes(server, name)
        deregister(server, listed(consul, name)[0].id)
        until(lambda: [index for index in create_indexes(server, name) if index > first])
        assert listed(consul, name)


def test_sigkill_follows_after_the_stop_timeout(tasks: Tasks, tmp_path: Path, until: Until) -> None:
    supervisor = tasks.run(ec2_instance(tmp_path), factories.container(image="stubborn", stopTimeout=1))
    until(lambda: supervisor.task.last_status == RUNNING)
    requested = time.monotonic()
    supervisor.request_stop(hurry=False)
    until(lambda: supervisor.task.last_status == STOPPED)
    assert time.monotonic() - requested >= 1.0
    assert supervisor.task.containers[0].exit_code == 137


def test_containers_stop_in_parallel(tasks: Tasks, tmp_path: Path, until: Until) -> None:
    stubborn = [factories.container(f"c{number}", image="stubborn", stopTimeout=1) for number in range(30)]
    supervisor = tasks.run(ec2_instance(tmp_path), *stubborn)
    until(lambda: supervisor.task.last_status == RUNNING)
    supervisor.request_stop(hurry=False)
    until(lambda: supervisor.task.last_status == STOPPED)
    names = sorted(f"c{number}" for number in range(30))
    assert sorted(tasks.runtime.stopped) == sorted(name for name, _ in tasks.runtime.killed) == names
    assert {stopped for _, stopped in tasks.runtime.killed} == {30}, "none is killed before all were told to stop"


@pytest.mark.parametrize("drain_seconds", [0.0, 600.0], ids=["during the stop timeout", "while draining"])
def test_hurry_kills_all_containers_of_a_stopping_task(
    tasks: Tasks, tmp_path: Path, until: Until, drain_seconds: float
) -> None:
    stubborn = [factories.container(name, image="stubborn", stopTimeout=600) for name in "abc"]
    supervisor = tasks.run(ec2_instance(tmp_path), *stubborn, drain_seconds=drain_seconds)
    until(lambda: supervisor.task.last_status == RUNNING)
    supervisor.request_stop(hurry=False)
    until(lambda: supervisor.task.last_status == "DEPROVISIONING")
    supervisor.request_stop(hurry=True)
    until(lambda: supervisor.task.last_status == STOPPED)
    assert [c.exit_code for c in supervisor.task.containers] == [137, 137, 137]


def test_draining_ends_when_the_task_exits(tasks: Tasks, tmp_path: Path, until: Until) -> None:
    supervisor = tasks.run(ec2_instance(tmp_path), factories.container(), drain_seconds=600.0)
    until(lambda: supervisor.task.last_status == RUNNING)
    supervisor.request_stop(hurry=False)
    until(lambda: supervisor.task.last_status == "DEPROVISIONING")
    tasks.runtime.containers[supervisor.task.id, "app"].end(3)
    until(lambda: supervisor.task.last_status == STOPPED)
    assert supervisor.task.containers[0].exit_code == 3


def test_non_essential_container_exits_and_its_service_is_deregistered(
    tasks: Tasks, consul: AgentClient, server: ConsulServer, port: int, tmp_path: Path, until: Until, name: str
) -> None:
    with proxy_to(server) as proxy, socket.create_server(("127.0.0.1", 0)) as other:
        proxy.is_open = True
        side = {**app(f"{name}-side", other.getsockname()[1]), "name": "side", "essential": False}
        supervisor = tasks.run(ec2_instance(tmp_path, http=proxy.port), app(name, port), side)
        until(lambda: supervisor.task.passing)
        assert len(listed(consul, f"{name}-side")) == 1
        tasks.runtime.containers[supervisor.task.id, "side"].end(0)
        until(lambda: f"{name}-side" not in consul.catalog())
        assert len(listed(consul, name)) == 1
        # The Registrator hears of the exit first.
        until(lambda: [c.status for c in supervisor.task.containers] == [RUNNING, STOPPED])
        assert supervisor.task.last_status == RUNNING


def test_task_passes_after_its_init_container_has_exited(
    tasks: Tasks, server: ConsulServer, port: int, tmp_path: Path, until: Until, name: str
) -> None:
    with proxy_to(server) as proxy:
        proxy.is_open = True
        init = {**app(f"{name}-init", 1), "name": "init", "essential": False, "image": "crash:0"}
        supervisor = tasks.run(ec2_instance(tmp_path, http=proxy.port), init, app(name, port))
        until(lambda: supervisor.task.passing)


def test_first_stop_reason_is_kept(tasks: Tasks, tmp_path: Path, until: Until) -> None:
    supervisor = tasks.run(ec2_instance(tmp_path), factories.container())
    until(lambda: supervisor.task.last_status == RUNNING)
    task: Task = supervisor.task
    task.stop_code, task.stopped_reason, task.desired_status = "UserInitiated", "enough", STOPPED
    tasks.runtime.containers[task.id, "app"].end(1)
    until(lambda: task.last_status == STOPPED)
    assert (task.stop_code, task.stopped_reason) == ("UserInitiated", "enough")


# several containers


CHECK = {"command": ["CMD", "true"], "interval": 5}


def quiet(name: str, **more: Any) -> dict[str, Any]:
    """A container without ports."""
    return factories.container(name, **more)


def needs(name: str, condition: str) -> list[dict[str, str]]:
    return [{"containerName": name, "condition": condition}]


def test_container_waits_until_the_one_it_needs_is_healthy(tasks: Tasks, tmp_path: Path, until: Until) -> None:
    tasks.runtime.failures["db"] = "not yet"
    needed = quiet("db", healthCheck=CHECK)
    task = tasks.run(ec2_instance(tmp_path), needed, quiet("app", dependsOn=needs("db", "HEALTHY"))).task
    until(lambda: [one.status for one in task.containers] == [RUNNING, PENDING])
    assert task.last_status == PENDING
    tasks.runtime.failures.clear()
    until(lambda: task.passing)
    assert (task.last_status, task.health) == (RUNNING, "HEALTHY")
    assert [one.health for one in task.containers] == ["HEALTHY", "UNKNOWN"]


def test_container_that_succeeds_lets_the_next_one_start(tasks: Tasks, tmp_path: Path, until: Until) -> None:
    setup = quiet("setup", image="crash:0", essential=False)
    task = tasks.run(ec2_instance(tmp_path), setup, quiet("app", dependsOn=needs("setup", "SUCCESS"))).task
    until(lambda: task.passing)
    assert [(one.status, one.exit_code) for one in task.containers] == [(STOPPED, 0), (RUNNING, None)]


def test_task_fails_when_what_it_needs_has_failed(tasks: Tasks, tmp_path: Path, until: Until) -> None:
    setup = quiet("setup", image="crash:1", essential=False)
    task = tasks.run(ec2_instance(tmp_path), setup, quiet("app", dependsOn=needs("setup", "SUCCESS"))).task
    until(lambda: task.last_status == STOPPED)
    assert task.stop_code == "TaskFailedToStart"
    assert "dependency [setup] for target [app] as dependency did not exit successfully" in task.stopped_reason


def test_start_timeout_ends_the_wait(tasks: Tasks, tmp_path: Path, until: Until) -> None:
    needed = quiet("db", essential=False, startTimeout=1)
    task = tasks.run(ec2_instance(tmp_path), needed, quiet("app", dependsOn=needs("db", "COMPLETE"))).task
    until(lambda: task.last_status == STOPPED)
    assert "within its startTimeout" in task.stopped_reason


def test_container_that_is_not_essential_may_fail_to_start(tasks: Tasks, tmp_path: Path, until: Until) -> None:
    task = tasks.run(ec2_instance(tmp_path), quiet("extra", image="absent", essential=False), quiet("app")).task
    until(lambda: task.passing)
    extra, _ = task.containers
    assert extra.status == STOPPED
    assert "CannotPullContainerError" in extra.reason
    assert "CannotPullContainerError" in (tasks.lab_dir.service_logs("weather") / f"{task.id}-extra.log").read_text()


def test_containers_stop_in_reverse_order(tasks: Tasks, tmp_path: Path, until: Until) -> None:
    containers = [quiet("db"), quiet("app", dependsOn=needs("db", "START")), quiet("web", links=["app"])]
    supervisor = tasks.run(ec2_instance(tmp_path), *containers)
    until(lambda: supervisor.task.passing)
    supervisor.request_stop(hurry=True)
    supervisor.join(60)
    assert tasks.runtime.stopped == ["web", "app", "db"]


def test_failing_check_of_an_essential_container_makes_the_task_unhealthy(
    tasks: Tasks, tmp_path: Path, until: Until
) -> None:
    check = {**CHECK, "interval": 0.05, "retries": 2}
    task = tasks.run(ec2_instance(tmp_path), quiet("app", healthCheck=check)).task
    until(lambda: task.passing)
    tasks.runtime.failures["app"] = "exit code 1: no database"
    until(lambda: task.health == "UNHEALTHY")
    assert (task.passing, task.should_run) == (False, True), "only the scheduler of its service stops it"
    log = tasks.lab_dir.service_logs("weather") / f"{task.id}.log"
    until(lambda: "the health check failed: exit code 1: no database" in log.read_text())
    tasks.runtime.failures.clear()
    until(lambda: task.passing)


def test_secret_reaches_the_container_and_nothing_else(
    tasks: Tasks, tmp_path: Path, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    tasks.secrets.parameters["/token"] = "very secret"
    with caplog.at_level("DEBUG"):
        task = tasks.run(ec2_instance(tmp_path), quiet("app", secrets=[{"name": "T", "valueFrom": "/token"}])).task
        until(lambda: task.passing)
    assert tasks.runtime.overrides[task.id]["environment"] == [{"name": "T", "value": "very secret"}]
    assert "very secret" not in f"{task} {caplog.text}"


def test_missing_secret_stops_the_task(tasks: Tasks, tmp_path: Path, until: Until) -> None:
    task = tasks.run(ec2_instance(tmp_path), quiet("app", secrets=[{"name": "T", "valueFrom": "/none"}])).task
    until(lambda: task.last_status == STOPPED)
    assert task.stop_code == "TaskFailedToStart"
    assert task.stopped_reason.startswith("ResourceInitializationError: unable to pull secrets or registry auth")
    assert not tasks.runtime.containers


def test_settings_without_effect_are_noted_in_the_log(tasks: Tasks, tmp_path: Path, until: Until) -> None:
    task = tasks.run(ec2_instance(tmp_path), quiet("app", privileged=True)).task
    until(lambda: task.passing)
    log = tasks.lab_dir.service_logs("weather") / f"{task.id}.log"
    assert log.read_text() == "[ecsconsul] privileged has no effect in the local region\n"
