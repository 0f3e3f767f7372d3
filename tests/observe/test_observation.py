"""An observation of a real Consul, and of an ECS that the tests set."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from ecsconsul.observe.journal import Journal, past, read
from ecsconsul.observe.observation import Observation
from ecsconsul.observe.states import Event
from tests.consul_server import AgentClient, ConsulServer
from tests.observe.fake_target import FakeTarget
from tests.observe.samples import ecs, service, task

TIMEOUT = 60.0
FAR = "i-far"


def until(seen: Observation, condition: Callable[[Event], bool]) -> list[Event]:
    """The events up to the first one that meets the condition."""
    found: list[Event] = []
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        for event in seen.events(1.0):
            found.append(event)
            if condition(event):
                return found
    raise AssertionError(f"not among the events: {found}")


def fill(consul: AgentClient, number: int) -> None:
    """Register as many services on a node without an agent; a transaction takes 64 operations."""
    consul.send("put", "/v1/catalog/register", {"Node": FAR, "Address": "127.0.9.2"})
    services = [{"ID": f"s{n}", "Service": f"s{n}", "Port": n + 1} for n in range(number)]
    operations = [{"Service": {"Verb": "set", "Node": FAR, "Service": one}} for one in services]
    for start in range(0, number, 64):
        consul.send("put", "/v1/txn", operations[start : start + 64])


def test_instance_enters_changes_and_leaves(server: ConsulServer, consul: AgentClient) -> None:
    with Observation(FakeTarget(server)) as seen:
        assert seen.wait_until_complete(TIMEOUT)
        check = {"CheckID": "web", "TTL": "60s", "Status": "passing"}
        consul.register({"Name": "web", "ID": "web-1", "Address": "127.0.9.2", "Port": 80, "Check": check})
        [*_, entered] = until(seen, lambda event: event.kind == "instance-entered")
        assert entered.text == "web entered Consul at 127.0.9.2:80"
        assert (entered.instance, entered.node) == ("web-1", server.node)
        assert [one.at for one in seen.snapshot().endpoints_of("web")] == ["127.0.9.2:80"]
        consul.send("put", "/v1/agent/check/fail/web")
        [*_, changed] = until(seen, lambda event: event.kind == "instance-changed")
        assert changed.text.startswith("web is critical in Consul, after passing: ")
        assert changed.endpoint and changed.endpoint.status == "critical"
        consul.deregister("web-1")
        until(seen, lambda event: event.kind == "instance-left" and event.service == "web")
        assert seen.snapshot().endpoints_of("web") == []


def test_members_and_leader_are_seen(server: ConsulServer) -> None:
    with Observation(FakeTarget(server)) as seen:
        assert seen.wait_until_complete(TIMEOUT)
        found = seen.snapshot().members
        assert found and [(one.name, one.status) for one in found.members] == [(server.node, "alive")]
        assert found.leader.startswith(server.host)


def test_ecs_is_waited_for_and_not_polled(server: ConsulServer) -> None:
    target = FakeTarget(server)
    with Observation(target) as seen:
        assert seen.wait_until_complete(TIMEOUT)
        target.show(ecs(task(), services=(service(),)))
        found = until(seen, lambda event: event.kind == "task-running")
        assert [event.kind for event in found][:2] == ["service-created", "task-created"]
        assert target.asked <= 3


def test_lab_that_does_not_answer_is_lost_and_comes_back(server: ConsulServer) -> None:
    target = FakeTarget()
    with Observation(target) as seen:
        assert seen.wait_until_complete(TIMEOUT)
        assert seen.snapshot().lost == {"Consul": "there is none"}
        target.server = server
        until(seen, lambda event: event.kind == "source-back")
        target.show(ecs(), silent="hung")
        [*_, lost] = until(seen, lambda event: event.kind == "source-lost")
        assert lost.text == "ECS does not answer: hung"
        target.show(ecs(task(), services=()))
        until(seen, lambda event: event.kind == "source-back")


def test_several_readers_each_get_all_events() -> None:
    target = FakeTarget()
    with Observation(target) as seen:
        assert seen.wait_until_complete(TIMEOUT)
        target.show(ecs(task()))
        number, found = seen.events_after(0, TIMEOUT)
        while not any(event.kind == "task-running" for event in found):
            number, more = seen.events_after(number, TIMEOUT)
            found += more
        assert seen.events_after(0, 0.0) == (number, found)
        assert seen.events_after(number, 0.0) == (number, [])


def test_closing_wakes_who_waits() -> None:
    seen = Observation(FakeTarget()).__enter__()
    waiting = threading.Thread(target=lambda: seen.events_after(10**9, TIMEOUT))
    waiting.start()
    seen.close()
    waiting.join(TIMEOUT / 2)
    assert not waiting.is_alive()
    assert seen.is_closed


def test_what_is_seen_is_recorded(server: ConsulServer, consul: AgentClient, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.open()
    with Observation(FakeTarget(server), journal=journal) as seen:
        assert seen.wait_until_complete(TIMEOUT)
        before = time.time()
        consul.register({"Name": "web", "ID": "web-1", "Address": "127.0.9.2", "Port": 80})
        until(seen, lambda event: event.kind == "instance-entered")
        after = time.time()
    assert past(read([tmp_path]), before).endpoints == ()
    assert [one.at for one in past(read([tmp_path]), after).endpoints] == ["127.0.9.2:80"]


def test_a_large_catalog_costs_one_query_and_hardly_any_time_while_nothing_happens(
    server: ConsulServer, consul: AgentClient
) -> None:
    """A thousand instances: while they stand still, less than a tenth of a core."""
    fill(consul, 1000)
    with Observation(FakeTarget(server)) as seen:
        assert seen.wait_until_complete(TIMEOUT)
        end = time.monotonic() + TIMEOUT
        while len(seen.snapshot().endpoints) < 1000 and time.monotonic() < end:
            seen.events(1.0)
        assert len(seen.snapshot().endpoints) == 1000
        while seen.events(1.0):
            pass
        used, began = psutil.Process().cpu_times(), time.monotonic()
        seen.events(2.0)
        now = psutil.Process().cpu_times()
        share = (now.user + now.system - used.user - used.system) / (time.monotonic() - began)
        assert share < 0.1
        consul.register({"Name": "late", "ID": "late", "Address": "127.0.9.2", "Port": 2000})
        until(seen, lambda event: event.service == "late")
    consul.send("put", "/v1/catalog/deregister", {"Node": FAR})


def test_a_screen_waits_for_the_next_snapshot() -> None:
    target = FakeTarget()
    with Observation(target) as seen:
        assert seen.wait_until_complete(TIMEOUT)
        known = seen.snapshot()
        assert seen.next_snapshot(known, 0.0) is known
        target.show(ecs(task()))
        end = time.monotonic() + TIMEOUT
        while not known.tasks and time.monotonic() < end:
            known = seen.next_snapshot(known, 1.0)
        assert known.tasks == (task(),)
        assert "task-created" in [event.kind for event in seen.events(0.0)], "the events are there before it"
