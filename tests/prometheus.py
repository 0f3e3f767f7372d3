"""A real Prometheus on loopback, and Consul's service discovery for one that was built without it, as Debian's is."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests

from ecsconsul.consul.catalog import Consul
from tests.listening import free_port
from tests.require import require

STOP_SECONDS = 20.0


def require_prometheus() -> None:
    """Skips a test without Prometheus."""
    require("prometheus", bool(shutil.which("prometheus")), "prometheus is missing")
    require("prometheus", bool(shutil.which("promtool")), "promtool is missing")


def promtool(*argv: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run promtool in a folder."""
    return subprocess.run(["promtool", *argv], cwd=folder, capture_output=True, text=True, timeout=30)


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    url: str

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API, which must not be an error."""
        answer = requests.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=10)
        assert answer.ok, f"{path} {parameters}: {answer.text}"
        return answer.json()["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What an expression is now."""
        found: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return found

    def targets(self) -> list[dict[str, Any]]:
        """The targets that it scrapes."""
        found: list[dict[str, Any]] = self.get("targets", state="active")["activeTargets"]
        return found

    def is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/-/ready", timeout=5).ok
        except requests.RequestException:
            return False


@contextmanager
def prometheus(config: Path, data: Path, until: Callable[..., None]) -> Iterator[Prometheus]:
    """Runs until the end of the context."""
    port = free_port()
    listen, storage = f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={data}"
    argv = ["prometheus", f"--config.file={config}", storage, listen, "--log.level=warn"]
    with (data.parent / f"{data.name}.log").open("w+") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT)
        try:
            found = Prometheus(f"http://127.0.0.1:{port}")
            until(lambda: found.is_ready() or process.poll() is not None)
            assert process.poll() is None, Path(log.name).read_text()
            yield found
        finally:
            process.kill()
            process.wait(STOP_SECONDS)


class _Targets(BaseHTTPRequestHandler):
    """What Prometheus finds out from Consul, by its HTTP discovery: `/?service=consul` for one service, `/` for all.

    https://prometheus.io/docs/prometheus/latest/configuration/configuration/#consul_sd_config
    """

    server: Discovery

    def do_GET(self) -> None:
        assert self.headers["Authorization"] == f"Bearer {self.server.consul_token}"
        only = parse_qs(urlsplit(self.path).query).get("service")
        catalog = self.server.consul.catalog()
        targets = [
            {
                "targets": [f"{one.address}:{one.port}"],
                "labels": {
                    "__meta_consul_address": one.address,
                    "__meta_consul_node": one.node,
                    "__meta_consul_service": service,
                    "__meta_consul_service_id": one.id,
                    "__meta_consul_health": one.status,
                },
            }
            for service, instances in catalog.items()
            for one in instances
            if only is None or service in only
        ]
        body = json.dumps(targets).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Discovery(ThreadingHTTPServer):
    """Answers Prometheus from the catalog of a Consul."""

    daemon_threads = True

    def __init__(self, consul: Consul, token: str) -> None:
        super().__init__(("127.0.0.1", 0), _Targets)
        self.consul = consul
        self.consul_token = token

    def instead_of(self, consul_sd: dict[str, Any]) -> dict[str, Any]:
        """An `http_sd_configs` that finds what this `consul_sd_configs` would."""
        query = "".join(f"?service={name}" for name in consul_sd.get("services", ()))
        authorization = {"authorization": consul_sd["authorization"]}
        return {"url": f"http://127.0.0.1:{self.server_port}/{query}", "refresh_interval": "1s", **authorization}


@contextmanager
def discovery(consul: Consul, token: str) -> Iterator[Discovery]:
    """Runs until the end of the context."""
    server = Discovery(consul, token)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
