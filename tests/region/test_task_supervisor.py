"""One task against a real Consul: passing as soon as it answers, out of the catalog before it is asked to stop."""

from __future__ import annotations

import itertools
import json
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from ecsconsul.consul.catalog import Consul, Instance
from ecsconsul.region import task_supervisor
from ecsconsul.region.ecs.model import RUNNING, STOPPED, Task
from ecsconsul.region.port_forwarder import PortForwarder
from ecsconsul.region.registrators import Registrators
from ecsconsul.region.runtimes.lab_dir import LabDir
from ecsconsul.region.runtimes.processes.containers import ProcessContainers
from ecsconsul.region.runtimes.processes.images import ImageStore
from ecsconsul.region.task_supervisor import TaskSupervisor
from ecsconsul.registrator.consul_client import Agent as ConsulClient
from ecsconsul.registrator.settings import Server
from tests.consul_server import ConsulServer, consul_server
from tests.region.ecs import making
from tests.region.fakes import FakeContainers, ec2_instance

Until = Callable[..., None]
_names = (f"service{number}" for number in itertools.count(1))


@pytest.fixture(scope="module")
def server() -> Iterator[ConsulServer]:
    with consul_server(node="i-1") as found:
        yield found


@pytest.fixture
def consul(server: ConsulServer) -> Consul:
    return Consul(server.host, server.http)


@pytest.fixture
def name() -> str:
    """A service name that no other test has."""
    return next(_names)


class Tasks:
    """Runs tasks with a runtime, each with the Registrator of its instance, and stops them all."""

    def __init__(self, lab_dir: LabDir, runtime: Any) -> None:
        self.lab_dir, self.runtime = lab_dir, runtime
        self.registrators = Registrators(runtime.engine)
        self.all: list[TaskSupervisor] = []

    def run(self, where: Any, *containers: dict[str, Any], **more: Any) -> TaskSupervisor:
        what = making.definition("weather", 1, *containers)
        task = making.task(task_definition=what, last_status="PENDING", created_at=time.time(), **more)
        task.instance_id = where.instance_id
        run = TaskSupervisor(task, where, self.runtime, self.registrators, self.lab_dir, lambda: None)
        self.all.append(run)
        run.start()
        return run

    def close(self) -> None:
        for run in self.all:
            run.request_stop(hurry=True)
        if isinstance(self.runtime, FakeContainers):
            self.runtime.close()
        for run in self.all:
            run.join(60)
            assert run.task.last_status == STOPPED
        self.registrators.close()


@pytest.fixture
def tasks(home: LabDir) -> Iterator[Tasks]:
    made = Tasks(home, FakeContainers())
    yield made
    made.close()


@pytest.fixture
def port() -> Iterator[int]:
    """A port at which something answers TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def app(name: str, port: int, check: str = "TCP", **more: Any) -> dict[str, Any]:
    variables = {"SERVICE_NAME": name, f"SERVICE_CHECK_{check}": "true", "SERVICE_CHECK_INTERVAL": "10s"}
    if not check:
        variables = {"SERVICE_NAME": name}
    environment = [{"name": key, "value": value} for key, value in variables.items()]
    return making.container(environment=environment, portMappings=[{"containerPort": port}], **more)


def listed(consul: Consul, name: str) -> list[Instance]:
    return consul.passing(name)[1]


class Way:
    """The way to Consul, which can be closed and opened."""

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
def way_to(server: ConsulServer) -> Iterator[Way]:
    way = Way(server)
    try:
        yield way
    finally:
        way.close()


WEB = """
import http.server, json, os, signal, sys, urllib.request

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

def leave(*_):
    with urllib.request.urlopen(os.environ["CATALOG"], timeout=5) as answer:
        print("listed at SIGTERM:", len(json.load(answer)), flush=True)
    sys.exit(0)

signal.signal(signal.SIGTERM, leave)
http.server.HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""


def test_a_real_task_is_listed_at_once_and_has_left_when_sigterm_comes(
    home: LabDir, server: ConsulServer, consul: Consul, tmp_path: Path, until: Until, name: str
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "app.py").write_text(WEB)
    (source / "Dockerfile").write_text(f'FROM x\nWORKDIR /app\nCOPY . .\nCMD ["{sys.executable}", "app.py"]\n')
    store = ImageStore(home)
    store.publish("web", "1", source)
    tasks = Tasks(home, ProcessContainers(home, store))
    where = ec2_instance(tmp_path, "i-1", server.host, server.http)
    catalog = f"http://{server.host}:{server.http}/v1/health/service/{name}?passing"
    web = app(name, 4567, "HTTP", image="lab/web:1")
    web["environment"][1]["value"] = "/health"
    web["environment"].append({"name": "CATALOG", "value": catalog})
    run = tasks.run(where, web)
    until(lambda: run.task.passing)
    (instance,) = listed(consul, name)
    (binding,) = run.task.containers[0].bindings
    assert (instance.port, instance.address, instance.status) == (binding.host_port, server.host, "passing")
    assert instance.id == f"i-1:ecs-weather-1-app-{run.task.id[:20]}:4567"
    run.task.desired_status = STOPPED
    run.request_stop(hurry=False)
    run.join(60)
    assert run.task.last_status == STOPPED
    assert run.task.containers[0].exit_code == 0
    tasks.close()
    assert "listed at SIGTERM: 0\n" in (home.service_logs("weather") / f"{run.task.id}.log").read_text()
    assert list(home.tasks.iterdir()) == []


