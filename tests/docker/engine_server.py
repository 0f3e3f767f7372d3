"""A little server that speaks for a Docker engine on a Unix socket: it answers what it was told to, path by path."""

from __future__ import annotations

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
    """Serve `answers` at a socket, 404 for any other path; yields what is asked, as it is asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(unquote(self.path))
            answer = answers.get(unquote(urlsplit(self.path).path))
            body = json.dumps({"message": "no such thing"} if answer is None else answer).encode()
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return "unix"

        def log_message(self, *args: object) -> None:
            """Nobody reads it."""

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

    with Server(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield asked
        finally:
            server.shutdown()
            thread.join(5)
