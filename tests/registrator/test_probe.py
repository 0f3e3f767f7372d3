"""Probes of real servers on loopback."""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ecsconsul.registrator.checks import HttpProbe, TcpProbe, UdpProbe
from ecsconsul.registrator.probe import run_probe

TIMEOUT = 60.0


class Handler(BaseHTTPRequestHandler):
    """/<code> answers with that code, /to?<url> and /hops?<n> redirect, /method echoes the method."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/to":
            self.answer(302, location=query)
        elif path == "/hops":
            self.answer(307, location=f"/hops?{int(query) - 1}" if int(query) > 1 else "/200")
        elif path == "/method":
            self.answer(200, body=f"{self.command} {self.headers['User-ConsulClient']}")
        elif path == "/big":
            self.answer(200, body="x" * 100_000)
        else:
            self.answer(int(path[1:]), body=f"{self.path} is fine")

    do_POST = do_GET

    def answer(self, code: int, *, body: str = "", location: str = "") -> None:
        self.send_response(code)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Clients that hang up early are part of these tests."""

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Yields the server's host:port."""
    with Server(("127.0.0.1", 0), Handler) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(TIMEOUT)


@contextmanager
def talking(talk: Callable[[socket.socket, threading.Event], None]) -> Iterator[int]:
    """Yields the port of a server that runs `talk` with its one client until the event is set."""
    over = threading.Event()

    def accept() -> None:
        with listener.accept()[0] as connection:
            talk(connection, over)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TIMEOUT)
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            thread.join(TIMEOUT)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving() as address:
        yield address


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (200, "passing"),
        (204, "passing"),
        (299, "passing"),
        (301, "critical"),
        (404, "critical"),
        (429, "warning"),
        (500, "critical"),
        (503, "critical"),
    ],
)
def test_status_codes(server: str, code: int, status: str) -> None:
    result = run_probe(HttpProbe(f"http://{server}/{code}"))
    assert result.status == status
    assert str(code) in result.output


def test_output_is_the_same_as_consuls(server: str) -> None:
    url = f"http://{server}/200"
    assert run_probe(HttpProbe(url)) == ("passing", f"HTTP GET {url}: 200 OK Output: /200 is fine")


def test_output_is_bounded(server: str) -> None:
    assert len(run_probe(HttpProbe(f"http://{server}/big")).output) < 4300


def test_method_and_agent(server: str) -> None:
    result = run_probe(HttpProbe(f"http://{server}/method", "POST"))
    assert result.output.endswith("POST Consul Health Check")


def test_redirect_is_followed_with_get(server: str) -> None:
    assert run_probe(HttpProbe(f"http://{server}/to?/503")).status == "critical"
    result = run_probe(HttpProbe(f"http://{server}/to?http://{server}/method", "POST"))
    assert result.status == "passing"
    assert "Output: GET" in result.output


def test_redirects_are_limited(server: str) -> None:
    assert run_probe(HttpProbe(f"http://{server}/hops?10")).status == "passing"
    result = run_probe(HttpProbe(f"http://{server}/hops?11"))
    assert result == ("critical", f"HTTP GET http://{server}/hops?11: stopped after 10 redirects")


def test_redirect_to_another_scheme(server: str) -> None:
    result = run_probe(HttpProbe(f"http://{server}/to?file:///etc/hostname"))
    assert (result.status, "unsupported protocol scheme 'file'" in result.output) == ("critical", True)


def test_path_is_encoded(server: str) -> None:
    assert "/200?q=a%20b%C3%A9 is fine" in run_probe(HttpProbe(f"http://{server}/200?q=a bé")).output


@pytest.mark.parametrize(
    "probe",
    [
        HttpProbe("http://127.0.0.1:99999/"),
        HttpProbe("http://[::1/"),
        HttpProbe("http://127.0.0.1:9/", "B\nAD"),
        HttpProbe("http://" + "a" * 70 + ":9/"),
        TcpProbe("a" * 70, 9),
        TcpProbe("", 0),
    ],
)
def test_invalid_requests_are_critical(probe: HttpProbe | TcpProbe) -> None:
    result = run_probe(probe)
    assert result.status == "critical"
    assert result.output


