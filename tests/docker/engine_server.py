"""A small HTTP server on a Unix socket that plays a Docker engine: one canned answer for each path."""

from __future__ import annotations

import hashlib
import json
import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

Answers = Mapping[str, Any]
ENGINE: Answers = {"/info": {"OSType": "linux", "SecurityOptions": ["name=seccomp"]}}


@contextmanager
def engine_server(path: Path, answers: Answers) -> Iterator[list[str]]:
    """Serve `answers` at a socket, and 404 for any other path; yields the list of requested paths."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            requests.append(unquote(self.path))
            answer = answers.get(unquote(urlsplit(self.path).path))
            body = json.dumps({"message": "no such thing"} if answer is None else answer).encode()
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return "unix"

        def log_message(self, *args: object) -> None:
            """Keep quiet."""

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

    with Server(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield requests
        finally:
            server.shutdown()
            thread.join(5)


def create_context(config_dir: Path, name: str, host: str) -> None:
    """What `docker context create` writes."""
    folder = config_dir / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    folder.mkdir(parents=True)
    meta = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": False}}}
    (folder / "meta.json").write_text(json.dumps(meta))
