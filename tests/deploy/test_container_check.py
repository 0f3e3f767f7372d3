"""The health check inside the container: its command in real shells, with each client alone, against real servers."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from werkzeug.wrappers import Request, Response

from ecsconsul.config.container_spec import Check
from ecsconsul.config.lab import ServiceSpec
from ecsconsul.deploy.container_check import check_of_ports, seconds
from tests.deploy.world import serve
from tests.require import require

pytestmark = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="containers run on Linux")

CLIENTS = {
    "curl": "curl", "wget": "wget", "wget of busybox": "busybox", "python3": sys.executable, "python": sys.executable,
    "node": "node", "bash": "bash",
}  # fmt: skip
SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}
HEALTHY, UNHEALTHY = 0, 1
# a client without a limit of its own would wait for a hanging server as long as this
RUN_SECONDS = 60.0

Ports = Callable[..., int]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server that answers /status/N with N, and /seen with what it was last asked for."""
    seen: list[str] = []

    @Request.application
    def application(request: Request) -> Response:
        if request.path == "/seen":
            return Response("\n".join(seen))
        seen[:] = [request.environ["REQUEST_URI"]]
        status = int(request.path.rpartition("/")[2]) if request.path.startswith("/status/") else 200
        return Response("body", status, {"Location": "/status/200"} if status == 302 else None)

    server = serve(application)
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture
def listening() -> Iterator[Ports]:
    """Sockets that are listened to and never answer."""
    with ExitStack() as stack:

        def listen(address: str, family: int = socket.AF_INET, *, only_ipv6: bool = False) -> int:
            found = stack.enter_context(socket.socket(family))
            if family == socket.AF_INET6:
                found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_ipv6)
            found.bind((address, 0))
            found.listen()
            return int(found.getsockname()[1])

        yield listen


def command(port: int, **check: Any) -> str:
    found = check_of_ports(ServiceSpec(name="weather", path="", port=port, check=Check(**check)).bindings)
    assert found
    kind, text = found["command"]
    assert (kind, "\n" in text) == ("CMD-SHELL", False)
    return str(text)


def run(text: str, folder: Path, *clients: str, shell: str = "dash", **environment: str) -> int:
    """The exit code where PATH has these clients only."""
    for client in clients:
        (folder / client.split()[0]).symlink_to(require_program(CLIENTS[client]))
    interpreter, *options = SHELLS[shell]
    argv = [require_program(interpreter), *options, "-c", text]
    environment = {"PATH": str(folder), **environment}
    return subprocess.run(argv, env=environment, capture_output=True, timeout=RUN_SECONDS, check=False).returncode


