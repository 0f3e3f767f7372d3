"""Serves the dashboard on 127.0.0.1: its files, its state as a stream of events, and lookups. It changes nothing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ..errors import LabError
from ..observe.states import Snapshot
from .access import Access, Decision
from .content import REFRESH_SECONDS, Content

SITE = Path(__file__).parent / "site"
FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "dashboard.css": ("dashboard.css", "text/css; charset=utf-8"),
    "dashboard.js": ("dashboard.js", "text/javascript; charset=utf-8"),
}
# https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Content-Security-Policy
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
# a connection that sends no request, or reads none of its answer, ends after that time
IDLE_SECONDS = 15.0
# more than anybody opens; each takes a thread
MOST_CONNECTIONS = 64
# between two states, so that a storm of changes takes no core
REST_SECONDS = 0.1
NOTHING = b"[]"

Find = Callable[[str], dict[str, Any]]


class DashboardServer(ThreadingHTTPServer):
    """The server of one dashboard. `find` follows a lookup; `admitted` is called when the link has been used."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int, content: Content, find: Find, admitted: Callable[[], None]) -> None:
        """Listens on that port, or on a free one if it is 0. Raises OSError if it's taken."""
        super().__init__(("127.0.0.1", port), _Handler)
        self.access = Access(self.server_port)
        self.content, self.find, self.admitted = content, find, admitted
        self.places = threading.BoundedSemaphore(MOST_CONNECTIONS)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return self.places.acquire(blocking=False)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that has gone is nobody's business."""


class _Handler(BaseHTTPRequestHandler):
    server: DashboardServer
    server_version, sys_version = "ecsconsul", ""
    timeout = IDLE_SECONDS

    def do_GET(self) -> None:
        access, asked = self.server.access, urlsplit(self.path)
        decision = access.decide(asked.path, _single(self.headers))
        if decision is Decision.REFUSE:
            self._refuse()
        elif decision is Decision.ADMIT:
            self._admit()
        else:
            self._serve(asked.path.removeprefix(access.room), asked.query)

    def log_message(self, format: str, *args: Any) -> None:
        """Paths have secrets in them."""

    def _serve(self, name: str, query: str) -> None:
        if name in FILES:
            file, kind = FILES[name]
            self._answer(200, kind, (SITE / file).read_bytes())
        elif name == "stream":
            self._stream()
        elif name == "lookup":
            self._lookup(parse_qs(query).get("name", [""])[0])
        else:
            self._answer(404, "text/plain", b"There is no such page.\n")

    def _refuse(self) -> None:
        text = "This link has been used, or isn't one. `ecsconsul dashboard` prints the next one.\n"
        self._answer(403, "text/plain; charset=utf-8", text.encode())

    def _admit(self) -> None:
        """Give the cookie and go on from here, not by a redirect.

        The link may come from another site's page or a file; a redirect would count as theirs, and a browser doesn't
        send a SameSite=Strict cookie then.
        """
        room = self.server.access.room
        body = f'<!doctype html><html lang="en"><title>ecsconsul</title><a href="{room}">Open the dashboard</a></html>'
        extra = {"Set-Cookie": self.server.access.set_cookie, "Refresh": f"0; url={room}"}
        self._answer(200, "text/html; charset=utf-8", body.encode(), extra)
        self.server.admitted()

    def _lookup(self, name: str) -> None:
        try:
            found = self.server.find(name)
        except LabError as error:
            found = {"error": str(error), "hint": error.hint}
        self._answer(200, "application/json", json.dumps(found).encode())

    def _stream(self) -> None:
        """Server-Sent Events: the state when it changes, and what has happened since the last one.

        https://html.spec.whatwg.org/multipage/server-sent-events.html
        """
        self._head(200, "text/event-stream", {})
        content = self.server.content
        number: int | None = None
        known: Snapshot | None = None
        while not content.is_closed:
            known = content.wait(known, REFRESH_SECONDS)
            number, events = content.events(number)
            if events != NOTHING:
                self._send("events", events)
            self._send("state", content.state(known))
            self.wfile.flush()
            time.sleep(REST_SECONDS)

    def _send(self, kind: str, data: bytes) -> None:
        # JSON has no line breaks of its own
        self.wfile.write(b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n")

    def _answer(self, code: int, kind: str, body: bytes, extra: dict[str, str] | None = None) -> None:
        self._head(code, kind, {"Content-Length": str(len(body)), **(extra or {})})
        self.wfile.write(body)

    def _head(self, code: int, kind: str, extra: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {"Content-Type": kind, **HEADERS, **extra}.items():
            self.send_header(name, value)
        self.end_headers()


def _single(headers: Any) -> dict[str, str]:
    """The headers that access depends on; one that is given twice counts as none of its values."""
    names = ("Host", "Origin", "Cookie", "Sec-Fetch-Site")
    given = {name: headers.get_all(name, []) for name in names}
    return {name: values[0] if len(values) == 1 else "?" for name, values in given.items() if values}