def test_a_service_without_a_check_counts_when_its_port_answers(
    tasks: Tasks, server: ConsulServer, consul: Consul, tmp_path: Path, until: Until, name: str
) -> None:
    with socket.socket() as later:
        later.bind((server.host, 0))
        run = tasks.run(ec2_instance(tmp_path, "i-1", server.host, server.http), app(name, later.getsockname()[1], ""))
        until(lambda: run.task.last_status == RUNNING)
        time.sleep(0.2)  # some looks, all in vain
        assert not run.task.passing
        assert listed(consul, name) == []
        later.listen()
        until(lambda: run.task.passing)
        assert len(listed(consul, name)) == 1


def test_one_that_does_not_become_well_is_shown_as_critical_in_the_end(
    tasks: Tasks, server: ConsulServer, consul: Consul, tmp_path: Path, until: Until, name: str
) -> None:
    with socket.socket() as silent:
        silent.bind((server.host, 0))
        run = tasks.run(ec2_instance(tmp_path, "i-1", server.host, server.http), app(name, silent.getsockname()[1]))
        until(lambda: consul.catalog().get(name))
    (shown,) = consul.catalog()[name]
    assert shown.status == "critical"
    assert not run.task.passing


def test_what_an_override_says_of_a_service_counts(
    tasks: Tasks, consul: Consul, port: int, server: ConsulServer, tmp_path: Path, until: Until, name: str
) -> None:
    told = [{"name": "SERVICE_NAME", "value": f"{name}-other"}]
    overrides = {"containerOverrides": [{"name": "app", "environment": told}]}
    where = ec2_instance(tmp_path, "i-1", "127.0.0.1", 9)
    where.consul = type(where.consul)(http=server.http)
    where.address = server.host
    with socket.create_server((server.host, port)):
        run = tasks.run(where, app(name, port), overrides=overrides)
        until(lambda: run.task.passing)
    assert len(listed(consul, f"{name}-other")) == 1
    assert listed(consul, name) == []


def test_consul_may_come_after_the_task(
    tasks: Tasks, server: ConsulServer, port: int, tmp_path: Path, until: Until, name: str
) -> None:
    with way_to(server) as way:
        run = tasks.run(ec2_instance(tmp_path, http=way.port), app(name, port))
        until(lambda: run.task.last_status == RUNNING)
        assert not run.task.passing
        way.is_open = True
        until(lambda: run.task.passing)


@pytest.mark.parametrize("ends", ["asked", "crash"])
def test_consul_may_be_away_at_the_end(
    tasks: Tasks, server: ConsulServer, port: int, tmp_path: Path, until: Until, name: str, ends: str
) -> None:
    with way_to(server) as way:
        way.is_open = True
        run = tasks.run(ec2_instance(tmp_path, http=way.port), app(name, port))
        until(lambda: run.task.passing)
    if ends == "asked":
        run.request_stop(hurry=False)
    else:
        tasks.runtime.containers[run.task.id, "app"].end(1)
    until(lambda: run.task.last_status == STOPPED, 25)


def test_a_consul_that_hangs_does_not_hide_a_crash(
    tasks: Tasks, server: ConsulServer, port: int, tmp_path: Path, until: Until, name: str
) -> None:
    with way_to(server) as way:
        way.is_open = True
        run = tasks.run(ec2_instance(tmp_path, http=way.port), app(name, port))
        until(lambda: run.task.passing)
    with socket.create_server(("127.0.0.1", way.port)):
        tasks.runtime.containers[run.task.id, "app"].end(1)
        until(lambda: not run.task.should_run)
        assert run.task.stop_code == "EssentialContainerExited"
    until(lambda: run.task.last_status == STOPPED)


def deregister(server: ConsulServer, service_id: str) -> None:
    """Take a service out of Consul behind the Registrator's back."""
    with closing(ConsulClient(Server(server.host, server.http))) as client:
        client.deregister(service_id)


def entered_at(server: ConsulServer, name: str) -> list[int]:
    """When each instance of a service came into the catalog, by Consul's index."""
    with urllib.request.urlopen(f"http://{server.host}:{server.http}/v1/catalog/service/{name}", timeout=10) as answer:
        return [int(entry["CreateIndex"]) for entry in json.load(answer)]