def require_program(name: str) -> str:
    found = shutil.which(name)
    require("clients", bool(found), f"{name} isn't installed")
    return str(found)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens to at any address, and that nobody else can get meanwhile."""
    with socket.socket() as found:
        found.bind(("0.0.0.0", 0))
        yield int(found.getsockname()[1])


# --- each client, alone


@pytest.mark.parametrize("client", CLIENTS)
def test_status_decides_with_each_client(client: str, port: int, tmp_path: Path) -> None:
    expected = {200: HEALTHY, 204: HEALTHY, 302: HEALTHY, 429: HEALTHY, 404: UNHEALTHY, 500: UNHEALTHY}
    codes = {}
    for status in expected:
        folder = tmp_path / str(status)
        folder.mkdir()
        codes[status] = run(command(port, http=f"/status/{status}"), folder, client)
    assert codes == expected


@pytest.mark.parametrize("client", [name for name in CLIENTS if name != "wget of busybox"])
def test_hanging_server_is_unhealthy_before_ecs_gives_up(client: str, listening: Ports, tmp_path: Path) -> None:
    spec = ServiceSpec(name="weather", path="", port=listening("127.0.0.1"), check=Check(http="/", timeout="1s"))
    check = check_of_ports(spec.bindings)
    assert check
    begun = time.monotonic()
    assert run(check["command"][1], tmp_path, client) == UNHEALTHY
    # it gave up by itself, and not at once
    assert 0.9 < time.monotonic() - begun < RUN_SECONDS


@pytest.mark.parametrize("client", CLIENTS)
def test_path_arrives_as_it_is(client: str, port: int, tmp_path: Path) -> None:
    """Whatever a shell, a URL or an interpreter would make of it; wget encodes more than it must."""
    path = "/a'b\"c$(id>x)`id`\\d;e&f|g?h=%20*[1-3]{i,j}é!#k"
    assert run(command(port, http=path), tmp_path, client) == HEALTHY
    seen = subprocess.run(["curl", "-s", f"http://127.0.0.1:{port}/seen"], capture_output=True, text=True, check=True)
    assert unquote(seen.stdout) == unquote(path.rpartition("#")[0])
    assert not re.search(r"[^!-~]|[\"<>`\\{}|]", seen.stdout), seen.stdout


@pytest.mark.parametrize("client", CLIENTS)
def test_environment_of_the_image_does_not_matter(client: str, port: int, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "socket.py").write_text("raise SystemExit(3)")
    (tmp_path / "broken" / "curlrc").write_text("proxy = http://127.0.0.1:1\n")
    environment = {
        "http_proxy": "http://127.0.0.1:1", "PYTHONPATH": str(tmp_path / "broken"), "NODE_OPTIONS": "--require=/absent",
        "BASH_ENV": str(tmp_path / "broken" / "socket.py"), "CURL_HOME": str(tmp_path / "broken"),
    }  # fmt: skip
    assert run(command(port, http="/status/200"), tmp_path, client, **environment) == HEALTHY


# --- each shell


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("path", "code"), [("/status/200", HEALTHY), ("/status/500", UNHEALTHY)])
def test_each_shell(shell: str, path: str, code: int, port: int, tmp_path: Path) -> None:
    assert run(command(port, http=path), tmp_path, "python3", shell=shell) == code


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_image_without_any_client_is_judged_by_its_port(
    shell: str, port: int, closed_port: int, tmp_path: Path
) -> None:
    assert run(command(port, http="/status/500"), tmp_path, shell=shell) == HEALTHY
    assert run(command(closed_port, http="/status/200"), tmp_path, shell=shell) == UNHEALTHY


# --- where programs listen


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("address", "family", "code"),
    [
        ("0.0.0.0", socket.AF_INET, HEALTHY),
        ("127.0.0.1", socket.AF_INET, HEALTHY),
        ("127.9.8.7", socket.AF_INET, HEALTHY),
        ("::", socket.AF_INET6, HEALTHY),
        ("::ffff:127.9.8.7", socket.AF_INET6, HEALTHY),
        ("::1", socket.AF_INET6, UNHEALTHY),
    ],
)
def test_port_that_is_listened_to(
    shell: str, address: str, family: int, code: int, listening: Ports, tmp_path: Path
) -> None:
    """IPv6 alone can't be reached by Consul."""
    assert run(command(listening(address, family), tcp=True), tmp_path, shell=shell) == code


def test_closed_port_is_unhealthy(closed_port: int, tmp_path: Path) -> None:
    assert run(command(closed_port, tcp=True), tmp_path) == UNHEALTHY


@pytest.mark.parametrize(("address", "family"), [("127.9.8.7", socket.AF_INET), ("::ffff:127.9.8.7", socket.AF_INET6)])
def test_http_is_asked_at_the_address_that_is_listened_to(address: str, family: int, tmp_path: Path) -> None:
    with socket.socket(family) as server:
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind((address, 0))
        server.listen()
        threading.Thread(target=answer_once, args=(server,), daemon=True).start()
        assert run(command(server.getsockname()[1], http="/"), tmp_path, "curl") == HEALTHY


def answer_once(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def test_many_connections_do_not_hide_the_port(listening: Ports, tmp_path: Path) -> None:
    """The kernel lists what is listened to before what is connected."""
    port = listening("127.0.0.1")
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        assert run(command(port, tcp=True), tmp_path) == HEALTHY


# --- its times


@pytest.mark.parametrize(
    ("check", "times"),
    [
        (Check(http="/"), (10, 15, 60)),
        (Check(http="/", interval="500ms", timeout="100ms"), (5, 6, 60)),
        (Check(tcp=True, interval="30s", timeout="2500ms"), (30, 8, 180)),
        (Check(http="/", interval="2h", timeout="5m"), (300, 60, 300)),
    ],
)
def test_times_are_within_the_limits_of_ecs(check: Check, times: tuple[int, int, int]) -> None:
    found = check_of_ports(ServiceSpec(name="weather", path="", check=check).bindings)
    assert found
    assert (found["interval"], found["timeout"], found["startPeriod"]) == times
    assert found["retries"] == 3


@pytest.mark.parametrize(("text", "expected"), [("1ms", 1), ("1500ms", 2), ("010s", 10), ("2m", 120), ("1h", 3600)])
def test_durations_are_rounded_up(text: str, expected: int) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "check", [None, Check(ttl="30s"), Check(http="/", container=False), Check(tcp=True, container=False)]
)
def test_no_check_in_the_container(check: Check | None) -> None:
    assert check_of_ports(ServiceSpec(name="weather", path="", check=check).bindings) is None
