"""HTTP over TCP, TLS and Unix sockets: connection reuse, streams, and servers that stop."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ecsconsul.errors import LabError, Unreachable
from ecsconsul.registrator.http_transport import HttpClient
from ecsconsul.registrator.settings import Server, Tls
from tests.registrator.servers import FakeConsul, FakeDocker

TIMEOUT = 60.0


@contextmanager
def https_server(folder: Path) -> Iterator[tuple[int, Tls]]:
    """A TLS server that requires the client to present the same certificate."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_: object) -> None:
            """Tests don't read it."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client without a certificate fails the handshake."""

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(cert))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(cert, key)
    with Quiet(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1], Tls(str(cert), str(cert), str(key))
        finally:
            server.shutdown()
            thread.join(TIMEOUT)


def test_tls_verifies_both_sides(tmp_path: Path) -> None:
    with https_server(tmp_path) as (port, tls):
        client = HttpClient("it", Server("localhost", port, tls=tls), timeout=TIMEOUT)
        assert client.request("GET", "/").body == b"hello"
        client.close()
        for files in (Tls(), Tls(ca_file=tls.ca_file)):
            untrusted = HttpClient("it", Server("localhost", port, tls=files), timeout=TIMEOUT)
            with pytest.raises(Unreachable):
                untrusted.request("GET", "/")
            untrusted.close()


def test_missing_certificate_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabError) as refused:
        HttpClient("it", Server("h", 1, tls=Tls(ca_file=str(tmp_path / "none.pem"))), timeout=1)
    assert "none.pem" in refused.value.where


def test_client_reconnects_to_a_restarted_server(consul: FakeConsul) -> None:
    client = HttpClient("it", Server("127.0.0.1", consul.port), timeout=TIMEOUT)
    assert client.request("GET", "/v1/agent/services").code == 200
    consul.stop()
    with pytest.raises(Unreachable) as refused:
        client.request("GET", "/v1/agent/services")
    assert refused.value.why == "Connection refused"
    consul.start()
    assert client.request("GET", "/v1/agent/services").code == 200
    consul.stop()
    consul.start()
    assert client.request("GET", "/v1/agent/services").code == 200
    client.close()


def test_slow_server_is_unreachable(consul: FakeConsul) -> None:
    consul.accepts_writes.clear()
    client = HttpClient("it", Server("127.0.0.1", consul.port), timeout=TIMEOUT)
    client.request("GET", "/v1/agent/services")
    with pytest.raises(Unreachable) as refused:
        client.request("PUT", "/v1/agent/service/deregister/x", timeout=0.1)
    assert refused.value.why == "timed out"
    consul.accepts_writes.set()
    client.close()


def test_missing_socket(tmp_path: Path) -> None:
    client = HttpClient("it", Server(socket=str(tmp_path / "none.sock")), timeout=1)
    with pytest.raises(Unreachable) as refused:
        client.request("GET", "/info")
    assert refused.value.why == "No such file or directory"
    assert refused.value.where.startswith("unix:///")


def test_stream_lasts_until_closed(docker: FakeDocker) -> None:
    client = HttpClient("it", Server(socket=str(docker.path)), timeout=TIMEOUT)
    with client.stream("/events?since=0.0", TIMEOUT) as stream:
        assert stream.code == 200
        lines = stream.lines()
        docker.run("c1", port=1)
        assert b'"start"' in next(lines)
        threading.Timer(0.05, stream.close).start()
        assert list(lines) == []


def test_silent_stream_times_out(docker: FakeDocker) -> None:
    client = HttpClient("it", Server(socket=str(docker.path)), timeout=TIMEOUT)
    with pytest.raises(Unreachable) as refused, client.stream("/events?since=0.0", 0.1) as stream:
        list(stream.lines())
    assert refused.value.why == "timed out"
