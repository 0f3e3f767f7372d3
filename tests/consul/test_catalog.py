"""The Consul client against a real agent, and against small HTTP servers for what a real one will not do."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from ecsconsul.consul.catalog import CheckState, Consul, Instance, Member, Refused, next_index, worst
from ecsconsul.errors import LabError, Unreachable
from tests.consul_server import AgentClient, ConsulServer
from tests.listening import reserved_port

SERF = CheckState("Serf Health Status", "passing", "Agent alive and reachable")


# --- what is pure


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], "passing"),
        (["passing", "passing"], "passing"),
        (["passing", "warning"], "warning"),
        (["critical", "warning", "passing"], "critical"),
    ],
)
def test_worst(statuses: list[str], expected: str) -> None:
    assert worst(tuple(CheckState("c", status, "") for status in statuses)) == expected


def test_index_that_goes_backwards_starts_over() -> None:
    assert [next_index(5, 7), next_index(5, 5), next_index(5, 3)] == [7, 5, 0]


# --- a real agent


def test_leader_and_members(server: ConsulServer, consul: AgentClient) -> None:
    assert consul.leader().startswith(f"{server.host}:")
    assert consul.members() == [Member(server.node, server.host, "server", "alive")]


def test_an_instance_in_the_catalog(server: ConsulServer, consul: AgentClient) -> None:
    check = {"Name": "answers", "TTL": "60s", "Status": "warning", "Notes": "n"}
    consul.register(
        {
            "ID": "w1",
            "Name": "weather",
            "Address": "127.0.9.2",
            "Port": 32768,
            "Tags": ["http"],
            "Check": check,
        }
    )
    assert consul.catalog()["weather"] == [
        Instance(
            id="w1",
            node=server.node,
            address="127.0.9.2",
            port=32768,
            status="warning",
            tags=("http",),
            checks=(CheckState("answers", "warning", ""), SERF),
        )
    ]


def test_instance_inherits_address_and_checks_of_its_node(server: ConsulServer, consul: AgentClient) -> None:
    consul.register({"ID": "w1", "Name": "weather", "Port": 80})
    (found,) = consul.catalog()["weather"]
    assert (found.address, found.tags, found.checks, found.status) == (server.host, (), (SERF,), "passing")


def test_checks_belong_to_their_own_instance(consul: AgentClient) -> None:
    for name, status in (("a", "critical"), ("b", "passing")):
        check = {"Name": f"check {name}", "TTL": "60s", "Status": status}
        consul.register({"ID": name, "Name": "twins", "Port": 80, "Check": check})
    found = {i.id: (i.status, i.checks[0].name) for i in consul.catalog()["twins"]}
    assert found == {"a": ("critical", "check a"), "b": ("passing", "check b")}


def test_a_critical_node_makes_its_instances_critical(server: ConsulServer, consul: AgentClient) -> None:
    with away_node(server):
        (found,) = consul.catalog()["elsewhere"]
        assert (found.node, found.address, found.status) == ("away", "192.0.2.1", "critical")
        assert found.checks == (CheckState("alive", "critical", "gone"),)


@contextmanager
def away_node(server: ConsulServer) -> Iterator[None]:
    """A node without an agent, put into the catalog directly, and its service."""
    api = f"http://{server.host}:{server.http}/v1/catalog"
    node = {"Node": "away", "Address": "192.0.2.1"}
    check = {"Node": "away", "CheckID": "alive", "Name": "alive", "Status": "critical", "Output": "gone"}
    service = {"ID": "e1", "Service": "elsewhere", "Port": 80}
    requests.put(f"{api}/register", json=node | {"Service": service, "Check": check}, timeout=5).raise_for_status()
    try:
        yield
    finally:
        requests.put(f"{api}/deregister", json={"Node": "away"}, timeout=5).raise_for_status()


def test_second_registration_replaces_checks(consul: AgentClient) -> None:
    check = {"Name": "old", "TTL": "60s", "Status": "critical"}
    consul.register({"ID": "w1", "Name": "weather", "Port": 80, "Check": check})
    consul.register({"ID": "w1", "Name": "weather", "Port": 81})
    (found,) = consul.catalog()["weather"]
    assert (found.port, found.status, found.checks) == (81, "passing", (SERF,))


@pytest.mark.parametrize("service_id", ["w1", "i-0a1b:ecs-weather-1:80", "a/b c?d=e#f%20"])
def test_deregistered_service_is_gone(consul: AgentClient, service_id: str) -> None:
    consul.register({"ID": service_id, "Name": "weather", "Port": 80})
    assert [instance.id for instance in consul.catalog()["weather"]] == [service_id]
    consul.deregister(service_id)
    assert "weather" not in consul.catalog()


def test_blocking_query_returns_on_a_change(consul: AgentClient) -> None:
    index, before = consul.next_catalog()
    assert "weather" not in before
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(consul.next_catalog, index, 120)
        consul.register({"ID": "w1", "Name": "weather", "Port": 80})
        later, found = waiting.result(60)
    assert [instance.id for instance in found["weather"]] == ["w1"]
    assert later > index


def test_blocking_query_returns_after_its_wait(consul: AgentClient) -> None:
    consul.register({"ID": "w1", "Name": "weather", "Port": 80})
    index, _ = consul.next_catalog()
    started = time.monotonic()
    again, found = consul.next_catalog(index, 0.2)
    # Consul's default is five minutes
    assert 0.15 < time.monotonic() - started < 60
    assert (again, len(found["weather"])) == (index, 1)


def test_blocking_query_without_time_does_not_wait_for_consuls_default(consul: AgentClient) -> None:
    index, _ = consul.next_catalog()
    for wait in (0.0, 0.0001, -1.0):
        started = time.monotonic()
        consul.next_catalog(index, wait)
        assert time.monotonic() - started < 60


def test_threads_share_one_client(consul: AgentClient) -> None:
    ids = [f"t{i}" for i in range(60)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda i: consul.register({"ID": i, "Name": "many", "Port": 80, "Tags": [i]}), ids))
        catalogs = list(pool.map(lambda _: consul.catalog(), ids))
        list(pool.map(consul.deregister, ids))
    for catalog in catalogs:
        assert {instance.id: instance.tags for instance in catalog["many"]} == {i: (i,) for i in ids}


def test_environment_does_not_redirect_the_client(server: ConsulServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert Consul(server.host, server.http).leader().startswith(server.host)


# --- servers that are not Consul


@contextmanager
def http_server(
    body: bytes, code: int = 200, drop: tuple[int, ...] = (), delay: float = 0.0
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Answers every request with that, but closes the connection of those in `drop` (the first is 0) instead.

    Yields its port and the requests that it saw.
    """
    seen: list[dict[str, Any]] = []
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.close_connection = len(seen) in drop
            seen.append({"method": self.command, "path": self.path, "token": self.headers.get("X-Consul-Token")})
            if self.close_connection:
                return
            over.wait(delay)
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.daemon_threads = True
        thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield httpd.server_port, seen
        finally:
            over.set()
            httpd.shutdown()
            thread.join(60)


