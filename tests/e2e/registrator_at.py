"""Runs the registrator command between a real Docker engine and a real Consul agent."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docker import APIClient
from docker.errors import APIError, NotFound

from tests.consul_server import _free_ports, _own_address, consul_binary
from tests.docker_engine import docker
from tests.require import require

TIMEOUT = 60.0
POLL_INTERVAL = 0.02
LABEL = "ecsconsul-test.registrator"
IMAGE_DOCKERFILE = """\
FROM scratch
COPY busybox /bin/busybox
COPY health /www/health
EXPOSE 80
ENTRYPOINT ["/bin/busybox"]
CMD ["httpd", "-f", "-p", "80", "-h", "/www"]
"""


def tiny_image(url: str, folder: Path) -> str:
    """Build an image with a tiny web server; returns its name."""
    busybox = shutil.which("busybox")
    require("busybox", bool(busybox), "no busybox (Debian's busybox-static)")
    assert busybox
    shutil.copy(busybox, folder / "busybox")
    (folder / "health").write_text("OK\n")
    (folder / "Dockerfile").write_text(IMAGE_DOCKERFILE)
    docker(url, "build", "-q", "-t", "ecsconsul-test-tiny", str(folder))
    return "ecsconsul-test-tiny"


@dataclass
class ConsulAt:
    """A Consul server that can be killed and started again, with or without its state."""

    folder: Path
    host: str = field(default_factory=_own_address)
    ports: dict[str, int] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"consul://{self.host}:{self.ports['http']}"

    def start(self, *, lose_state: bool = False) -> None:
        """Start, and wait until there is a leader."""
        self.ports = self.ports or _free_ports(self.host)
        if lose_state:
            shutil.rmtree(self.folder / "data", ignore_errors=True)
        config = {
            "node_name": "i-0e2e",
            "data_dir": str(self.folder / "data"),
            "bind_addr": self.host,
            "client_addr": self.host,
            "ports": {**self.ports, "grpc": -1},
            "server": True,
            "bootstrap_expect": 1,
            "performance": {"raft_multiplier": 1},
            "disable_update_check": True,
        }
        path = self.folder / "consul.json"
        path.write_text(json.dumps(config))
        with (self.folder / "consul.log").open("ab") as log:
            argv = [consul_binary(), "agent", "-config-file", str(path)]
            self._process = subprocess.Popen(argv, stdout=log, stderr=log)
        eventually(lambda: self.get("/v1/status/leader"))

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(TIMEOUT)

    def get(self, path: str) -> Any:
        """The decoded answer; None if there is none."""
        try:
            with urllib.request.urlopen(f"http://{self.host}:{self.ports['http']}{path}", timeout=5) as answer:
                return json.load(answer)
        except (OSError, urllib.error.URLError):
            return None

    def put(self, path: str, body: object) -> None:
        url = f"http://{self.host}:{self.ports['http']}{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), method="PUT")
        urllib.request.urlopen(request, timeout=5).close()

    def services(self) -> dict[str, int]:
        """The ports of the agent's services by ID."""
        return {one["ID"]: one["Port"] for one in (self.get("/v1/agent/services") or {}).values()}

    def catalog(self, name: str, *, passing: bool = False) -> set[str]:
        """The IDs of a service's instances in Consul's catalog."""
        found = self.get(f"/v1/health/service/{name}" + ("?passing" if passing else "")) or ()
        return {one["Service"]["ID"] for one in found}


@dataclass
class Containers:
    """Containers of the tiny image, labelled as belonging to one test."""

    url: str
    image: str
    test_id: str
    _client: APIClient = None

    def __post_init__(self) -> None:
        self._client = APIClient(base_url=self.url, version="auto", max_pool_size=32)

    @property
    def label(self) -> str:
        return f"{LABEL}={self.test_id}"

    def run(self, name: str, environment: dict[str, str] | None = None, **options: Any) -> str:
        """Start a container that publishes port 80; returns its ID."""
        made = self._client.create_container(
            self.image,
            name=f"{self.test_id}-{name}",
            labels={LABEL: self.test_id},
            environment=environment or {},
            ports=[80],
            host_config=self._client.create_host_config(port_bindings={80: None}, network_mode="bridge"),
            **options,
        )
        self._client.start(made["Id"])
        return str(made["Id"])

    def run_many(self, names: Sequence[str], environment: dict[str, str] | None = None) -> list[str]:
        with ThreadPoolExecutor(6) as pool:
            return list(pool.map(lambda name: self.run(name, environment), names))

    def kill(self, container: str, sig: str = "SIGKILL") -> None:
        self._client.kill(container, signal=sig)

    def stop(self, container: str, seconds: float = 10) -> None:
        self._client.stop(container, timeout=int(seconds))

    def pause(self, container: str) -> None:
        self._client.pause(container)

    def unpause(self, container: str) -> None:
        self._client.unpause(container)

    def execute(self, container: str, *command: str) -> None:
        self._client.exec_start(self._client.exec_create(container, ["/bin/busybox", *command])["Id"])

    def remove(self, container: str) -> None:
        self._client.remove_container(container, force=True)

    def rename(self, container: str, name: str) -> None:
        self._client.rename(container, f"{self.test_id}-{name}")

    def ids(self, *, ended: bool = False) -> list[str]:
        return [one["Id"] for one in self._client.containers(all=ended, filters={"label": self.label})]

    def running(self, hostname: str) -> dict[str, int]:
        """The ports by ID that the running containers must have in Consul."""
        found = {}
        for container in self.ids():
            with suppress(NotFound):
                details = self._client.inspect_container(container)
                published = details["NetworkSettings"]["Ports"].get("80/tcp")
                if details["State"]["Running"] and not details["State"]["Paused"] and published:
                    found[f"{hostname}:{details['Name'][1:]}:80"] = int(published[0]["HostPort"])
        return found

    def clear(self) -> None:
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(self._remove, self.ids(ended=True)))

    def _remove(self, container: str) -> None:
        with suppress(APIError):
            self._client.remove_container(container, force=True)


@dataclass
class RegistratorAt:
    """The registrator command in a process of its own."""

    folder: Path
    docker: str
    arguments: list[str]
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {**os.environ, "DOCKER_HOST": self.docker}
        with (self.folder / "registrator.log").open("ab") as log:
            argv = [sys.executable, "-m", "ecsconsul.registrator", *self.arguments]
            self.process = subprocess.Popen(argv, env=environment, stdout=log, stderr=log)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(TIMEOUT)

    def terminate(self, seconds: float = TIMEOUT) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    @property
    def log(self) -> str:
        return (self.folder / "registrator.log").read_text()


@contextmanager
def socket_proxy(path: Path, target: str) -> Iterator[Callable[[], None]]:
    """A Unix socket that forwards to another one; yields a function that drops every connection."""
    import socket

    connections: list[socket.socket] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(64)

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(target)
                connections.extend((client, server))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    def drop() -> None:
        while connections:
            one = connections.pop()
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield drop
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        drop()


def eventually(condition: Callable[[], Any], seconds: float = TIMEOUT) -> Any:
    """Wait until the condition holds; returns its value."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not after {seconds} s"
        # the condition depends on other processes, which notify nobody
        time.sleep(POLL_INTERVAL)
    return found
