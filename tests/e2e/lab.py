"""A lab as its user sees it: a folder with a config, the `ecsconsul` command, and what can be observed from outside.

Nothing here imports ecsconsul: the tests check what a user types and reads, and what really runs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

T = TypeVar("T")
Json = dict[str, Any]
# Of every command, and of whatever is waited for; it only ends what hangs.
TIMEOUT = 180.0
LOAD_TIMEOUT = 60.0
LOOPBACK = "127.0.0.1"
FIRST_PORT, PORT_COUNT = 20000, 12000

_used_ports: set[int] = set()


@dataclass(frozen=True)
class Result:
    """The result of a command."""

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
class Lab:
    """A folder with a config.yaml, and a state directory of its own for the labs started from it."""

    folder: Path
    name: str
    variables: Mapping[str, str] = field(default_factory=dict)
    _info: Json = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def runtime(self) -> str:
        return self.variables.get("ECSCONSUL_RUNTIME", "processes")

    @property
    def state_dir(self) -> Path:
        return self.folder / "state"

    @contextmanager
    def started(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """The running command; it is killed at the end of the context.

        A Ctrl-C in the tests' terminal does not reach it.
        """
        with self._start(*words) as process:
            try:
                yield process
            finally:
                process.kill()

    def command(self) -> list[str]:
        """The words that run `ecsconsul`."""
        return [sys.executable, "-m", "ecsconsul"]

    def _start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.command(), *words],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str, timeout: float = TIMEOUT) -> Result:
        """Run the command; fails when it takes longer than `timeout` seconds."""
        started = time.monotonic()
        with self._start(*words) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise AssertionError(f"{words} took longer than {timeout} s: {process.communicate()}") from None
        return Result(process.returncode, out, err, time.monotonic() - started)

    def ok(self, *words: str, timeout: float = TIMEOUT) -> Result:
        """Run the command; fails unless it exits with 0."""
        result = self.run(*words, timeout=timeout)
        assert result.code == 0, f"ecsconsul {' '.join(words)}: exit {result.code}\n{result.out}\n{result.err}"
        return result

    def up(self, timeout: float = TIMEOUT) -> Json:
        self._info.clear()
        return self.ok("up", "--output", "json", timeout=timeout).document

    def down(self) -> Json:
        return self.ok("down", "--yes", "--output", "json").document

    @property
    def info(self) -> Json:
        """The addresses that `status` and `env` print, cached until the next `up`."""
        if not self._info:
            status = self.status()
            self._info |= {"portal": status["portal"], "dns": status["consul"]["dns"]}
            self._info |= self.ok("env", "--output", "json").document
        return self._info

    @property
    def portal(self) -> str:
        return str(self.info["portal"])

    @property
    def dns(self) -> str:
        return str(self.info["dns"])

    def status(self) -> Json:
        """The status document, healthy or not."""
        return self.run("status", "--output", "json").document

    def endpoints(self, name: str) -> list[str]:
        """The address:port of each passing instance, sorted, from Consul's own API."""
        _, body = get(f"{self.info['CONSUL_HTTP_ADDR']}/v1/health/service/{name}?passing")
        return sorted(f"{one['Service']['Address']}:{one['Service']['Port']}" for one in json.loads(body))

    def edit(self, old: str, new: str) -> None:
        """Replace a text that occurs in the config exactly once."""
        text = self.config.read_text()
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in\n{text}"
        self.config.write_text(text.replace(old, new))

    @contextmanager
    def edited(self, old: str, new: str) -> Iterator[None]:
        """Edit the config; restores the config and the lab afterwards."""
        text = self.config.read_text()
        self.edit(old, new)
        try:
            yield
        finally:
            self.config.write_text(text)
            self.up()

    @contextmanager
    def rewritten(self, path: Path, text: str) -> Iterator[None]:
        """Replace a service's file; restores the file and the lab afterwards."""
        before = path.read_text()
        path.write_text(text)
        try:
            yield
        finally:
            path.write_text(before)
            self.up()

    @contextmanager
    def scaled(self, *counts: str) -> Iterator[None]:
        """Scale services; restores the lab afterwards."""
        try:
            self.ok("scale", *counts)
            yield
        finally:
            self.up()

    def client(self, service: str) -> Any:
        """A boto3 client, configured with the output of `env`."""
        import boto3

        info = self.info
        session = boto3.Session(
            aws_access_key_id=info["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=info["AWS_SECRET_ACCESS_KEY"],
            region_name=info["AWS_REGION"],
        )
        return session.client(service, endpoint_url=info["AWS_ENDPOINT_URL"])

    def tasks(self, service: str, desired: str = "RUNNING") -> list[Json]:
        """The service's tasks as the AWS API describes them."""
        ecs = self.client("ecs")
        arns = ecs.list_tasks(cluster=self.name, serviceName=service, desiredStatus=desired)["taskArns"]
        found: list[Json] = ecs.describe_tasks(cluster=self.name, tasks=arns)["tasks"] if arns else []
        return found

    def last_words(self, lines: int = 30) -> str:
        """The end of each log, as far as there are any, the last changed one at the end."""
        logs = sorted(self.contents(".log"), key=lambda log: log[0].stat().st_mtime)
        texts = {
            path.relative_to(self.state_dir): content.decode(errors="replace").splitlines() for path, content in logs
        }
        return "\n".join("\n".join((f"--- {log}", *text[-lines:])) for log, text in texts.items())

    def described(self, service: str) -> Json:
        """The service as the AWS API describes it."""
        found: Json = self.client("ecs").describe_services(cluster=self.name, services=[service])["services"][0]
        return found

    def processes(self) -> list[psutil.Process]:
        """Every process whose command line, folder or environment names the state directory."""
        state_dir, found = str(self.state_dir), []
        for process in psutil.process_iter():
            try:
                texts = [*process.cmdline(), process.cwd(), *process.environ().values()]
            except psutil.Error:
                continue  # another user's, or one that has just exited
            if process.pid != os.getpid() and any(text.startswith(state_dir) for text in texts):
                found.append(process)
        return found

    def consuls(self) -> list[psutil.Process]:
        """The Consul agents, servers included."""
        found = []
        for process in self.processes():
            # A process may exit meanwhile.
            with suppress(psutil.Error):
                if "agent" in process.cmdline()[1:2]:
                    found.append(process)
        return found

    def agents_of(self, member: str) -> list[psutil.Process]:
        """The Consul agents with a member's name: one, or none during a restart."""
        return [process for process in self.consuls() if any(member in word for word in words_of(process))]

    def region(self) -> psutil.Process:
        """The background process that serves the AWS API."""
        [found] = self.regions()
        return found

    def regions(self) -> list[psutil.Process]:
        """All of them; there should be only one."""
        return [process for process in self.processes() if "ecsconsul.region" in words_of(process)]

    def contents(self, suffix: str = "") -> Iterator[tuple[Path, bytes]]:
        """Every file of the state directory whose name ends so.

        Consul's snapshots make, rename and remove folders there meanwhile.
        """
        for folder, _, names in os.walk(self.state_dir):
            for path in (Path(folder, name) for name in names if name.endswith(suffix)):
                with suppress(FileNotFoundError):
                    if path.is_file():
                        yield path, path.read_bytes()

    def files_with(self, text: str, suffix: str = "") -> list[Path]:
        """Those that contain a text."""
        return [path for path, found in self.contents(suffix) if text.encode() in found]

    def left(self) -> list[str]:
        """The files and folders that are left, apart from logs."""
        return [str(path) for lab in self.state_dir.glob("*") for path in lab.iterdir() if path.name != "logs"]

    def addresses(self) -> list[tuple[str, int]]:
        """Every TCP address that the lab's processes listen on."""
        pids = {process.pid for process in self.processes()}
        return [address for address, pid in listeners() if pid in pids]

    def still_taken(self, addresses: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
        """Those that are still in use; on 127.0.0.1 only by the lab, since other programs may use the port by now."""
        own = {process.pid for process in self.processes()}
        expected = set(addresses)
        return [at for at, pid in listeners() if at in expected and (at[0] != LOOPBACK or pid in own or pid is None)]

    def clear(self) -> None:
        """Remove the lab in any case; fails when `down` leaves processes behind."""
        try:
            result = self.run("down", "--yes")
        finally:
            leftovers = self.processes()
            for process in leftovers:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        assert result.code == 0, result.err
        assert leftovers == []

    def environment(self) -> dict[str, str]:
        """The user's environment, without the variables of another lab or account."""
        own = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "CONSUL_HTTP")) and k != "NO_COLOR"}
        own["ECSCONSUL_RUNTIME"] = "processes"
        return {**own, "ECSCONSUL_HOME": str(self.state_dir), "PYTHONPATH": str(REPOSITORY), **self.variables}


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