def big_catalog(services: int, nodes: int) -> bytes:
    def node(n: int) -> dict[str, Any]:
        ids = [f"svc{i}-{n}" for i in range(services)]
        held = [{"ID": i, "Service": i.split("-")[0], "Address": "", "Port": 80, "Tags": ["t"]} for i in ids]
        checks = [{"Name": "c", "Status": "passing", "Output": "OK", "ServiceID": i} for i in ids]
        return {"Node": f"n{n}", "Address": f"127.0.10.{n}", "Services": held, "Checks": checks}

    return json.dumps([node(n) for n in range(nodes)]).encode()


def test_catalog_takes_one_request() -> None:
    with http_server(big_catalog(200, 10)) as (port, seen):
        catalog = Consul("127.0.0.1", port).catalog()
    assert len(seen) == 1
    assert (len(catalog), {len(instances) for instances in catalog.values()}) == (200, {10})


def test_node_without_services_and_checks() -> None:
    with http_server(b'[{"Node": "n", "Address": "a", "Services": null, "Checks": null}]') as (port, _):
        assert Consul("127.0.0.1", port).catalog() == {}


def test_unknown_status_is_critical() -> None:
    check = {"Name": "c", "Status": "unwell", "Output": "", "ServiceID": "w"}
    service = {"ID": "w", "Service": "weather", "Address": "", "Port": 80, "Tags": None}
    node = {"Node": "n", "Address": "127.0.9.1", "Services": [service], "Checks": [check]}
    with http_server(json.dumps([node]).encode()) as (port, _):
        (found,) = Consul("127.0.0.1", port).catalog()["weather"]
    assert (found.status, found.checks[0].status) == ("critical", "critical")