def test_what_somebody_took_out_of_consul_enters_again(
    tasks: Tasks,
    consul: Consul,
    server: ConsulServer,
    port: int,
    tmp_path: Path,
    until: Until,
    name: str,
) -> None:
    with way_to(server) as way:
        way.is_open = True
        run = tasks.run(ec2_instance(tmp_path, http=way.port), app(name, port))
        until(lambda: run.task.passing)
        [first] = entered_at(server, name)
        deregister(server, listed(consul, name)[0].id)
        until(lambda: [index for index in entered_at(server, name) if index > first])
        assert listed(consul, name)


def test_sigterm_ignored_is_answered_by_sigkill_after_the_stop_timeout(
    tasks: Tasks, tmp_path: Path, until: Until
) -> None:
    run = tasks.run(ec2_instance(tmp_path), making.container(image="stubborn", stopTimeout=1))
    until(lambda: run.task.last_status == RUNNING)
    asked = time.monotonic()
    run.request_stop(hurry=False)
    until(lambda: run.task.last_status == STOPPED)
    assert time.monotonic() - asked >= 1.0
    assert run.task.containers[0].exit_code == 137


def test_the_stop_timeouts_of_containers_run_side_by_side(tasks: Tasks, tmp_path: Path, until: Until) -> None:
    stubborn = [making.container(f"c{number}", image="stubborn", stopTimeout=1) for number in range(30)]
    run = tasks.run(ec2_instance(tmp_path), *stubborn)
    until(lambda: run.task.last_status == RUNNING)
    asked = time.monotonic()
    run.request_stop(hurry=False)
    until(lambda: run.task.last_status == STOPPED)
    assert time.monotonic() - asked < 15, "not the 30 s of one after the other"


@pytest.mark.parametrize("drain", [0.0, 600.0], ids=["among the stop timeouts", "while it drains"])
def test_a_hurry_ends_all_containers_of_a_task_that_is_stopping(
    tasks: Tasks, tmp_path: Path, until: Until, monkeypatch: pytest.MonkeyPatch, drain: float
) -> None:
    monkeypatch.setattr(task_supervisor, "DRAIN_SECONDS", drain)
    stubborn = [making.container(name, image="stubborn", stopTimeout=600) for name in "abc"]
    run = tasks.run(ec2_instance(tmp_path), *stubborn)
    until(lambda: run.task.last_status == RUNNING)
    run.request_stop(hurry=False)
    until(lambda: run.task.last_status == "DEPROVISIONING")
    run.request_stop(hurry=True)
    until(lambda: run.task.last_status == STOPPED)
    assert [c.exit_code for c in run.task.containers] == [137, 137, 137]


def test_a_task_that_ends_by_itself_while_it_drains_is_not_waited_for(
    tasks: Tasks, tmp_path: Path, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_supervisor, "DRAIN_SECONDS", 600.0)
    run = tasks.run(ec2_instance(tmp_path), making.container())
    until(lambda: run.task.last_status == RUNNING)
    run.request_stop(hurry=False)
    until(lambda: run.task.last_status == "DEPROVISIONING")
    tasks.runtime.containers[run.task.id, "app"].end(3)
    until(lambda: run.task.last_status == STOPPED)
    assert run.task.containers[0].exit_code == 3


def test_a_container_that_is_not_essential_may_end_and_takes_its_service_along(
    tasks: Tasks, consul: Consul, server: ConsulServer, port: int, tmp_path: Path, until: Until, name: str
) -> None:
    with way_to(server) as way, socket.create_server(("127.0.0.1", 0)) as other:
        way.is_open = True
        side = {**app(f"{name}-side", other.getsockname()[1]), "name": "side", "essential": False}
        run = tasks.run(ec2_instance(tmp_path, http=way.port), app(name, port), side)
        until(lambda: run.task.passing)
        assert len(listed(consul, f"{name}-side")) == 1
        tasks.runtime.containers[run.task.id, "side"].end(0)
        until(lambda: f"{name}-side" not in consul.catalog())
        assert len(listed(consul, name)) == 1
        assert (run.task.last_status, [c.status for c in run.task.containers]) == (RUNNING, [RUNNING, STOPPED])


def test_a_task_is_passing_though_its_helper_ended_before_it_was_ready(
    tasks: Tasks, server: ConsulServer, port: int, tmp_path: Path, until: Until, name: str
) -> None:
    with way_to(server) as way:
        way.is_open = True
        init = {**app(f"{name}-init", 1), "name": "init", "essential": False, "image": "crash:0"}
        run = tasks.run(ec2_instance(tmp_path, http=way.port), init, app(name, port))
        until(lambda: run.task.passing)


def test_a_stop_that_comes_first_is_the_reason_that_stays(tasks: Tasks, tmp_path: Path, until: Until) -> None:
    run = tasks.run(ec2_instance(tmp_path), making.container())
    until(lambda: run.task.last_status == RUNNING)
    task: Task = run.task
    task.stop_code, task.stopped_reason, task.desired_status = "UserInitiated", "enough", STOPPED
    tasks.runtime.containers[task.id, "app"].end(1)
    until(lambda: task.last_status == STOPPED)
    assert (task.stop_code, task.stopped_reason) == ("UserInitiated", "enough")