# A busy machine may stall for seconds, which no load may take for a failure of the lab's.
PATIENT_PORTAL = {
    "client.py": ("DEADLINE, CONNECT, ANSWER = 5.0, 1.0, 3.0", "DEADLINE, CONNECT, ANSWER = 30.0, 5.0, 5.0"),
    "discovery.py": ("QUERY_SECONDS = (0.5, 1.5)", "QUERY_SECONDS = (5.0, 10.0)"),
    "static/portal.js": ("AbortSignal.timeout(10000)", "AbortSignal.timeout(60000)"),
}


def write_portal(folder: Path) -> None:
    """A copy of the portal with longer timeouts."""
    shutil.copytree(REPOSITORY / "services" / "portal", folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, (old, new) in PATIENT_PORTAL.items():
        text = (folder / name).read_text()
        assert old in text, (name, old)
        (folder / name).write_text(text.replace(old, new))


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """A folder with these files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def free_port() -> int:
    """A free TCP port of 127.0.0.1, outside the dynamic range.

    No port is returned twice, since a lab listens there only later. Test processes start at different ports.
    """
    for attempt in range(PORT_COUNT):
        port = FIRST_PORT + (os.getpid() * 97 + attempt) % PORT_COUNT
        if port not in _used_ports and _can_be_bound(port):
            _used_ports.add(port)
            return port
    raise AssertionError("no free port")


def _can_be_bound(port: int) -> bool:
    with closing(socket.socket()) as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def words_of(process: psutil.Process) -> list[str]:
    """A process's command line; empty when it has just exited."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def listeners() -> list[tuple[tuple[str, int], int | None]]:
    """The address and process of every TCP listener on this machine."""
    found = [one for one in psutil.net_connections("tcp4") if one.status == psutil.CONN_LISTEN]
    return [((one.laddr.ip, one.laddr.port), one.pid) for one in found]


def listens(address: str, port: int) -> bool:
    """Whether a connection is accepted there."""
    with closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0


def get(url: str, timeout: float = 10.0) -> tuple[int, str]:
    """The status and body of a GET request, without a proxy. Raises OSError when there is no response."""
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
    argv = ["dig", f"@{host}", "-p", port, "-t", "SRV", name, "+short", "+tries=1", "+timeout=20", *more]
    found = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT, check=True)
    return sorted(found.stdout.splitlines())