def test_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert run_probe(HttpProbe(f"http://127.0.0.1:{port}/")).status == "critical"
    result = run_probe(TcpProbe("127.0.0.1", port))
    assert result.status == "critical"
    assert "refused" in result.output


def test_tcp(server: str) -> None:
    host, _, port = server.partition(":")
    assert run_probe(TcpProbe(host, int(port))) == ("passing", f"TCP connect {server}: Success")


def say_nothing(connection: socket.socket, over: threading.Event) -> None:
    over.wait(TIMEOUT)


def trickle(connection: socket.socket, over: threading.Event) -> None:
    """A header that never ends: each byte arrives well within the socket's own timeout."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    end = time.monotonic() + TIMEOUT
    while not over.wait(0.02) and time.monotonic() < end:
        try:
            connection.sendall(b"x")
        except OSError:
            return


@pytest.mark.parametrize("talk", [say_nothing, trickle])
def test_probe_ends_at_its_timeout(talk: Callable[[socket.socket, threading.Event], None]) -> None:
    with talking(talk) as port:
        url = f"http://127.0.0.1:{port}/"
        began = time.monotonic()
        result = run_probe(HttpProbe(url, timeout=0.3))
        took = time.monotonic() - began
    assert result == ("critical", f"HTTP GET {url}: no answer within 0.3 s")
    assert 0.25 < took < TIMEOUT / 2


def hang_up(connection: socket.socket, over: threading.Event) -> None:
    connection.recv(1000)


def test_closed_connection_is_critical_and_not_a_timeout() -> None:
    with talking(hang_up) as port:
        result = run_probe(HttpProbe(f"http://127.0.0.1:{port}/"))
    assert result.status == "critical"
    assert "no answer within" not in result.output


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> AbstractContextManager[str]:
    """A server with a self-signed certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path_factory.mktemp("tls") / "both.pem"))
    return serving(context)


def self_signed(path: Path) -> Path:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "weather")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(secret + certificate.public_bytes(Encoding.PEM))
    return path


def test_tls_is_verified_by_default(tls: AbstractContextManager[str]) -> None:
    with tls as address:
        verified = run_probe(HttpProbe(f"https://{address}/200"))
        unverified = run_probe(HttpProbe(f"https://{address}/200", tls_skip_verify=True))
    assert (verified.status, "CERTIFICATE_VERIFY_FAILED" in verified.output) == ("critical", True)
    assert unverified.status == "passing"


# ---------------------------------------------------------------- UDP


def unseen_port(bound: str, asked: str) -> int:
    """A free port of `bound` at which no other socket is seen: the probe reads the table of the whole machine."""
    for _ in range(100):
        with udp_socket(bound, 0) as found:
            port: int = found.getsockname()[1]
        if run_probe(UdpProbe(os.getpid(), port, asked)).status == "critical":
            return port
    raise AssertionError("other sockets are seen at all ports")


def udp_socket(address: str, port: int) -> socket.socket:
    found = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    found.bind((address, port))
    return found


@pytest.mark.parametrize(
    ("bound", "asked", "status"),
    [
        ("127.77.0.1", "127.77.0.1", "passing"),
        ("0.0.0.0", "127.77.0.1", "passing"),
        ("127.77.0.2", "127.77.0.1", "critical"),
        ("127.77.0.2", "", "passing"),
        ("::", "127.77.0.1", "passing"),
        ("::1", "::1", "passing"),
        ("127.77.0.2", "a-host", "passing"),
    ],
)
def test_udp_socket_is_seen(bound: str, asked: str, status: str) -> None:
    """Where labs share this machine's network, each has addresses of its own."""
    port = unseen_port(bound, asked)
    with udp_socket(bound, port):
        assert run_probe(UdpProbe(os.getpid(), port, asked)).status == status
    assert run_probe(UdpProbe(os.getpid(), port, asked)).status == "critical"


def test_udp_socket_that_cannot_be_looked_for_counts_as_bound() -> None:
    assert run_probe(UdpProbe(2**30, 53)).status == "passing"
