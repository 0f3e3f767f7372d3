"""A lab as a user has it: a folder with a config, the `ecsconsul` command, and what can be seen from outside.

Nothing here imports ecsconsul: the tests judge what a user types and reads, and what really runs.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

T = TypeVar("T")
Json = dict[str, Any]
PATIENCE = 60.0


@dataclass(frozen=True)
class Ran:
    """One command that has ended."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def document(self) -> Json:
        """The one JSON document on stdout."""
        found: Json = json.loads(self.out)
        return found


@dataclass
class LabAt:
    """A folder with a config.yaml and a home of its own for the labs that are started from it."""

    folder: Path
    name: str
    variables: Mapping[str, str] = field(default_factory=dict)
    _told: Json = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def runtime(self) -> str:
        return self.variables.get("ECSCONSUL_RUNTIME", "processes")

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @contextmanager
    def started(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """The command, running, and ended at the latest when the test has seen enough of it.

        A Ctrl-C of the test's own terminal does not reach it.
        """
        with self._start(*words) as process:
            try:
                yield process
            finally:
                process.kill()

    def _start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "ecsconsul", *words],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def ran(self, *words: str, timeout: float = PATIENCE) -> Ran:
        """The command, ended. Fails when it takes longer than `timeout` seconds."""
        begun = time.monotonic()
        with self._start(*words) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise AssertionError(f"{words} took longer than {timeout} s: {process.communicate()}") from None
        return Ran(process.returncode, out, err, time.monotonic() - begun)

    def ok(self, *words: str) -> Ran:
        """The command, ended with 0."""
        ran = self.ran(*words)
        assert ran.code == 0, f"ecsconsul {' '.join(words)}: exit {ran.code}\n{ran.out}\n{ran.err}"
        return ran

    def up(self) -> Json:
        self._told.clear()
        return self.ok("up", "--output", "json").document

    def down(self) -> Json:
        return self.ok("down", "--yes", "--output", "json").document

    @property
    def told(self) -> Json:
        """What `status` and `env` said since the last `up`: addresses that stay as long as the lab runs."""
        if not self._told:
            status = self.status()
            self._told |= {"portal": status["portal"], "dns": status["consul"]["dns"]}
            self._told |= self.ok("env", "--output", "json").document
        return self._told

    @property
    def portal(self) -> str:
        return str(self.told["portal"])

    @property
    def dns(self) -> str:
        return str(self.told["dns"])

    def status(self) -> Json:
        """The status document, healthy or not."""
        return self.ran("status", "--output", "json").document

    def endpoints(self, name: str) -> list[str]:
        """address:port of each instance that Consul says is passing, sorted; asked of Consul itself."""
        _, body = get(f"{self.told['CONSUL_HTTP_ADDR']}/v1/health/service/{name}?passing")
        return sorted(f"{one['Service']['Address']}:{one['Service']['Port']}" for one in json.loads(body))

    def edit(self, old: str, new: str) -> None:
        """Replace a text that stands in the config exactly once."""
        text = self.config.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in\n{text}"
        self.config.write_text(text.replace(old, new))

    @contextmanager
    def edited(self, old: str, new: str) -> Iterator[None]:
        """The config with an edit; afterwards the config and the lab are as before."""
        text = self.config.read_text()
        self.edit(old, new)
        try:
            yield
        finally:
            self.config.write_text(text)
            self.up()

    def client(self, service: str) -> Any:
        """A boto3 client made as any other program makes one, from what `env` prints."""
        import boto3

        told = self.told
        session = boto3.Session(
            aws_access_key_id=told["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=told["AWS_SECRET_ACCESS_KEY"],
            region_name=told["AWS_REGION"],
        )
        return session.client(service, endpoint_url=told["AWS_ENDPOINT_URL"])

    def tasks(self, service: str, desired: str = "RUNNING") -> list[Json]:
        """The service's tasks as the AWS API describes them."""
        ecs = self.client("ecs")
        arns = ecs.list_tasks(cluster=self.name, serviceName=service, desiredStatus=desired)["taskArns"]
        found: list[Json] = ecs.describe_tasks(cluster=self.name, tasks=arns)["tasks"] if arns else []
        return found

    def described(self, service: str) -> Json:
        """The service as the AWS API describes it."""
        found: Json = self.client("ecs").describe_services(cluster=self.name, services=[service])["services"][0]
        return found

    def processes(self) -> list[psutil.Process]:
        """Every process that works in the lab's home, was started from it, or was told of it."""
        home, found = str(self.home), []
        for process in psutil.process_iter():
            try:
                told = [*process.cmdline(), process.cwd(), *process.environ().values()]
            except psutil.Error:
                continue  # another user's, or one that has just ended
            if process.pid != os.getpid() and any(text.startswith(home) for text in told):
                found.append(process)
        return found

    def consuls(self) -> list[psutil.Process]:
        """The Consul agents, servers included."""
        found = []
        for process in self.processes():
            # one may end between the listing and the look
            with suppress(psutil.Error):
                if "agent" in process.cmdline()[1:2]:
                    found.append(process)
        return found

    def region(self) -> psutil.Process:
        """The background process that serves the AWS API."""
        return next(process for process in self.processes() if "ecsconsul.local.region" in process.cmdline())

    def left(self) -> list[str]:
        """Files and folders that are still there, but for logs."""
        return [str(path) for lab in self.home.glob("*") for path in lab.iterdir() if path.name != "logs"]

    def addresses(self) -> list[tuple[str, int]]:
        """Everything that the lab's processes listen on (TCP)."""
        pids = {process.pid for process in self.processes()}
        return [
            (connection.laddr.ip, connection.laddr.port)
            for connection in psutil.net_connections("tcp4")
            if connection.status == psutil.CONN_LISTEN and connection.pid in pids
        ]

    def clear(self) -> None:
        """Take the lab away whatever happened, and fail when the product cannot."""
        ran = self.ran("down", "--yes", timeout=PATIENCE)
        left = self.processes()
        for process in left:
            process.kill()
        assert ran.code == 0, ran.err
        assert left == []

    def _environment(self) -> dict[str, str]:
        """The user's own, without what another lab or account may have put there."""
        own = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "CONSUL_HTTP")) and k != "NO_COLOR"}
        own["ECSCONSUL_RUNTIME"] = "processes"
        return {**own, "ECSCONSUL_HOME": str(self.home), "PYTHONPATH": str(REPOSITORY), **self.variables}


