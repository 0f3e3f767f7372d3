"""The bare script: starts the lab's Consul agents and three services at once, registers them, and looks them up.

It's the floor of a cold `ecsconsul up`: without AWS, copies of sources, supervision, or progress.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.lab import SERVICES, free_port
from benchmarks.measure import PYTHON, Seconds
from benchmarks.srv import PATIENCE, PAUSE, Resolver
from ecsconsul.paths import services_dir

# loopback addresses that labs don't choose first, where Consul's default ports are free
SERVER, CLIENTS = "127.254.77.1", ("127.254.77.2", "127.254.77.3")
HTTP, DNS = 8500, 8600
LOOPBACK = "127.0.0.1"
GUNICORN = str(Path(PYTHON).with_name("gunicorn"))


def seconds_to_answer(consul: str, folder: Path) -> Seconds:
    """The time until the last of the three SRV lookups succeeds; then stops everything."""
    begun = time.perf_counter()
    with _processes() as start:
        for address in (SERVER, *CLIENTS):
            start([consul, "agent", "-config-file", str(_write_agent(folder, address))])
        places = [(name, CLIENTS[i % len(CLIENTS)], free_port()) for i, name in enumerate(SERVICES)]
        for name, address, port in places:
            start([GUNICORN, "app:create_app()"], cwd=services_dir() / name, env=_environment(name, address, port))
        with ThreadPoolExecutor(len(places)) as pool:
            list(pool.map(lambda place: _register_and_find(*place), places))
        return time.perf_counter() - begun


def seconds_to_listen(service: str) -> Seconds:
    """The time until one of the three services, started by hand, answers its check; then stops it."""
    port = free_port()
    with _processes() as start:
        begun = time.perf_counter()
        start([GUNICORN, "app:create_app()"], cwd=services_dir() / service, env=_environment(service, LOOPBACK, port))
        _until(lambda: _request(LOOPBACK, "GET", "/health", port=port) == b"OK")
        return time.perf_counter() - begun


def put(address: str, path: str, body: dict[str, Any] | None = None, token: str = "") -> None:
    """Sends a PUT to an agent. Raises OSError if it doesn't answer, RuntimeError if it returns an error."""
    _request(address, "PUT", path, json.dumps(body) if body else "", token=token)


def registration(name: str, service_id: str, address: str, port: int) -> dict[str, Any]:
    """The registration of a service that already passes its check."""
    check = {"HTTP": f"http://{address}:{port}/health", "Interval": "10s", "Status": "passing"}
    return {"ID": service_id, "Name": name, "Address": address, "Port": port, "Tags": ["http"], "Check": check}


def _register_and_find(name: str, address: str, port: int) -> None:
    # an agent without a leader may delay the registration by 15 s
    _until(lambda: _request(address, "GET", "/v1/status/leader") != b'""')
    _until(lambda: _request(address, "GET", "/health", port=port) == b"OK")
    put(address, "/v1/agent/service/register", registration(name, name, address, port))
    Resolver(SERVER, DNS).await_ports(name, lambda ports: port in ports)


def _request(address: str, method: str, path: str, body: str = "", *, port: int = HTTP, token: str = "") -> bytes:
    connection = http.client.HTTPConnection(address, port, timeout=5)
    try:
        connection.request(method, path, body, {"X-Consul-Token": token} if token else {})
        response = connection.getresponse()
        said = response.read()
        if response.status != 200:
            raise RuntimeError(f"{method} {path}: {response.status} {said.decode(errors='replace')}")
        return said
    finally:
        connection.close()


def _until(look: Callable[[], bool]) -> None:
    """Polls until it's true; errors count as false."""
    end = time.monotonic() + PATIENCE
    while True:
        with suppress(OSError, http.client.HTTPException, RuntimeError):
            if look():
                return
        if time.monotonic() > end:
            raise TimeoutError(f"timed out after {PATIENCE:.0f} s")
        time.sleep(PAUSE)


def _write_agent(folder: Path, address: str) -> Path:
    """Writes the configuration that the local region gives its agents."""
    config: dict[str, Any] = {
        "node_name": address.replace(".", "-"),
        "data_dir": str(folder / address),
        "bind_addr": address,
        "client_addr": address,
        "ports": {"http": HTTP, "dns": DNS, "serf_wan": -1, "grpc": -1},
        "retry_join": [] if address == SERVER else [SERVER],
        "retry_interval": "200ms",
        "performance": {"raft_multiplier": 1},
        "disable_update_check": True,
    }
    if address == SERVER:
        config |= {"server": True, "bootstrap_expect": 1}
    path = folder / f"{address}.json"
    path.write_text(json.dumps(config))
    return path


def _environment(service: str, address: str, port: int) -> dict[str, str]:
    own = SERVICES[service]["environment"]
    return {**os.environ, **own, "HOST": address, "PORT": str(port), "CONSUL_DNS": f"{SERVER}:{DNS}"}


@contextmanager
def _processes() -> Iterator[Callable[..., None]]:
    """Starts processes, and kills them and their children on exit."""
    started: list[subprocess.Popen[bytes]] = []

    def start(argv: list[str], **options: Any) -> None:
        null = subprocess.DEVNULL
        process = subprocess.Popen(argv, stdin=null, stdout=null, stderr=null, start_new_session=True, **options)
        started.append(process)

    try:
        yield start
    finally:
        for process in started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for process in started:
            process.wait()
