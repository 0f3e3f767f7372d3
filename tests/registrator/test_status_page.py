"""/health and /metrics report the reconciler's state."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ecsconsul.errors import LabError
from ecsconsul.registrator.reconciler import ReconcilerState
from ecsconsul.registrator.status_page import StatusPage, metrics

HEALTHY = ReconcilerState(
    docker=True,
    consul=True,
    complete=True,
    containers=2,
    services=3,
    docker_disconnects=1,
    writes={"register": 4},
    failures={"deregister": 5},
)


class Page:
    def __init__(self) -> None:
        self.state = HEALTHY
        self.page = StatusPage("127.0.0.1", 0, lambda: self.state)

    def get(self, path: str) -> tuple[int, str, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.page.port}{path}", timeout=60) as answer:
                return answer.status, answer.headers["Content-Type"], answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.headers["Content-Type"], refused.read().decode()


@pytest.fixture
def page() -> Iterator[Page]:
    served = Page()
    yield served
    served.page.close()


def test_health(page: Page) -> None:
    code, kind, text = page.get("/health")
    assert (code, kind) == (200, "application/json")
    assert json.loads(text)["status"] == "ok"
    for change in ({"docker": False}, {"consul": False}, {"complete": False}):
        page.state = replace(HEALTHY, **change)  # type: ignore[arg-type]
        code, _, text = page.get("/health?x=1")
        assert (code, json.loads(text)["status"]) == (503, "failing")


def test_metrics(page: Page) -> None:
    code, kind, text = page.get("/metrics")
    assert code == 200
    assert kind.startswith("text/plain; version=0.0.4")
    assert text == metrics(HEALTHY)
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert values == {
        "registrator_docker_up": "1",
        "registrator_consul_up": "1",
        "registrator_complete": "1",
        "registrator_containers": "2",
        "registrator_services": "3",
        'registrator_consul_writes_total{action="register"}': "4",
        'registrator_consul_writes_total{action="deregister"}': "0",
        'registrator_consul_write_failures_total{action="register"}': "0",
        'registrator_consul_write_failures_total{action="deregister"}': "5",
        "registrator_docker_losses_total": "1",
    }


def test_other_paths_are_not_found(page: Page) -> None:
    assert page.get("/")[0] == 404


def test_address_in_use(page: Page) -> None:
    with pytest.raises(LabError) as refused:
        StatusPage("127.0.0.1", page.page.port, lambda: HEALTHY)
    assert refused.value.where == f"127.0.0.1:{page.page.port}"