REPOSITORY = Path(__file__).resolve().parents[2]

OWN_SERVICE = {
    "Dockerfile": 'FROM python:3.12-slim\nENV GREETING=hello\nWORKDIR /srv\nCOPY . .\nCMD ["python3", "main.py"]\n',
    "main.py": """\
import http.server, os, signal, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{os.environ['GREETING']} from {os.getcwd()}\\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("listening on", os.environ["HOST"], os.environ["PORT"], flush=True)
http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
""",
}


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """A folder with these files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free now, outside of the range from which dynamic ones are taken."""
    for port in range(20000 + os.getpid() % 8000, 32000):
        with closing(socket.socket()) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


def listens(address: str, port: int) -> bool:
    """Whether somebody takes a connection there."""
    with closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0


def get(url: str, timeout: float = 10.0) -> tuple[int, str]:
    """Status and body of a GET, whatever the status; no proxy. Raises OSError when there is no answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def dig(server: str, name: str, *more: str) -> list[str]:
    """The lines of BIND's `dig +short` for SRV records, sorted."""
    host, _, port = server.rpartition(":")
    argv = ["dig", f"@{host}", "-p", port, "-t", "SRV", name, "+short", "+tries=1", *more]
    found = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True)
    return sorted(found.stdout.splitlines())


def eventually(look: Callable[[], T], wanted: Callable[[T], bool], seconds: float = 15.0) -> T:
    """What `look` gives as soon as it is wanted. Nothing tells of a change from outside, so it looks again."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if wanted(found):
            return found
        assert time.monotonic() < end, f"not so after {seconds} s: {found}"
        time.sleep(0.05)


@dataclass
class Load:
    """Asks some URLs again and again from several threads, each time over a new connection."""

    urls: Sequence[str]
    threads: int = 4
    answers: list[tuple[float, int, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[Load]:
        workers = [threading.Thread(target=self._work, args=(n,), daemon=True) for n in range(self.threads)]
        for worker in workers:
            worker.start()
        try:
            yield self
        finally:
            self._over.set()
            for worker in workers:
                worker.join(20)

    def _work(self, number: int) -> None:
        while not self._over.is_set():
            url = self.urls[number % len(self.urls)]
            begun = time.monotonic()
            try:
                status, body = get(url)
            except OSError as error:
                self.failures.append(f"{url}: {error!r} after {time.monotonic() - begun:.2f} s")
                continue
            self.answers.append((time.monotonic() - begun, status, body))
            if status != 200:
                self.failures.append(f"{url}: {status} {body}")


def interrupted(process: subprocess.Popen[str], timeout: float = 20.0) -> Ran:
    """What a command does on Ctrl-C."""
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=timeout)
    return Ran(process.returncode, out, err, time.monotonic() - begun)


def mistakes(text: str) -> list[int]:
    """The line numbers of the config's mistakes in an error block, each once."""
    return list(dict.fromkeys(int(number) for number in re.findall(r"config\.yaml:(\d+)", text)))
