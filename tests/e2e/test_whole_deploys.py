"""Rolling deploys of whole task definitions under load: sidecar, named ports, UDP, secret, volume, environment file."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import dns.exception
import dns.message
import dns.query
import dns.rdatatype
import pytest

from tests.e2e.lab import Lab, eventually

SECRET = "not for logs 51d0"
# each of the two answers at its own port, and ends when it is told to
PARTS = """
import http.server, json, os, signal, socket, sys, threading

def end(*_):
    sys.exit(0)

signal.signal(signal.SIGTERM, end)
HOST = os.environ.get("HOST", "0.0.0.0")
"""
ORDERS = f"""{PARTS}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        found = {{"secret": os.environ["TOKEN"], "file": os.environ["FROM_FILE"], "version": os.environ.get("VERSION"),
                 "shared": open("/shared/text").read()}}
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

ports = [int(os.environ.get("PORT", "8000")), int(os.environ.get("PORT_8001", "8001"))]
first, second = [http.server.ThreadingHTTPServer((HOST, port), Handler) for port in ports]
threading.Thread(target=first.serve_forever, daemon=True).start()
second.serve_forever()
"""
SIDECAR = f"""{PARTS}
open("/shared/text", "w").write("from the sidecar")
found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
found.bind((HOST, int(os.environ.get("PORT", "9000"))))
while True:
    data, sender = found.recvfrom(100)
    found.sendto(os.environ.get("VERSION", "none").encode(), sender)
"""
DOCKERFILE = """ARG BASE=python:3.12-slim
FROM ${BASE}
USER root
COPY app.py .
CMD ["python3", "app.py"]
"""
SERVICES = """local: {secrets: secrets.env}
services:
  orders:
    path: orders
    count: 2
    memory: 64
    ports:
      - {port: 8000, name: orders, check: /}
      - {port: 8001, name: orders-admin, check: {tcp: true}}
    env_file: orders.env
    secrets: {TOKEN: /orders/token}
    volumes: ["shared:/shared"]
    depends_on: {store: HEALTHY}
    containers:
      store:
        path: store
        memory: 64
        ports: [{port: 9000, protocol: udp, name: orders-store}]
        volumes: ["shared:/shared"]
        health_check: {command: test -f /shared/text, start_period: 60s}
"""


@pytest.fixture
def orders(lab: Lab) -> Iterator[Lab]:
    """The lab with a service of two containers, which is removed afterwards."""
    for name, program in (("orders", ORDERS), ("store", SIDECAR)):
        folder = lab.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "app.py").write_text(program)
        (folder / "Dockerfile").write_text(DOCKERFILE)
    (lab.folder / "orders.env").write_text("FROM_FILE=of the file\n")
    (lab.folder / "secrets.env").touch(mode=0o600)
    (lab.folder / "secrets.env").write_text(f"TOKEN={SECRET}\n")
    with lab.edited("services:\n", SERVICES):
        lab.up()
        yield lab


# Sends a request to an endpoint; what it returns reads the answer.
Send = Callable[[str, int], Callable[[], None]]
PATIENCE = 20.0
# A task stops a second after it has left DNS at the earliest. Who uses an answer later than that is as slow as only a
# busy machine makes it, and what it meets then says nothing about the lab.
PROMPT, QUICK = 0.5, 1.0


@dataclass
class Callers:
    """Each asks Consul for a name, and uses the first answer at once; nothing is tried again."""

    dns: str
    failures: list[str] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)
    slow: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self, **names: Send) -> Iterator[None]:
        """Every name is called in a thread of its own; underscores stand for hyphens."""
        threads = [threading.Thread(target=self._work, args=(n.replace("_", "-"), c)) for n, c in names.items()]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join(3 * PATIENCE)

    def _work(self, name: str, send: Send) -> None:
        while not self._over.wait(0.01):
            started = time.monotonic()
            try:
                endpoint = self._endpoint(name)
            except (OSError, LookupError, dns.exception.DNSException) as error:
                self.failures.append(f"{name}: {error!r} after {time.monotonic() - started:.2f} s")
            else:
                self._call(name, send, endpoint)

    def _call(self, name: str, send: Send, endpoint: tuple[str, int]) -> None:
        answered, sent = time.monotonic(), None
        try:
            read = send(*endpoint)
            sent = time.monotonic()
            read()
        except (OSError, LookupError) as error:
            ended = time.monotonic()
            is_late = (sent or ended) - answered > PROMPT
            # a task that takes a request and never answers is no machine's fault
            is_slow = ended - answered > QUICK and not isinstance(error, TimeoutError)
            found = self.slow if is_late or is_slow else self.failures
            found.append(f"{name} at {endpoint}: {error!r} after {ended - answered:.2f} s")
        else:
            self.answers[name] = self.answers.get(name, 0) + 1

    def _endpoint(self, name: str) -> tuple[str, int]:
        host, _, port = self.dns.rpartition(":")
        question = dns.message.make_query(f"{name}.service.consul.", dns.rdatatype.SRV)
        answer = dns.query.udp(question, host, port=int(port), timeout=PATIENCE)
        addresses = {one.name: one[0].address for one in answer.additional if one.rdtype == dns.rdatatype.A}
        record = answer.answer[0][0]
        return addresses[record.target], record.port


def by_http(host: str, port: int) -> Callable[[], None]:
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)
    connection.request("GET", "/", headers={"Connection": "close"})

    def read() -> None:
        with closing(connection):
            answer = connection.getresponse()
            body = answer.read().decode()
        expected = {"secret": SECRET, "file": "of the file", "shared": "from the sidecar"}
        if answer.status != 200 or not expected.items() <= json.loads(body).items():
            raise LookupError(f"{answer.status} {body}")

    return read


def by_udp(host: str, port: int) -> Callable[[], None]:
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.settimeout(PATIENCE)
    sender.connect((host, port))
    sender.send(b"version?")

    def read() -> None:
        with closing(sender):
            sender.recv(100)

    return read


def test_no_request_fails_while_a_whole_task_is_replaced(orders: Lab) -> None:
    callers = Callers(orders.dns)
    with callers.running(orders=by_http, orders_admin=by_http, orders_store=by_udp):
        eventually(lambda: len(callers.answers), lambda found: found == 3)
        orders.ok("deploy", "orders", "--env", "VERSION=2")
        orders.ok("rollback", "orders")
        (orders.folder / "store" / "app.py").write_text(SIDECAR + "# another version\n")
        orders.up()
        before = dict(callers.answers)
        eventually(lambda: dict(callers.answers), lambda now: all(now[name] > before[name] + 20 for name in before))
    assert callers.failures == []
    assert min(callers.answers.values()) > 100
    assert len(callers.slow) < 10, callers.slow
    assert orders.files_with(SECRET, ".log") == []
