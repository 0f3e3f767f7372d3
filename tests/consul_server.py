"""Runs a real Consul dev agent on an address of its own, and registers services with it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests

from ecsconsul.consul.catalog import Consul, Instance
from tests.listening import tcp_and_udp
from tests.require import require

START_SECONDS = 60.0
STOP_SECONDS = 60.0
PORTS = ("http", "dns", "server", "serf_lan", "serf_wan")
FIRST_PORT = 17300


@dataclass(frozen=True)
class ConsulServer:
    """A running agent that is its own leader and is listed in the catalog."""

    host: str
    http: int
    dns: int
    node: str
    process: subprocess.Popen[str]


class AgentClient(Consul):
    """A client that also registers services with its agent, and waits for them."""

    def __init__(self, host: str, port: int, token: str = "") -> None:
        super().__init__(host, port, token=token)
        self._token = {"X-Consul-Token": token} if token else {}
        self._agent = f"http://{host}:{port}/v1/agent"

    def register(self, payload: dict[str, Any]) -> None:
        """Register a service, and replace its checks by the payload's."""
        self._put("service/register?replace-existing-checks=true", payload)

    def deregister(self, service_id: str) -> None:
        """Remove a service."""
        self._put(f"service/deregister/{quote(service_id, safe='')}")

    def service_ids(self) -> list[str]:
        """The IDs of the agent's services."""
        answer = requests.get(f"{self._agent}/services", headers=self._token, timeout=10)
        answer.raise_for_status()
        return list(answer.json())

    def passing(self, service: str) -> list[Instance]:
        """The instances of a service that pass all their checks."""
        return _passing(self.catalog().get(service, []))

    def wait_for(self, service: str, seconds: float) -> bool:
        """Whether an instance of the service passes within this time."""
        until = time.monotonic() + seconds
        index, catalog = self.next_catalog()
        while not _passing(catalog.get(service, [])) and (left := until - time.monotonic()) > 0:
            index, catalog = self.next_catalog(index, left)
        return bool(_passing(catalog.get(service, [])))

    def _put(self, path: str, payload: dict[str, Any] | None = None) -> None:
        answer = requests.put(f"{self._agent}/{path}", json=payload, headers=self._token, timeout=10)
        assert answer.ok, f"{answer.status_code} {answer.text}"


def _passing(instances: list[Instance]) -> list[Instance]:
    return [one for one in instances if one.status == "passing"]


def consul_binary() -> str:
    """The binary that tests/conftest.py has found; without one, skips the test, or fails it if Consul is required."""
    found = os.environ.get("ECSCONSUL_CONSUL_BIN")
    require("consul", bool(found), "no consul binary is set, on PATH or in the cache, and none can be fetched")
    assert found
    return found


@contextmanager
def consul_server(hcl: str = "", node: str = "i-0a1b", services: Sequence[str] = ()) -> Iterator[ConsulServer]:
    """Run a dev agent with `hcl` added to its configuration, and wait for the `services` (IDs) that it registers."""
    host = _own_address()
    ports = _free_ports(host)
    process = subprocess.Popen(_command(consul_binary(), host, ports, hcl, node), stdout=subprocess.PIPE, text=True)
    log = _Log(process, services)
    log.start()
    try:
        log.wait_until_ready()
        yield ConsulServer(host, ports["http"], ports["dns"], node, process)
    finally:
        process.kill()  # a dev agent has no data to lose
        process.wait(STOP_SECONDS)
        log.join(STOP_SECONDS)


def _command(binary: str, host: str, ports: dict[str, int], hcl: str, node: str) -> list[str]:
    listed = " ".join(f"{name} = {port}" for name, port in ports.items())
    base = f"ports {{ {listed} grpc = -1 }} disable_update_check = true"
    command = [binary, "agent", "-dev", f"-bind={host}", f"-client={host}", f"-node={node}"]
    command += ["-disable-host-node-id", f"-hcl={base}"]
    return [*command, f"-hcl={hcl}"] if hcl else command


def _own_address() -> str:
    """A random loopback address, so that parallel runs do not collide; 127.0.0.1 except on Linux."""
    if sys.platform != "linux":
        return "127.0.0.1"
    return f"127.{random.randint(64, 127)}.{random.randint(0, 255)}.{random.randint(1, 254)}"


def _free_ports(host: str) -> dict[str, int]:
    """Fixed ports below the dynamic range on an address of its own, so that no one else gets them during a restart.

    On 127.0.0.1, ports that are free for both TCP and UDP.
    """
    if host != "127.0.0.1":
        return {name: FIRST_PORT + number for number, name in enumerate(PORTS)}
    with ExitStack() as stack:
        pairs = [tcp_and_udp(host) for _ in PORTS]
        for sock in (sock for pair in pairs for sock in pair):
            stack.enter_context(sock)
        return {name: tcp.getsockname()[1] for name, (tcp, _) in zip(PORTS, pairs, strict=True)}


class _Log(threading.Thread):
    """Reads an agent's log, so that the agent never blocks on it, and notices when the agent is ready."""

    def __init__(self, process: subprocess.Popen[str], services: Sequence[str]) -> None:
        super().__init__(daemon=True)
        self._stream = process.stdout
        # its node is in the catalog, so there is a leader; its services follow one by one
        self._awaited = {"Synced node info", *(f"Synced service: service={one}" for one in services)}
        self._lines: list[str] = []
        self._ready = threading.Event()

    def run(self) -> None:
        assert self._stream is not None
        with self._stream:
            for line in self._stream:
                self._lines.append(line)
                self._awaited -= {one for one in self._awaited if line.rstrip().endswith(one)}
                if not self._awaited:
                    self._ready.set()
        self._ready.set()

    def wait_until_ready(self) -> None:
        ready = self._ready.wait(START_SECONDS)
        assert ready and self.is_alive(), "Consul did not start:\n" + "".join(self._lines)
