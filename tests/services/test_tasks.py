"""The three services as they really run: gunicorn, from the Dockerfile's CMD; and how they stop."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

FOLDERS = ("weather", "stock-price", "portal")
# what ends a hang in production would end a slow answer on a busy machine
PATIENT_PORTAL = {
    "client.py": ("DEADLINE, CONNECT, ANSWER = 5.0, 1.0, 3.0", "DEADLINE, CONNECT, ANSWER = 60.0, 60.0, 60.0"),
    "discovery.py": ("QUERY_SECONDS = (0.5, 1.5)", "QUERY_SECONDS = (60.0, 60.0)"),
}
PATIENT_STOP = {"gunicorn.conf.py": ("graceful_timeout = 10", "graceful_timeout = 600")}


@pytest.mark.parametrize("folder", FOLDERS)
def test_dockerfile_is_portable(world: Any, folder: str) -> None:
    text = (world.SERVICES / folder / "Dockerfile").read_text()
    assert text.startswith("ARG BASE=python:3.12-slim\nFROM ${BASE}\n")
    assert re.search(r"^USER (?!root)", text, re.M)
    assert re.search(r"^WORKDIR /app$", text, re.M)
    assert re.search(r"^EXPOSE 4567$", text, re.M)
    env, command = world.dockerfile(folder)
    assert env["PORT"] == "4567"
    assert not any("$" in word for word in command), "no shell will expand it"


@pytest.mark.parametrize("folder", FOLDERS)
def test_service_starts_answers_and_cleans_up(start: Callable[..., Any], world: Any, folder: str) -> None:
    tasks = [start(folder, PROVIDER="demo", CONSUL_DNS="127.0.0.1:9") for _ in range(2)]
    with world.running(*tasks):
        before = sorted(path.name for path in tasks[0].folder.rglob("*"))
        for task in tasks:
            assert world.get(f"{task.url}/health") == (200, "OK")
        assert [task.stop() for task in tasks] == [0, 0]
        log = tasks[0].log.read_text()
    assert '"GET /health HTTP/1.1" 200' in log, "the access log is on stdout"
    assert "ERROR" not in log
    assert "WARNING" not in log
    assert sorted(path.name for path in tasks[0].folder.rglob("*")) == before
    assert [list(place.iterdir()) for task in tasks for place in task.scratch] == [[], [], [], []]


@pytest.mark.parametrize(
    ("folder", "name", "value"),
    [
        ("weather", "PROVIDER", "magic"),
        ("weather", "TEMP_SCALE", "K"),
        ("stock-price", "PROVIDER", "magic"),
        ("portal", "CONSUL_DNS", "nowhere:dns"),
    ],
)
def test_invalid_setting_exits_at_start(
    start: Callable[..., Any], world: Any, folder: str, name: str, value: str
) -> None:
    task = start(folder, **{name: value})
    assert task.process.wait(world.PATIENCE) != 0
    log = task.log.read_text()
    assert f"{folder}: {name} is '{value}'" in log
    assert "Traceback" not in log
    assert "Listening" not in log, "the port never opened"


@pytest.mark.parametrize("folder", FOLDERS)
def test_sigterm_right_after_start_is_handled(start: Callable[..., Any], world: Any, folder: str) -> None:
    """gunicorn alone loses it, and then waits for all of graceful_timeout."""
    task = start(folder, PATIENT_STOP, PROVIDER="demo", CONSUL_DNS="127.0.0.1:9")
    task.wait_until_up()
    task.process.terminate()
    assert task.process.wait(world.PATIENCE) == 0


def test_requests_in_flight_at_sigterm_are_finished(start: Callable[..., Any], world: Any, web: Any) -> None:
    """The provider holds six requests while SIGTERM comes, then lets them go."""
    arrived, release = threading.Semaphore(0), threading.Event()

    def hold() -> tuple[int, Any]:
        arrived.release()
        release.wait(world.PATIENCE)
        return 200, {"chart": {"result": [{"meta": {"symbol": "X", "regularMarketPrice": 1}}], "error": None}}

    web.answers = {"/v8/finance/chart/X": hold}
    unhurried = {"providers.py": ("LIVE_SECONDS = 2.0", "LIVE_SECONDS = 60.0"), **PATIENT_STOP}
    task = start("stock-price", unhurried, PROVIDER="yahoo", YAHOO_URL=web.url)
    with world.running(task), ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(world.get, f"{task.url}/stock/X") for _ in range(6)]
        assert all(arrived.acquire(timeout=world.PATIENCE) for _ in answers)
        task.process.terminate()
        wait_for_text(task.log, "Handling signal: term")
        release.set()
        assert [answer.result()[0] for answer in answers] == [200] * 6
        assert task.process.wait(world.PATIENCE) == 0


def wait_for_text(path: Any, text: str) -> None:
    """Returns once a file holds a text; files tell nobody when they grow."""
    for _ in range(6000):
        if text in path.read_text():
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"no {text!r} in {path}")


class Load:
    """Requests from `threads` clients, one after the other, until told to stop; keeps what was not 200."""

    def __init__(self, get: Callable[[str], tuple[int, Any]], url: str, threads: int = 2) -> None:
        self._get, self._url = get, url
        self._stop = threading.Event()
        self._many = threading.Semaphore(0)
        self.count, self.failed = 0, []  # type: ignore[var-annotated]
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                status, body = self._get(self._url)
            except OSError as error:
                status, body = 0, repr(error)
            self.count += 1
            if status != 200:
                self.failed.append((status, body))
            self._many.release()

    def wait_for(self, number: int) -> None:
        for _ in range(number):
            assert self._many.acquire(timeout=60)

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)


@pytest.mark.parametrize("leaves_catalog_first", [True, False], ids=["deregistered", "killed-while-listed"])
def test_rolling_deploys_lose_no_request(
    start: Callable[..., Any], world: Any, name_server: Any, leaves_catalog_first: bool
) -> None:
    """Weather is replaced three times, the way ECS does it and also without leaving the catalog first."""
    old = start("weather", PROVIDER="demo")
    portal = start("portal", PATIENT_PORTAL, CONSUL_DNS=name_server.address)
    with world.running(old, portal):
        name_server.service("weather", old.port)
        load = Load(world.get, f"{portal.url}/weather/London")
        try:
            for _ in range(3):
                load.wait_for(20)
                new = start("weather", PROVIDER="demo")
                new.wait_until_up()
                name_server.service("weather", old.port, new.port)
                load.wait_for(20)
                if leaves_catalog_first:
                    name_server.service("weather", new.port)
                old.process.terminate()
                old.process.wait(world.PATIENCE)
                name_server.service("weather", new.port)
                old = new
            load.wait_for(20)
        finally:
            load.close()
    assert load.failed == []
    assert load.count > 120