def test_roles_and_states_of_members() -> None:
    members = [
        {"Name": f"m{i}", "Addr": "127.0.9.1", "Status": i, "Tags": {"role": role}}
        for i, role in enumerate(["node", "consul", "node", "node", "node"])
    ]
    with http_server(json.dumps(members).encode()) as (port, _):
        found = Consul("127.0.0.1", port).members()
    assert [m.status for m in found] == ["none", "alive", "leaving", "left", "failed"]
    assert [m.role for m in found] == ["client", "server", "client", "client", "client"]


def test_missing_leader_is_empty_and_token_is_sent() -> None:
    with http_server(b'""') as (port, seen):
        assert Consul("127.0.0.1", port, token="secret").leader() == ""
    assert seen[0]["token"] == "secret"


def test_dropped_keep_alive_connection_is_retried() -> None:
    with http_server(b'"127.0.0.1:8300"', drop=(1,)) as (port, seen):
        consul = Consul("127.0.0.1", port)
        assert consul.leader() == consul.leader() == "127.0.0.1:8300"
    assert len(seen) == 3


def test_agent_that_closes_every_connection_is_unreachable() -> None:
    with http_server(b"", drop=(0, 1)) as (port, seen), pytest.raises(Unreachable) as caught:
        Consul("127.0.0.1", port).leader()
    assert len(seen) == 2
    assert "closed" in caught.value.why


def test_slow_agent_gets_no_retry() -> None:
    with http_server(b'""', delay=60.0) as (port, seen):
        with pytest.raises(Unreachable, match="no answer in time"):
            Consul("127.0.0.1", port, timeout=0.1).leader()
        end = time.monotonic() + 60
        while not seen and time.monotonic() < end:
            # the server's thread may be behind the client, which has given up
            time.sleep(0.005)
    assert len(seen) == 1


def test_rejection_has_consuls_message() -> None:
    with http_server(b"Permission denied", code=403) as (port, _), pytest.raises(Refused) as caught:
        Consul("127.0.0.1", port).leader()
    assert caught.value.why == "403 Permission denied"
    assert caught.value.where.endswith("/v1/status/leader")


@pytest.mark.parametrize("body", [b"<html>", b"{}", b"3"])
def test_foreign_answer_is_reported(body: bytes) -> None:
    with http_server(body) as (port, _), pytest.raises(LabError, match="isn't from Consul"):
        Consul("127.0.0.1", port).catalog()


def test_closed_port_is_unreachable() -> None:
    with reserved_port() as port, pytest.raises(Unreachable) as caught:
        Consul("127.0.0.1", port).leader()
    assert caught.value.why == "Connection refused"
    assert f"127.0.0.1:{port}/v1/status/leader" in caught.value.where
    assert caught.value.hint


def test_silence_is_unreachable_within_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        consul = Consul("127.0.0.1", silent.getsockname()[1], timeout=0.2)
        started = time.monotonic()
        with pytest.raises(Unreachable, match="no answer in time"):
            consul.leader()
        with pytest.raises(Unreachable, match="no answer in time"):
            consul.next_catalog(5, 0.2)
        assert 0.5 < time.monotonic() - started < 60


def test_import_is_light() -> None:
    script = "import sys, ecsconsul.consul; sys.exit(' '.join({'requests', 'consul', 'dns'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20)
    assert done.stderr.strip() == ""
