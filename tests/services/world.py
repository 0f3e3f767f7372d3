"""The small real world that the services' tests run in: a DNS server, an HTTP server, and gunicorn itself."""

from __future__ import annotations

import http.server
import importlib
import json
import os
import re
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.listening import reserved_port

SERVICES = Path(__file__).resolve().parents[2] / "services"
PATIENCE = 60.0


def load(folder: str) -> SimpleNamespace:
    """The modules of a service's folder; their plain names ("app") are free again afterwards."""
    path = SERVICES / folder
    names = [file.stem for file in sorted(path.glob("*.py")) if file.name != "gunicorn.conf.py"]
    sys.path.insert(0, str(path))
    try:
        modules: dict[str, ModuleType] = {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(path))
        for name in names:
            sys.modules.pop(name, None)
    return SimpleNamespace(**modules)


class Web:
    """A real HTTP server on loopback: `answers` holds (status, body), or a callable for it, by path."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        self.agents: list[str] = []
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append(self.path)
                web.agents.append(self.headers.get("User-Agent", ""))
                answer = web.answers.get(self.path, web.answers.get(self.path.partition("?")[0], (404, "no")))
                status, body = answer() if callable(answer) else answer
                data = (body if isinstance(body, str) else json.dumps(body)).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            # A client that gave up is part of the tests, not a failure of this server.
            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Dns:
    """A real DNS server over UDP and TCP on one port: `zone` holds rdata texts by (name, type).

    `truncate` makes UDP answers end after the header's TC bit; `silent` loses queries; `additional` adds the
    addresses of SRV targets; `rcode` is what every query gets when set.
    """

    def __init__(self) -> None:
        self.zone: dict[tuple[str, str], list[str]] = {}
        self.truncate = self.silent = False
        self.additional = True
        self.rcode: dns.rcode.Rcode | None = None
        self.queries: list[tuple[str, str, str]] = []
        self.before_answer: Callable[[], None] = lambda: None
        outer = self

        class Udp(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data, sock = self.request
                answer = outer.respond(data, "udp")
                if answer is not None:
                    sock.sendto(answer, self.client_address)

        class Tcp(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                size = int.from_bytes(self.rfile.read(2), "big")
                answer = outer.respond(self.rfile.read(size), "tcp")
                if answer is not None:
                    self.wfile.write(len(answer).to_bytes(2, "big") + answer)

        self._tcp, self._udp = servers(Tcp, Udp)
        self.port = self._tcp.server_address[1]
        self.address = f"127.0.0.1:{self.port}"
        for server in (self._tcp, self._udp):
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def service(self, name: str, *ports: int, priority: int = 1) -> None:
        """Registers instances on 127.0.0.1 as Consul writes them: a target per address."""
        self.zone[f"{name}.service.consul.", "SRV"] = [
            f"{priority} 1 {port} 7f000001.addr.dc1.consul." for port in ports
        ]
        self.zone["7f000001.addr.dc1.consul.", "A"] = ["127.0.0.1"]

    def respond(self, wire: bytes, transport: str) -> bytes | None:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name, kind = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
        self.queries.append((name, kind, transport))
        self.before_answer()
        if self.silent:
            return None
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        if transport == "udp" and self.truncate:
            response.flags |= dns.flags.TC
        else:
            self._fill(response, name, kind)
        return response.to_wire(max_size=65535)

    def _fill(self, response: dns.message.Message, name: str, kind: str) -> None:
        texts = self.zone.get((name, kind), [])
        known = any(owner == name for owner, _ in self.zone)
        response.set_rcode(self.rcode or (dns.rcode.NOERROR if known else dns.rcode.NXDOMAIN))
        if self.rcode or not texts:
            return
        response.answer.append(dns.rrset.from_text_list(name, 0, "IN", kind, texts))
        for target in {text.split()[3] for text in texts} if kind == "SRV" and self.additional else ():
            for of in ("A", "AAAA"):
                if (target, of) in self.zone:
                    response.additional.append(dns.rrset.from_text_list(target, 0, "IN", of, self.zone[target, of]))

    def close(self) -> None:
        for server in (self._tcp, self._udp):
            server.shutdown()
            server.server_close()


def servers(
    tcp: type[socketserver.BaseRequestHandler], udp: type[socketserver.BaseRequestHandler]
) -> tuple[socketserver.ThreadingTCPServer, socketserver.ThreadingUDPServer]:
    """Two servers at one number, which must be free for both."""
    for _ in range(100):
        one = socketserver.ThreadingTCPServer(("127.0.0.1", 0), tcp)
        try:
            return one, socketserver.ThreadingUDPServer(("127.0.0.1", one.server_address[1]), udp)
        except OSError:
            one.server_close()
    raise AssertionError("no port is free for both")


@contextmanager
def refusing_port() -> Iterator[int]:
    """A port that refuses every connection: it is taken, so that nobody else is given it, and nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield int(sock.getsockname()[1])


def get(url: str, timeout: float = PATIENCE) -> tuple[int, Any]:
    """Status and JSON (or text) of a URL."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            status, body = response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            status, body = error.code, error.read()
    try:
        return status, json.loads(body)
    except ValueError:
        return status, body.decode()


def dockerfile(folder: str) -> tuple[dict[str, str], list[str]]:
    """ENV and CMD of a service's Dockerfile, read as one who runs it without Docker would."""
    text = (SERVICES / folder / "Dockerfile").read_text()
    pairs = [pair for line in re.findall(r"^ENV (.*)$", text, re.M) for pair in line.split()]
    found = re.search(r"^CMD (\[.*\])$", text, re.M)
    assert found, "no CMD in JSON form"
    return dict(pair.split("=", 1) for pair in pairs), json.loads(found[1])


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text that stands in the file exactly once."""
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path}"
    path.write_text(text.replace(old, new))


class Task:
    """A service as the Dockerfile runs it, in a copy of its folder, without Docker.

    `edits` are what is replaced in the copy: old and new text by file.
    """

    def __init__(
        self, folder: str, copy: Path, environ: Mapping[str, str], edits: Mapping[str, tuple[str, str]] | None = None
    ) -> None:
        shutil.copytree(SERVICES / folder, copy, ignore=shutil.ignore_patterns("__pycache__"))
        for name, (old, new) in (edits or {}).items():
            edit(copy / name, old, new)
        env, self.command = dockerfile(folder)
        self._reserved = ExitStack()
        self.port = self._reserved.enter_context(reserved_port())
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = copy
        home, temp = copy.parent / f"{copy.name}-home", copy.parent / f"{copy.name}-tmp"
        home.mkdir()
        temp.mkdir()
        self.scratch = (home, temp)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.log = copy.parent / f"{copy.name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=copy,
                env={
                    **env,
                    "PATH": path,
                    "HOME": str(home),
                    "TMPDIR": str(temp),
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "PORT": str(self.port),
                    "HOST": "127.0.0.1",
                    **environ,
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_until_up(self) -> None:
        """Returns once the port accepts; there is no event from another process to wait for."""
        for _ in range(int(PATIENCE / 0.02)):
            if self.process.poll() is not None:
                raise AssertionError(f"exit {self.process.returncode}: {self.log.read_text()}")
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            threading.Event().wait(0.02)
        raise AssertionError(f"not up in {PATIENCE} s: {self.log.read_text()}")

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        self._reserved.close()


@contextmanager
def running(*tasks: Task) -> Iterator[None]:
    """The tasks, up inside and gone after."""
    try:
        for task in tasks:
            task.wait_until_up()
        yield
    finally:
        for task in tasks:
            task.close()
