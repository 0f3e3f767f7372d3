"""Serves /health and /metrics (Prometheus' text format) at one address; what they say is the sync's own state."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ..errors import LabError
from .reconciler import State

READ_SECONDS = 5.0


class StatusPage:
    """Listens from the start on. Raises LabError where it cannot."""

    def __init__(self, host: str, port: int, state: Callable[[], State]) -> None:
        try:
            self._server = ThreadingHTTPServer((host, port), partial(_Handler, state))
        except OSError as error:
            why = error.strerror or str(error)
            raise LabError("The status page cannot be served", where=f"{host}:{port}", why=why) from error
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="status-page", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(READ_SECONDS)


class _Handler(BaseHTTPRequestHandler):
    timeout = READ_SECONDS

    def __init__(self, state: Callable[[], State], *arguments: object) -> None:
        self._state = state
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        state = self._state()
        path = self.path.partition("?")[0]
        if path == "/health":
            self._answer(200 if state.is_well else 503, "application/json", health(state))
        elif path == "/metrics":
            self._answer(200, "text/plain; version=0.0.4; charset=utf-8", metrics(state))
        else:
            self._answer(404, "text/plain", "there are /health and /metrics\n")

    def log_message(self, *arguments: object) -> None:
        """Requests are not logged: they come every few seconds."""

    def _answer(self, code: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def health(state: State) -> str:
    """The state as a JSON document, `status` ok or failing before all else."""
    return json.dumps({"status": "ok" if state.is_well else "failing", **asdict(state)}) + "\n"


def metrics(state: State) -> str:
    """The state in Prometheus' text format."""
    return "\n".join(_lines(state)) + "\n"


def _lines(state: State) -> Iterator[str]:
    gauges = {
        "registrator_docker_up": ("Whether Docker's events are followed.", int(state.docker)),
        "registrator_consul_up": ("Whether the Consul agent answers.", int(state.consul)),
        "registrator_complete": ("Whether every container was looked at since the start.", int(state.complete)),
        "registrator_containers": ("Containers that are in the catalog.", state.containers),
        "registrator_services": ("Services that these containers are.", state.wanted),
    }
    for name, (help_text, value) in gauges.items():
        yield from (f"# HELP {name} {help_text}", f"# TYPE {name} gauge", f"{name} {value}")
    counters = {
        "registrator_consul_writes_total": ("What Consul was told.", state.tellings),
        "registrator_consul_write_failures_total": ("What Consul could not be told, or refused.", state.failures),
    }
    for name, (help_text, values) in counters.items():
        yield from (f"# HELP {name} {help_text}", f"# TYPE {name} counter")
        yield from (f'{name}{{deed="{deed}"}} {values.get(deed, 0)}' for deed in ("register", "deregister"))
    name = "registrator_docker_losses_total"
    yield from (f"# HELP {name} How often Docker's events were lost.", f"# TYPE {name} counter")
    yield f"{name} {state.docker_losses}"
