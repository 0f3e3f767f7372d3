"""The Registrator on a real Docker engine: its latency, its throughput with 1,000 services, and its memory.

The floor is a loop that PUTs the same services to the same agent.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import psutil
from docker import APIClient

from benchmarks import bare
from benchmarks.lab import free_port
from benchmarks.measure import PYTHON, Result, Seconds, in_turn, median, spread
from benchmarks.srv import PATIENCE, PAUSE, Resolver
from ecsconsul.config.scalars import CONSUL_VERSION
from ecsconsul.consul.install import find
from ecsconsul.docker.engine import Engine, engine_url
from ecsconsul.registrator.container_snapshot import nanoseconds

ROUNDS = 15
THOUSAND, PORTS_EACH = 1000, 100
LABEL = f"ecsconsul-bench={os.getpid()}"
IMAGE = "ecsconsul-bench-tiny"
ADDRESS = "127.254.78.1"
HTTP, DNS = 8500, 8600
MIB = 2**20
# it listens a moment after its container starts, and ignores SIGTERM
DOCKERFILE = """\
FROM scratch
COPY busybox /bin/busybox
COPY health /www/health
ENTRYPOINT ["/bin/busybox"]
CMD ["httpd", "-f", "-p", "80", "-h", "/www"]
"""


def measure(folder: Path) -> Iterator[Result]:
    reason = _reason_to_skip()
    if reason:
        print(f"registrator skipped: {reason}", file=sys.stderr)  # noqa: T201
        return
    bench = Bench(folder, find(lambda text: None, CONSUL_VERSION), APIClient(base_url=engine_url(), version="auto"))
    bench.build_image()
    try:
        yield from bench.events()
        yield from bench.thousand()
    finally:
        bench.clear()


def _reason_to_skip() -> str:
    if not Engine(engine_url()).is_there():
        return "no Docker engine is running"
    return "" if shutil.which("busybox") else "no busybox (Debian's busybox-static)"


@dataclass
class Bench:
    """Starts containers, a Consul server and a Registrator on demand."""

    folder: Path
    consul: str
    docker: APIClient
    samples: dict[str, list[Seconds]] = field(default_factory=dict)

    def build_image(self) -> None:
        source = self.folder / "tiny"
        source.mkdir()
        shutil.copy(shutil.which("busybox") or "", source / "busybox")
        (source / "health").write_text("OK\n")
        (source / "Dockerfile").write_text(DOCKERFILE)
        for _ in self.docker.build(path=str(source), tag=IMAGE, rm=True):
            """The build is done when its output ends."""

    def clear(self) -> None:
        for one in self.docker.containers(all=True, filters={"label": LABEL}):
            self.docker.remove_container(one["Id"], force=True)
        with suppress(Exception):
            self.docker.remove_image(IMAGE)

    # --- one container at a time

    def events(self) -> Iterator[Result]:
        with self._consul(), self._registrator():
            resolver = Resolver(ADDRESS, DNS)
            for number in range(ROUNDS):
                self._one(f"probe-{number}", resolver, stop=number % 2 == 0)
        floor = {"start": "put", "stop": "take", "kill": "take"}
        limits = {"start": 0.030, "stop": 0.020, "kill": 0.020}
        names = {"start": "container starts -> SRV", "stop": "stop begins -> gone", "kill": "kill -> gone"}
        for what, name in names.items():
            ours, peer = self.samples[what], self.samples[floor[what]]
            yield Result(
                name, median(ours), "a bare PUT to the agent", median(peer), limits[what], "seconds", spread(ours)
            )

    def _one(self, name: str, resolver: Resolver, *, stop: bool) -> None:
        """Start and end a container, and time both until DNS knows; then the same with bare PUTs."""
        container = self._create(name, {"SERVICE_NAME": name, "SERVICE_CHECK_HTTP": "/health"})
        self.docker.start(container)
        answered = resolver.await_ports(name, bool)
        self._note("start", answered - self._started_at(container))
        began = time.monotonic()
        with self._ending(container, stop=stop):
            gone = resolver.await_ports(name, lambda ports: not ports)
        self._note("stop" if stop else "kill", gone - began)
        port, bare_name = free_port(), f"bare-{name}"
        began = time.monotonic()
        bare.put(ADDRESS, "/v1/agent/service/register", bare.registration(bare_name, bare_name, ADDRESS, port))
        self._note("put", resolver.await_ports(bare_name, bool) - began)
        began = time.monotonic()
        bare.put(ADDRESS, f"/v1/agent/service/deregister/{bare_name}")
        self._note("take", resolver.await_ports(bare_name, lambda ports: not ports) - began)

    def _started_at(self, container: str) -> float:
        """When Docker started the container, as a time.monotonic value; this excludes Docker's own overhead."""
        started_at = self.docker.inspect_container(container)["State"]["StartedAt"]
        return nanoseconds(started_at) / 1e9 - time.time() + time.monotonic()

    @contextmanager
    def _ending(self, container: str, *, stop: bool) -> Iterator[None]:
        """Stop or kill the container from another process, because `docker stop` blocks until it is done."""
        command = ["stop", "-t", "2"] if stop else ["kill"]
        with subprocess.Popen(["docker", *command, container], stdout=subprocess.DEVNULL) as process:
            yield
            process.wait(PATIENCE)

    def _note(self, what: str, seconds: Seconds) -> None:
        self.samples.setdefault(what, []).append(seconds)

    def _create(self, name: str, environment: dict[str, str]) -> str:
        made = self.docker.create_container(
            IMAGE,
            name=f"{name}-{os.getpid()}",
            labels=dict([LABEL.split("=")]),
            environment=environment,
            ports=[80],
            host_config=self.docker.create_host_config(port_bindings={80: None}, network_mode="bridge"),
        )
        return str(made["Id"])

    # --- a thousand services

    def thousand(self) -> Iterator[Result]:
        for one in self.docker.containers(all=True, filters={"label": LABEL}):
            self.docker.remove_container(one["Id"], force=True)
        for number in range(THOUSAND // PORTS_EACH):
            self._start_many_ports(number)
        payloads: list[dict[str, Any]] = []
        memory = 0.0

        def ours() -> Seconds:
            nonlocal memory
            with self._consul():
                page = free_port()
                began = time.monotonic()
                with self._registrator("-status", str(page)) as registrator:
                    _await_registered(page, THOUSAND)
                    took = time.monotonic() - began
                    memory = max(memory, psutil.Process(registrator.pid).memory_info().rss / MIB)
                    payloads[:] = _as_payloads(_get(f"http://{ADDRESS}:{HTTP}/v1/agent/services"))
            return took

        def peer() -> Seconds:
            with self._consul():
                connection = HTTPConnection(ADDRESS, HTTP, timeout=30)
                began = time.monotonic()
                for payload in payloads:
                    connection.request("PUT", "/v1/agent/service/register", json.dumps(payload))
                    connection.getresponse().read()
                took = time.monotonic() - began
                connection.close()
            return took

        mine, floor = in_turn(ours, peer, 3, warm_up=False)
        yield Result("1,000 services", median(mine), "bare PUTs to the agent", median(floor), 1.5, remark=spread(mine))
        yield Result("registrator's memory", memory, "bare Python", _bare_memory(), 40, "MiB")

    def _start_many_ports(self, number: int) -> None:
        """With host networking, each exposed port counts as published at its own number."""
        made = self.docker.create_container(
            IMAGE,
            command=["sleep", "86400"],
            labels=dict([LABEL.split("=")]),
            environment={"SERVICE_NAME": f"many-{number}"},
            ports=[10000 + number * PORTS_EACH + port for port in range(PORTS_EACH)],
            host_config=self.docker.create_host_config(network_mode="host"),
        )
        self.docker.start(made["Id"])

    # --- processes

    @contextmanager
    def _consul(self) -> Iterator[None]:
        """A fresh Consul server."""
        config = {
            "node_name": "bench",
            "data_dir": str(self.folder / "consul"),
            "bind_addr": ADDRESS,
            "client_addr": ADDRESS,
            "ports": {"http": HTTP, "dns": DNS, "serf_wan": -1, "grpc": -1},
            "server": True,
            "bootstrap_expect": 1,
            "performance": {"raft_multiplier": 1},
            "disable_update_check": True,
        }
        path = self.folder / "consul.json"
        path.write_text(json.dumps(config))
        null = subprocess.DEVNULL
        with subprocess.Popen([self.consul, "agent", "-config-file", str(path)], stdout=null, stderr=null) as process:
            try:
                _until(lambda: bool(_get(f"http://{ADDRESS}:{HTTP}/v1/catalog/node/bench")))
                yield
            finally:
                process.kill()
        shutil.rmtree(self.folder / "consul")

    @contextmanager
    def _registrator(self, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
        gateway = _gateway(self.docker.inspect_network("bridge")["IPAM"]["Config"][0])
        argv = [PYTHON, "-m", "ecsconsul.registrator", "-label", LABEL, "-ip", gateway, "-on-exit=keep", *flags]
        environment = {**os.environ, "DOCKER_HOST": engine_url()}
        log = (self.folder / "registrator.log").open("wb")
        with log, subprocess.Popen([*argv, f"consul://{ADDRESS}:{HTTP}"], env=environment, stderr=log) as process:
            try:
                yield process
            finally:
                process.terminate()


def _gateway(config: dict[str, str]) -> str:
    """The bridge's own address; Docker takes the first of the subnet if the network has no gateway configured."""
    return config.get("Gateway") or str(next(ip_network(config["Subnet"]).hosts()))


def _await_registered(page: int, count: int) -> None:
    """Poll the Registrator and not Consul, which is busy enough."""

    def all_are() -> bool:
        state = _get(f"http://127.0.0.1:{page}/health")
        return bool(state) and state["writes"].get("register", 0) >= count

    _until(all_are, pause=0.05)


def _as_payloads(services: dict[str, Any]) -> list[dict[str, Any]]:
    """The registration payloads of an agent's services."""
    fields = ("ID", "Address", "Port", "Tags", "Meta", "TaggedAddresses")
    return [{"Name": one["Service"], **{name: one[name] for name in fields}} for one in services.values()]


def _get(url: str) -> Any:
    """The decoded answer; None if there is none."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)
    except OSError:
        return None


def _until(condition: Any, pause: float = PAUSE) -> None:
    end = time.monotonic() + 120
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("not within 120 s")
        time.sleep(pause)


def _bare_memory() -> float:
    code = "import sys; sys.stdin.read()"
    with subprocess.Popen([PYTHON, "-c", code], stdin=subprocess.PIPE) as process:
        time.sleep(0.3)
        memory = psutil.Process(process.pid).memory_info().rss / MIB
        process.kill()
    return float(memory)
