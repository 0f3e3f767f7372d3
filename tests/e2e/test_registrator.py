"""`ecsconsul registrator` with a real Docker engine and a real Consul, through bursts, churn and crashes."""

from __future__ import annotations

import itertools
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from requests import RequestException

from tests.docker_engine import base_image, docker
from tests.e2e.registrator_at import (
    TIMEOUT,
    ConsulAt,
    Containers,
    RegistratorAt,
    eventually,
    socket_proxy,
    tiny_image,
)

BURST = 60
HOST = "host-1"
CHECKED = {"SERVICE_NAME": "web", "SERVICE_CHECK_HTTP": "/health", "SERVICE_CHECK_INTERVAL": "10s"}
PACKAGE = Path(__file__).resolve().parents[2] / "ecsconsul"


@pytest.fixture(scope="module")
def image(engine: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_image(engine, tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def containers(engine: str, image: str) -> Iterator[Containers]:
    made = Containers(engine, image, f"t{uuid.uuid4().hex[:8]}")
    yield made
    made.clear()


Start = Callable[..., RegistratorAt]


@pytest.fixture
def start(tmp_path: Path, engine: str, containers: Containers, consul: ConsulAt) -> Iterator[Start]:
    """Starts a Registrator for this test's containers, and waits until it is connected."""
    started: list[RegistratorAt] = []

    def start(*flags: str, hostname: str = HOST, docker_host: str = engine) -> RegistratorAt:
        options = ["-hostname", hostname, "-label", containers.label, "-ip", gateway(engine), *flags]
        one = RegistratorAt(tmp_path, docker_host, [*options, consul.uri])
        already = one.log.count("connected to the container engine") if (tmp_path / "registrator.log").exists() else 0
        one.start()
        started.append(one)
        eventually(lambda: one.log.count("connected to the container engine") > already)
        return one

    yield start
    for one in started:
        one.kill()


def gateway(engine: str) -> str:
    return docker(engine, "network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Gateway}}")


def await_in_sync(consul: ConsulAt, containers: Containers, hostname: str = HOST) -> None:
    """Wait until the agent and Consul's catalog have exactly the running containers."""

    def are_in_sync() -> bool:
        running = containers.running(hostname)
        services = consul.services()
        services.pop("consul", None)
        return services == running and consul.catalog("web") == set(running)

    eventually(are_in_sync)


class Churn:
    """Starts, stops, kills, removes and pauses containers at random inside the context."""

    def __init__(self, containers: Containers, seed: int) -> None:
        self._containers = containers
        self._random = random.Random(seed)
        self._numbers = itertools.count()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(3)]

    def __enter__(self) -> Churn:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self) -> None:
        while not self._ended.is_set():
            # two threads may choose the same container, or a busy engine times out
            with suppress(RequestException):
                self._one()

    def _one(self) -> None:
        ids = self._containers.ids()
        if len(ids) < 8:
            self._containers.run(f"churn-{next(self._numbers)}", CHECKED)
            return
        container = self._random.choice(ids)
        action = self._random.choice(("kill", "stop", "remove", "pause", "unpause"))
        if action == "stop":
            self._containers.stop(container, 0)
        else:
            getattr(self._containers, action)(container)


def test_burst_is_registered_completely(start: Start, containers: Containers, consul: ConsulAt) -> None:
    start()
    containers.run_many([f"burst-{number}" for number in range(BURST)], CHECKED)
    await_in_sync(consul, containers)
    eventually(lambda: len(consul.catalog("web", passing=True)) == BURST)


def test_running_containers_are_found_and_exited_ones_deregistered(
    start: Start, containers: Containers, consul: ConsulAt
) -> None:
    first, second = containers.run_many(["a", "b"], CHECKED)
    registrator = start()
    await_in_sync(consul, containers)
    containers.kill(first)
    await_in_sync(consul, containers)
    containers.pause(second)
    await_in_sync(consul, containers)
    assert consul.services().keys() == {"consul"} or not consul.services()
    containers.unpause(second)
    await_in_sync(consul, containers)
    containers.rename(second, "c")
    await_in_sync(consul, containers)
    assert set(consul.services()) - {"consul"} == {f"{HOST}:{containers.test_id}-c:80"}
    assert registrator.terminate() == 0
    assert set(consul.services()) - {"consul"} == set()


def test_docker_health_check_is_followed(start: Start, containers: Containers, consul: ConsulAt) -> None:
    start()
    every = {"test": ["CMD", "/bin/busybox", "test", "!", "-e", "/sick"], "interval": 200_000_000, "retries": 1}
    container = containers.run("a", CHECKED, healthcheck=every)
    eventually(lambda: consul.catalog("web"))
    containers.execute(container, "touch", "/sick")
    eventually(lambda: not consul.catalog("web"))
    containers.execute(container, "rm", "/sick")
    eventually(lambda: consul.catalog("web", passing=True))


