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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

T = TypeVar("T")
Json = dict[str, Any]
PATIENCE = 60.0
# of the first one, which has everything still to build
FIRST_UP = 180.0
HOME = "127.0.0.1"
FIRST_PORT, PORTS = 20000, 12000

_given: set[int] = set()


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

    def ok(self, *words: str, timeout: float = PATIENCE) -> Ran:
        """The command, ended with 0."""
        ran = self.ran(*words, timeout=timeout)
        assert ran.code == 0, f"ecsconsul {' '.join(words)}: exit {ran.code}\n{ran.out}\n{ran.err}"
        return ran

    def up(self, timeout: float = PATIENCE) -> Json:
        self._told.clear()
        return self.ok("up", "--output", "json", timeout=timeout).document

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

    @contextmanager
    def rewritten(self, path: Path, text: str) -> Iterator[None]:
        """A file of a service with another text; afterwards the file and the lab are as before."""
        before = path.read_text()
        path.write_text(text)
        try:
            yield
        finally:
            path.write_text(before)
            self.up()

    @contextmanager
    def scaled(self, *counts: str) -> Iterator[None]:
        """The lab with other counts than the config's; afterwards it is as before."""
        try:
            self.ok("scale", *counts)
            yield
        finally:
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

    def agents_of(self, member: str) -> list[psutil.Process]:
        """The Consul agents that bear a member's name: one, but while it is started anew."""
        return [process for process in self.consuls() if any(member in word for word in words_of(process))]

    def region(self) -> psutil.Process:
        """The background process that serves the AWS API."""
        [found] = self.regions()
        return found

    def regions(self) -> list[psutil.Process]:
        """All that do: one, or something is wrong."""
        return [process for process in self.processes() if "ecsconsul.region" in words_of(process)]

    def left(self) -> list[str]:
        """Files and folders that are still there, but for logs."""
        return [str(path) for lab in self.home.glob("*") for path in lab.iterdir() if path.name != "logs"]

    def addresses(self) -> list[tuple[str, int]]:
        """Everything that the lab's processes listen on (TCP)."""
        pids = {process.pid for process in self.processes()}
        return [address for address, pid in listeners() if pid in pids]

    def still_taken(self, addresses: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
        """Those where somebody still listens; at 127.0.0.1, where others may be given a port since, one of the lab."""
        own = {process.pid for process in self.processes()}
        wanted = set(addresses)
        return [at for at, pid in listeners() if at in wanted and (at[0] != HOME or pid in own or pid is None)]

    def clear(self) -> None:
        """Take the lab away whatever happened, and fail when the product cannot."""
        try:
            ran = self.ran("down", "--yes")
        finally:
            left = self.processes()
            for process in left:
                with suppress(psutil.NoSuchProcess):
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
    """A TCP port of 127.0.0.1 that is free now, outside of the range from which dynamic ones are taken.

    Each is given once: a lab listens there only some time later. Processes that were started one after the other look
    in different places.
    """
    for attempt in range(PORTS):
        port = FIRST_PORT + (os.getpid() * 97 + attempt) % PORTS
        if port not in _given and _can_be_bound(port):
            _given.add(port)
            return port
    raise AssertionError("no free port")


def _can_be_bound(port: int) -> bool:
    with closing(socket.socket()) as probe:
        try:
            probe.bind((HOME, port))
        except OSError:
            return False
        return True


def words_of(process: psutil.Process) -> list[str]:
    """Its command line; none of one that has just ended."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def listeners() -> list[tuple[tuple[str, int], int | None]]:
    """Address and process of everything that listens on this machine (TCP)."""
    found = [one for one in psutil.net_connections("tcp4") if one.status == psutil.CONN_LISTEN]
    return [((one.laddr.ip, one.laddr.port), one.pid) for one in found]


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
    argv = ["dig", f"@{host}", "-p", port, "-t", "SRV", name, "+short", "+tries=1", "+timeout=20", *more]
    found = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=True)
    return sorted(found.stdout.splitlines())


def eventually(look: Callable[[], T], wanted: Callable[[T], bool], seconds: float = PATIENCE) -> T:
    """What `look` gives as soon as it is wanted. Nothing tells of a change from outside, so it looks again."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if wanted(found):
            return found
        assert time.monotonic() < end, f"not so after {seconds} s: {found}"
        time.sleep(0.05)


def settles(look: Callable[[], T], wanted: Callable[[T], bool], seconds: float = PATIENCE) -> T:
    """What `look` gives once it is wanted at two looks in succession: one may be of before the damage shows."""
    before = False

    def twice(found: T) -> bool:
        nonlocal before
        now = wanted(found)
        held, before = before and now, now
        return held

    return eventually(look, twice, seconds)


def becomes(check: Callable[[], None], seconds: float = PATIENCE) -> None:
    """Returns as soon as the check holds, and fails as it does when it never did."""
    end = time.monotonic() + seconds
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() >= end:
                raise
        time.sleep(0.05)


@dataclass
class Load:
    """Asks some URLs again and again from some threads, each time over a new connection.

    Two are enough to have a request under way at any moment. More of them starve a busy machine until the portal's
    deadline passes, and its 504 is then the same as that of an instance which took a request and never answered it.
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
                worker.join(20)

    def go_on(self, more: int = 50, least: int = 100) -> None:
        """Until so many more have been answered, and so many at all."""
        wanted = max(len(self.answers) + more, least)
        eventually(lambda: len(self.answers), lambda count: count > wanted, PATIENCE)

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


def interrupted(process: subprocess.Popen[str], timeout: float = PATIENCE) -> Ran:
    """What a command does on Ctrl-C."""
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=timeout)
    return Ran(process.returncode, out, err, time.monotonic() - begun)


def mistakes(text: str) -> list[int]:
    """The line numbers of the config's mistakes in an error block, each once."""
    return list(dict.fromkeys(int(number) for number in re.findall(r"config\.yaml:(\d+)", text)))
