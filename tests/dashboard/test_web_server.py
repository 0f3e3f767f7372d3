"""The server over a real connection: what it serves to whom, its headers, and its stream."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from ecsconsul.config.lab import Lab, ServiceSpec
from ecsconsul.dashboard.content import Content
from ecsconsul.dashboard.lookups import Lookup
from ecsconsul.dashboard.web_server import FILES, DashboardServer
from ecsconsul.errors import WrongUsage
from ecsconsul.observe.observation import Observation
from ecsconsul.observe.states import Event
from tests.observe.fake_target import FakeTarget
from tests.observe.samples import ecs, task

TIMEOUT = 60.0
LAB = Lab(name="lab", services=(ServiceSpec(name="weather"),))


class Browser:
    """A server with an observation of a lab whose Consul is silent, and requests to it."""

    def __init__(self, server: DashboardServer, target: FakeTarget) -> None:
        self.server, self.target = server, target
        self.cookie = ""

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
        """The answer; the stream's body is left to be read."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=TIMEOUT)
        own = {"Cookie": self.cookie} if self.cookie else {}
        connection.request(method, path, headers={**own, **{k.replace("_", "-"): v for k, v in headers.items()}})
        answer = connection.getresponse()
        streams = "event-stream" in answer.getheader("Content-Type", "")
        return answer, b"" if streams else answer.read()

    def enter(self) -> http.client.HTTPResponse:
        answer, _ = self.get(self.server.access.url.partition(str(self.server.server_port))[2])
        self.cookie = answer.getheader("Set-Cookie", "").partition(";")[0]
        return answer

    @property
    def room(self) -> str:
        return self.server.access.room


def find(name: str) -> dict[str, Any]:
    if not name:
        raise WrongUsage("'' isn't a DNS name", hint="use labels")
    return {"name": name}


@pytest.fixture
def browser() -> Iterator[Browser]:
    target = FakeTarget()
    edges = (Lookup("portal", "weather", ("W in the config",)),)
    with Observation(target) as seen:
        assert seen.wait_until_complete(TIMEOUT)
        content = Content(LAB, "local", seen, edges, [Event(1.0, "task-running", "long ago")])
        with DashboardServer(0, content, find, lambda: None) as server:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            yield Browser(server, target)
            server.shutdown()


def test_files_are_served_to_whom_has_used_the_link(browser: Browser) -> None:
    assert browser.get(browser.room)[0].status == 403
    answer = browser.enter()
    assert answer.status == 200
    assert answer.getheader("Refresh") == f"0; url={browser.room}"
    for name, (_, kind) in FILES.items():
        answer, body = browser.get(browser.room + name)
        assert (answer.status, answer.getheader("Content-Type")) == (200, kind)
        assert body
    assert browser.get(f"{browser.room}none")[0].status == 404
    assert browser.get(f"{browser.room}../../web_server.py")[0].status == 404


def test_nobody_may_load_or_frame_anything(browser: Browser) -> None:
    browser.enter()
    answer, _ = browser.get(browser.room)
    policy = answer.getheader("Content-Security-Policy", "")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.getheader("Access-Control-Allow-Origin") is None
    assert answer.getheader("Cache-Control") == "no-store"


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Sec_Fetch_Site": "same-site"}]
)
def test_others_get_nothing(browser: Browser, headers: dict[str, str]) -> None:
    browser.enter()
    for path in ("", "stream", "lookup?name=weather", "dashboard.js"):
        answer, body = browser.get(browser.room + path, **headers)
        assert answer.status == 403
        assert b"weather" not in body
        assert browser.room.encode() not in body


def test_a_header_that_is_given_twice_counts_as_wrong(browser: Browser) -> None:
    browser.enter()
    with socket.create_connection(("127.0.0.1", browser.server.server_port), TIMEOUT) as raw:
        host = f"127.0.0.1:{browser.server.server_port}"
        head = f"GET {browser.room} HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\nCookie: {browser.cookie}\r\n\r\n"
        raw.sendall(head.encode())
        assert raw.recv(100).startswith(b"HTTP/1.0 403")


def test_it_only_reads(browser: Browser) -> None:
    browser.enter()
    assert {browser.get(browser.room, method)[0].status for method in ("POST", "PUT", "DELETE", "OPTIONS")} == {501}


def test_lookup_is_followed_and_an_error_is_an_answer(browser: Browser) -> None:
    browser.enter()
    assert json.loads(browser.get(f"{browser.room}lookup?name=a%20b")[1]) == {"name": "a b"}
    assert json.loads(browser.get(f"{browser.room}lookup")[1]) == {"error": "'' isn't a DNS name", "hint": "use labels"}


def messages(answer: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
    kind = ""
    for line in answer:
        name, _, value = line.decode().strip().partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)


def test_stream_begins_with_the_last_events_and_the_state_and_goes_on(browser: Browser) -> None:
    browser.enter()
    answer, _ = browser.get(f"{browser.room}stream")
    stream = messages(answer)
    kind, events = next(stream)
    assert (kind, events[0]["text"]) == ("events", "long ago")
    kind, state = next(stream)
    assert (kind, state["lab"], state["lookups"][0]["because"]) == ("state", "lab", ["W in the config"])
    assert state["lost"] == ["Consul does not answer: there is none"]
    assert [one["name"] for one in state["services"]] == []
    browser.target.show(ecs(task()))
    kind, events = next(message for message in stream if message[0] == "events")
    assert "weather 3f2a0000 is running lab-weather:1" in [event["text"] for event in events]
    kind, state = next(message for message in stream if message[0] == "state")
    [weather] = state["services"]
    assert (weather["running"], weather["rows"][0]["task"], weather["rows"][0]["health"]) == (1, "3f2a0000", "running")
    assert state["picture"].startswith("<svg")
    answer.close()


def test_a_port_that_is_taken_is_an_error(browser: Browser) -> None:
    with pytest.raises(OSError, match="in use"):
        DashboardServer(browser.server.server_port, browser.server.content, find, lambda: None)
