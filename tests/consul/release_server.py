"""A little HTTP server that stands in for the vendor's release host, with releases that tests make up."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from pysequoia import SignatureMode, Tsk, sign

from ecsconsul.consul.signature import SigningKey
from ecsconsul.consul.vendor_release import Release, platform

VERSION = "9.9.9"
ZIP = f"consul_{VERSION}_{platform(sys.platform, os.uname().machine)}.zip"
SUMS_PATH = f"/consul/{VERSION}/consul_{VERSION}_SHA256SUMS"
ZIP_PATH = f"/consul/{VERSION}/{ZIP}"
# the servers' key, and its certificate as the package would ship it
SECRET = Tsk.generate("release server <nobody@example.com>")
KEY = SigningKey(str(SECRET.extract_certificate()).encode(), SECRET.extract_certificate().fingerprint.upper())
SIGNATURE_PATH = f"{SUMS_PATH}.sig"
KEYED_PATH = f"{SUMS_PATH}.{KEY.fingerprint[-8:]}.sig"
SCRIPT = f'#!/bin/sh\necho "Consul v{VERSION}"\necho "Revision abc"\n'


def zipped(script: str = SCRIPT, name: str = "consul") -> bytes:
    """A release's zip with `script` as its consul."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("LICENSE.txt", "made up\n")
        archive.writestr(name, script)
    return made.getvalue()


def signature(signed: bytes, secret: Tsk = SECRET) -> bytes:
    """A detached signature, as the vendor publishes it beside what it signs."""
    return sign(secret.signer(), signed, mode=SignatureMode.DETACHED, armor=False)


class ReleaseServer(ThreadingHTTPServer):
    """Serves `files` by path; `asked` are the paths that were asked for, in order.

    Of `cut` only the first half is sent; `held` is answered in full only once `release` is set, its first half at
    once, and `silent` not at all before that. `dripped` comes a byte every 0.1 s.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.cut = self.held = self.silent = self.dripped = ""
        self.reached, self.release = threading.Event(), threading.Event()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/consul"

    @property
    def way(self) -> Release:
        """The way to what it has published, with as much time as a busy machine takes."""
        return Release(VERSION, self.base, KEY, answer_seconds=60.0)

    def publish(self, archive: bytes, checksum: str = "") -> None:
        digest = checksum or hashlib.sha256(archive).hexdigest()
        other = "0" * 64 + f"  consul_{VERSION}_plan9_mips.zip\n"
        sums = f"{other}{digest}  {ZIP}\n".encode()
        self.files = {ZIP_PATH: archive}
        self.publish_sums(sums, signature(sums))

    def publish_sums(self, sums: bytes, signed: bytes) -> None:
        """The checksums and their signature, under both of its names."""
        self.files |= {SUMS_PATH: sums, KEYED_PATH: signed, SIGNATURE_PATH: signed}


class _Handler(BaseHTTPRequestHandler):
    server: ReleaseServer

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.server.asked.append(path)
        if path == self.server.silent:
            self.server.reached.set()
            self.server.release.wait(120)
        body = self.server.files.get(path)
        if body is None:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if path == self.server.dripped:
            return self._drip(body)
        half = len(body) // 2
        self.wfile.write(body[:half])
        if path == self.server.held:
            self.server.reached.set()
            self.server.release.wait(120)
        if path != self.server.cut:
            self.wfile.write(body[half:])
        return None

    def _drip(self, body: bytes) -> None:
        for byte in body:
            self.wfile.write(bytes([byte]))
            if self.server.release.wait(0.1):
                return

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the tests look at `asked`."""

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True  # the client gave up, as some tests want it to


@contextmanager
def release_server() -> Iterator[ReleaseServer]:
    """A server that has published a good release."""
    with ReleaseServer() as server:
        server.publish(zipped())
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.release.set()
            server.shutdown()
            thread.join(10)
