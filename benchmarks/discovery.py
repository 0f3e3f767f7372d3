"""The time from a task's start to its SRV record, and from its death to the record's removal.

Compared with a bare loop that registers with one of the lab's agents by PUT and queries the same DNS server.
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

# each is killed twice: the first restart of a short-lived task is immediate, the second waits for a second
PROBES = tuple(f"probe-{letter}" for letter in "abcde")
KILLS = 2
LISTENS_LIMIT, KILLED_LIMIT = 0.030, 0.020

# writes the time at which it listens to a file; CLOCK_MONOTONIC is the same for all processes
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
    """What a task writes about itself; `listens` is a time.monotonic."""

    pid: int
    port: int
    listens: float


def measure(folder: Path) -> Iterator[Result]:
    lab = write_lab(folder, "discovery", {name: _probe(folder, name) for name in PROBES})
    with running(lab):
        status = lab.status()
        dns = resolver(status["consul"]["dns"])
        agent = next(m["address"] for m in status["consul"]["members"] if m["role"] == "client")
        token = lab.token()
        answered, gone, put_answered, put_gone = [], [], [], []
        for name in PROBES * KILLS:
            gone_after, answered_after = _kill(folder / name, name, dns)
            gone.append(gone_after)
            answered.append(answered_after)
            answered_after, gone_after = _put_and_take(agent, token, dns)
            put_answered.append(answered_after)
            put_gone.append(gone_after)
    for what, ours, peer, limit in (
        ("listens -> SRV answers", answered, put_answered, LISTENS_LIMIT),
        ("killed -> gone from SRV", gone, put_gone, KILLED_LIMIT),
    ):
        yield Result(what, median(ours), "a bare PUT to the agent", median(peer), limit, "seconds", spread(ours))


def _probe(folder: Path, name: str) -> dict[str, Any]:
    """A service whose tasks write down when they listen."""
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
    """Kills a service's only task; the seconds until its record is gone, and until the next task's record appears."""
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
    raise TimeoutError(f"no task started to listen: {notes} is empty")


def _put_and_take(agent: str, token: str, dns: Resolver) -> tuple[Seconds, Seconds]:
    """The floor: the seconds from a PUT to the agent until DNS has the change."""
    name, port = "bare", free_port()
    begun = time.monotonic()
    bare.put(agent, "/v1/agent/service/register", bare.registration(name, name, agent, port), token)
    answered = dns.await_ports(name, lambda ports: port in ports) - begun
    begun = time.monotonic()
    bare.put(agent, f"/v1/agent/service/deregister/{name}", token=token)
    return answered, dns.await_ports(name, lambda ports: port not in ports) - begun
