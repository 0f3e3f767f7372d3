"""Serves the reconciler's state at /health (JSON) and /metrics (Prometheus text format)."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ..errors import LabError
from .reconciler import ReconcilerState

READ_SECONDS = 5.0


class StatusPage:
    """An HTTP server that runs from construction on. Raises LabError if it can't listen."""

    def __init__(self, host: str, port: int, state: Callable[[], ReconcilerState]) -> None:
        try:
            self._server = ThreadingHTTPServer((host, port), partial(_Handler, state))
        except OSError as error:
            why = error.strerror or str(error)
            raise LabError("Can't serve the status page", where=f"{host}:{port}", why=why) from error
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="status-page", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(READ_SECONDS)


class _Handler(BaseHTTPRequestHandler):
    timeout = READ_SECONDS

    def __init__(self, state: Callable[[], ReconcilerState], *arguments: object) -> None:
        self._state = state
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        state = self._state()
        path = self.path.partition("?")[0]
        if path == "/health":
            self._answer(200 if state.healthy else 503, "application/json", health(state))
        elif path == "/metrics":
            self._answer(200, "text/plain; version=0.0.4; charset=utf-8", metrics(state))
        else:
            self._answer(404, "text/plain", "not found; try /health or /metrics\n")

    def log_message(self, *arguments: object) -> None:
        """Don't log requests: they arrive every few seconds."""

    def _answer(self, code: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def health(state: ReconcilerState) -> str:
    """The state as a JSON document; its `status` is ok or failing."""
    return json.dumps({"status": "ok" if state.healthy else "failing", **asdict(state)}) + "\n"


def metrics(state: ReconcilerState) -> str:
    """The state in Prometheus' text format."""
    return "\n".join(_lines(state)) + "\n"


def _lines(state: ReconcilerState) -> Iterator[str]:
    gauges = {
        "registrator_docker_up": ("Whether Docker's event stream is open.", int(state.docker)),
        "registrator_consul_up": ("Whether the Consul agent answers.", int(state.consul)),
        "registrator_complete": ("Whether every container has been inspected since the start.", int(state.complete)),
        "registrator_containers": ("Containers that have services in the catalog.", state.containers),
        "registrator_services": ("Services of these containers.", state.services),
    }
    for name, (help_text, value) in gauges.items():
        yield from (f"# HELP {name} {help_text}", f"# TYPE {name} gauge", f"{name} {value}")
    counters = {
        "registrator_consul_writes_total": ("Successful writes to Consul.", state.writes),
        "registrator_consul_write_failures_total": ("Writes to Consul that failed or were refused.", state.failures),
    }
    for name, (help_text, values) in counters.items():
        yield from (f"# HELP {name} {help_text}", f"# TYPE {name} counter")
        yield from (f'{name}{{action="{action}"}} {values.get(action, 0)}' for action in ("register", "deregister"))
    name = "registrator_docker_losses_total"
    yield from (f"# HELP {name} How often Docker's event stream was lost.", f"# TYPE {name} counter")
    yield f"{name} {state.docker_disconnects}"