def test_container_is_deregistered_when_its_stop_begins(start: Start, containers: Containers, consul: ConsulAt) -> None:
    """It ignores SIGTERM, so it runs until Docker kills it; it is deregistered long before."""
    start()
    container = containers.run("slow", CHECKED)
    await_in_sync(consul, containers)
    stopping = threading.Thread(target=containers.stop, args=(container, 2 * TIMEOUT))
    stopping.start()
    eventually(lambda: not consul.catalog("web"))
    assert containers.ids() == [container], "it is still running"
    containers.kill(container)
    stopping.join(TIMEOUT)


def test_kept_services_are_recognized_under_another_host_name(
    start: Start, containers: Containers, consul: ConsulAt
) -> None:
    consul.put("/v1/agent/service/register", {"ID": "host-1:foreign:80", "Name": "foreign", "Port": 80})
    containers.run_many(["a", "b"], CHECKED)
    first = start("-on-exit=keep")
    eventually(lambda: len(consul.catalog("web", passing=True)) == 2)
    before = consul.get("/v1/health/service/web")
    assert first.terminate() == 0
    again = start("-on-exit=keep")
    again.terminate()
    assert consul.get("/v1/health/service/web") == before
    containers.remove(containers.ids()[0])
    start(hostname="host-2")
    running = containers.running("host-2")
    eventually(lambda: consul.catalog("web") == set(running))
    assert "host-1:foreign:80" in consul.services()


@pytest.mark.parametrize("lose_state", [False, True], ids=["kept", "lost"])
def test_consul_killed_during_churn(start: Start, containers: Containers, consul: ConsulAt, lose_state: bool) -> None:
    start()
    with Churn(containers, seed=1):
        eventually(lambda: len(consul.catalog("web")) > 3)
        consul.kill()
        # let containers change while Consul is down
        time.sleep(2)
        consul.start(lose_state=lose_state)
    await_in_sync(consul, containers)


def test_registrator_killed_during_churn(start: Start, containers: Containers, consul: ConsulAt) -> None:
    first = start()
    with Churn(containers, seed=2):
        eventually(lambda: len(consul.catalog("web")) > 3)
        first.kill()
        time.sleep(1)
        start()
    await_in_sync(consul, containers)


def test_event_stream_dropped_during_churn(
    start: Start, containers: Containers, consul: ConsulAt, engine: str, tmp_path: Path
) -> None:
    with socket_proxy(tmp_path / "docker.sock", engine.removeprefix("unix://")) as drop:
        registrator = start(docker_host=f"unix://{tmp_path / 'docker.sock'}")
        with Churn(containers, seed=3):
            eventually(lambda: len(consul.catalog("web")) > 3)
            for _ in range(3):
                drop()
                time.sleep(0.5)
        await_in_sync(consul, containers)
        assert "lost Docker's event stream" in registrator.log


def test_tcp_probe_sees_through_dockers_proxy(start: Start, containers: Containers, consul: ConsulAt) -> None:
    """The proxy accepts connections at 127.0.0.1 right away, but nothing listens for 0.7 s."""
    start("-ip", "127.0.0.1")
    environment = {"SERVICE_NAME": "web", "SERVICE_CHECK_TCP": "true", "SERVICE_CHECK_INTERVAL": "60s"}
    late = "/bin/busybox sleep 0.7; exec /bin/busybox httpd -f -p 80 -h /www"
    began = time.monotonic()
    containers.run("late", environment, command=["sh", "-c", late])
    eventually(lambda: consul.catalog("web", passing=True))
    assert time.monotonic() - began > 0.7


def test_the_image_registers_as_nobody(engine: str, containers: Containers, consul: ConsulAt, tmp_path: Path) -> None:
    tag = f"ecsconsul-registrator-test:{containers.test_id}"
    docker(engine, "build", "-q", "--build-arg", f"BASE={base_image(engine)}", "-t", tag, str(PACKAGE), timeout=300)
    name = f"{containers.test_id}-registrator"
    arguments = ["-hostname", HOST, "-label", containers.label, "-ip", gateway(engine), consul.uri]
    socket = f"{engine.removeprefix('unix://')}:/tmp/docker.sock"
    try:
        docker(engine, "run", "-d", "--name", name, "--net=host", "-v", socket, tag, *arguments)
        containers.run("a", CHECKED)
        await_in_sync(consul, containers)
        assert docker(engine, "top", name, "-o", "pid,uid").split()[-1] == "65534"
        docker(engine, "stop", "-t", "60", name, timeout=90)
        assert consul.catalog("web") == set()
        assert docker(engine, "inspect", "-f", "{{.State.ExitCode}}", name) == "0"
    finally:
        docker(engine, "rm", "-f", name)
        docker(engine, "rmi", "-f", tag)
