"""From "a task listens" to "SRV answers", and from "a task is killed" to "gone from SRV".

Beside a bare loop that tells one of the lab's agents by PUT and asks the same DNS server.
"""

from __future__ import annotations

import json
import os
import signal
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import bare
from benchmarks.lab import free_port, running, write_lab
from benchmarks.measure import Result, Seconds, median, spread
from benchmarks.srv import PATIENCE, PAUSE, Resolver, resolver

# Each is killed twice: the first restart of a task that did not live long is immediate, the second waits for a second.
PROBES = tuple(f"probe-{letter}" for letter in "abcde")
KILLS = 2
LIMIT = 0.3

# The moment at which it listens is noted in a file of its own; CLOCK_MONOTONIC is the same in all processes.
SERVER = """\
    import http.server, json, os, pathlib, time

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

    port = int(os.environ["PORT"])
    server = http.server.ThreadingHTTPServer((os.environ["HOST"], port), Handler)
    listens = time.monotonic()
    note = pathlib.Path(os.environ["NOTES"], f"{os.getpid()}.new")
    note.write_text(json.dumps({"pid": os.getpid(), "port": port, "listens": listens}))
    note.rename(note.with_suffix(".json"))
    server.serve_forever()
    """
DOCKERFILE = """\
    FROM python:3.12-slim
    WORKDIR /app
    COPY . .
    CMD ["python", "server.py"]
    """


@dataclass(frozen=True)
class Note:
    """What a task said of itself; `listens` is a time.monotonic."""

    pid: int
    port: int
    listens: float


def measure(folder: Path) -> Iterator[Result]:
    lab = write_lab(folder, "discovery", {name: _probe(folder, name) for name in PROBES})
    with running(lab):
        status = lab.status()
        dns = resolver(status["consul"]["dns"])
        agent = next(m["address"] for m in status["consul"]["members"] if m["role"] == "client")
        answered, gone, put_answered, put_gone = [], [], [], []
        for name in PROBES * KILLS:
            gone_after, answered_after = _kill(folder / name, name, dns)
            gone.append(gone_after)
            answered.append(answered_after)
            answered_after, gone_after = _put_and_take(agent, dns)
            put_answered.append(answered_after)
            put_gone.append(gone_after)
    for what, ours, peer in (
        ("listens -> SRV answers", answered, put_answered),
        ("killed -> gone from SRV", gone, put_gone),
    ):
        yield Result(what, median(ours), "a bare PUT to the agent", median(peer), LIMIT, "seconds", spread(ours))


def _probe(folder: Path, name: str) -> dict[str, Any]:
    """A service whose tasks note when they listen."""
    source, notes = folder / f"{name}-source", folder / name
    source.mkdir()
    notes.mkdir()
    (source / "server.py").write_text(textwrap.dedent(SERVER))
    (source / "Dockerfile").write_text(textwrap.dedent(DOCKERFILE))
    return {
        "path": str(source),
        "port": 4567,
        "memory": 50,
        "environment": {"NOTES": str(notes)},
        "check": {"http": "/health", "interval": "10s"},
    }


def _kill(notes: Path, name: str, dns: Resolver) -> tuple[Seconds, Seconds]:
    """Kill a service's only task: how long SRV still answers, and how long it does not when the next one listens."""
    before = _await_note(notes)
    dns.await_ports(name, lambda ports: before.port in ports)
    notes.joinpath(f"{before.pid}.json").unlink()
    killed = time.monotonic()
    os.kill(before.pid, signal.SIGKILL)
    gone = dns.await_ports(name, lambda ports: before.port not in ports)
    after = _await_note(notes)
    answered = dns.await_ports(name, lambda ports: after.port in ports)
    return gone - killed, answered - after.listens


def _await_note(notes: Path) -> Note:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for path in notes.glob("*.json"):
            return Note(**json.loads(path.read_text()))
        time.sleep(PAUSE)
    raise TimeoutError(f"no task notes in {notes} that it listens")


def _put_and_take(agent: str, dns: Resolver) -> tuple[Seconds, Seconds]:
    """The floor: how long DNS takes to learn what an agent is told."""
    name, port = "bare", free_port()
    begun = time.monotonic()
    bare.put(agent, "/v1/agent/service/register", bare.registration(name, name, agent, port))
    answered = dns.await_ports(name, lambda ports: port in ports) - begun
    begun = time.monotonic()
    bare.put(agent, f"/v1/agent/service/deregister/{name}")
    return answered, dns.await_ports(name, lambda ports: port not in ports) - begun