def eventually(read: Callable[[], T], condition: Callable[[T], bool], timeout: float = TIMEOUT) -> T:
    """The first value of `read` that meets the condition. Polls, since there are no events from outside."""
    end = time.monotonic() + timeout
    while True:
        value = read()
        if condition(value):
            return value
        assert time.monotonic() < end, f"condition not met after {timeout} s: {value}"
        time.sleep(0.05)


def settles(read: Callable[[], T], condition: Callable[[T], bool], timeout: float = TIMEOUT) -> T:
    """Like `eventually`, but the condition must be met twice in a row: the first value may predate the damage."""
    before = False

    def twice(value: T) -> bool:
        nonlocal before
        now = condition(value)
        both, before = before and now, now
        return both

    return eventually(read, twice, timeout)


def becomes(check: Callable[[], None], timeout: float = TIMEOUT) -> None:
    """Repeat the check until it passes; raises its last AssertionError after the timeout."""
    end = time.monotonic() + timeout
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() >= end:
                raise
        time.sleep(0.05)


@dataclass
class Load:
    """Sends requests to some URLs in a loop, each over a new connection.

    Two threads keep a request in flight at any moment. More would starve a busy machine until the portal's deadline
    passes, and its 504 looks like that of an instance that accepted a request and never answered it.
    """

    urls: Sequence[str]
    threads: int = 2
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
                worker.join(LOAD_TIMEOUT)

    def wait_for_answers(self, more: int = 50, minimum: int = 100) -> None:
        """Wait for `more` answers, and for at least `minimum` in total."""
        expected = max(len(self.answers) + more, minimum)
        eventually(lambda: len(self.answers), lambda count: count > expected)

    def _work(self, number: int) -> None:
        while not self._over.is_set():
            url = self.urls[number % len(self.urls)]
            started = time.monotonic()
            try:
                status, body = get(url, LOAD_TIMEOUT)
            except OSError as error:
                self.failures.append(f"{url}: {error!r} after {time.monotonic() - started:.2f} s")
                continue
            self.answers.append((time.monotonic() - started, status, body))
            if status != 200:
                self.failures.append(f"{url}: {status} {body}")


def interrupted(process: subprocess.Popen[str], timeout: float = TIMEOUT) -> Result:
    """Interrupt a command with Ctrl-C, and wait for its result."""
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=timeout)
    return Result(process.returncode, out, err, time.monotonic() - started)


def fields(document: Json, old: str, new: str) -> dict[str, list[Any]]:
    """What each step names itself, without what follows from another step's change."""
    found = {
        step["name"]: [(f["path"], f[old], f[new]) for f in step.get("fields", ()) if not f.get("cause")]
        for step in document["steps"]
    }
    return {name: named for name, named in found.items() if named}


def mistakes(text: str) -> list[int]:
    """The line numbers of the config's mistakes in an error message, without duplicates."""
    return list(dict.fromkeys(int(number) for number in re.findall(r"config\.yaml:(\d+)", text)))
