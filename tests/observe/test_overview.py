"""Tasks and instances are joined, and what doesn't fit is named."""

from __future__ import annotations

import pytest

from ecsconsul.consul.catalog import Member
from ecsconsul.observe.overview import overview
from ecsconsul.observe.states import RUNNING, STOPPED, Members, Snapshot
from tests.observe.samples import NODE, consul, ecs, endpoint, members, seen, service, task

OTHER = "9c1d" + "0" * 28


def healths(snapshot: Snapshot, **more: object) -> dict[str, list[str]]:
    found = overview(snapshot, **more)  # type: ignore[arg-type]
    return {one.name: [row.health for row in one.rows] for one in found.services}


def test_a_running_task_has_its_instance() -> None:
    [weather] = overview(seen()).services
    [row] = weather.rows
    assert (row.at, row.node, row.revision, row.since) == ("127.0.9.2:32768", NODE, "lab-weather:1", 10.0)
    assert (weather.desired, weather.running, weather.passing, weather.is_well) == (1, 1, 1, True)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (task("PENDING"), "starting"),
        (task(), "not in Consul"),
        (task(desired=STOPPED), "stopping"),
        (task(stopping=12.0), "stopping"),
    ],
)
def test_a_task_that_consul_does_not_list_says_why(given: object, expected: str) -> None:
    assert healths(seen(ecs=ecs(given), consul=consul())) == {"weather": [expected]}  # type: ignore[arg-type]


def test_a_task_is_not_missed_where_it_is_not_expected_or_nobody_knows() -> None:
    without = seen(consul=consul())
    assert healths(without, registers=["portal"]) == {"weather": ["running"]}
    assert healths(seen(consul=None)) == {"weather": ["running"]}
    assert healths(seen(consul=consul(), lost={"Consul": "gone"})) == {"weather": ["running"]}
    assert healths(seen(ecs=ecs(task(service="")), consul=consul())) == {"weather": [], "": ["running"]}


def test_an_instance_without_a_task_is_a_ghost_if_ecs_answers() -> None:
    assert healths(seen(ecs=ecs())) == {"weather": ["ghost"]}
    assert healths(seen(ecs=None)) == {"weather": ["passing"]}
    assert not overview(seen(ecs=ecs())).services[0].is_well


def test_a_stopped_task_is_no_row_and_a_stopping_one_is_none_that_passes() -> None:
    assert healths(seen(ecs=ecs(task(STOPPED)), consul=consul())) == {"weather": []}
    [weather] = overview(seen(ecs=ecs(task(desired=STOPPED)))).services
    assert [row.health for row in weather.rows] == ["stopping"]
    assert weather.running == 0


def test_a_task_with_two_ports_has_two_rows_and_counts_once() -> None:
    container = task().containers[0]
    both = task(containers=(container.__class__("weather", RUNNING, (32768, 32769)),))
    found = consul(endpoint(), endpoint("critical", port=32769, name="weather-stats"))
    [weather] = overview(seen(ecs=ecs(both), consul=found)).services
    assert [row.health for row in weather.rows] == ["passing", "critical"]
    assert (weather.running, weather.passing) == (1, 0)


def test_a_deployment_rolls_until_the_old_revision_has_gone() -> None:
    new = task(id=OTHER, port=32769, revision="lab-weather:2", started=15.0)
    services = (service(desired=1, running=2, revision=2),)
    both = seen(ecs=ecs(task(), new, services=services), consul=consul(endpoint()))
    assert overview(both).services[0].rolling == (0, 1)
    passing = seen(ecs=ecs(task(), new, services=services), consul=consul(endpoint(), endpoint(port=32769)))
    assert overview(passing).services[0].rolling == (1, 1)
    done = seen(ecs=ecs(new, services=services), consul=consul(endpoint(port=32769)))
    assert overview(done).services[0].rolling is None


def test_services_of_the_config_come_first() -> None:
    services = tuple(service(0, 0, name=name) for name in ("a", "b", "c"))
    found = overview(seen(ecs=ecs(services=services), consul=consul(endpoint(name="zoo"))), ["c", "gone"])
    assert [one.name for one in found.services] == ["c", "a", "b", "zoo"]


def test_nodes_have_their_rows_and_servers_are_apart() -> None:
    both = Members((Member("i-1", "127.0.9.1", "server", "alive"), Member(NODE, "127.0.9.2", "client", "failed"),
                    Member("i-9", "127.0.9.9", "client", "alive")), "127.0.9.1:8300")  # fmt: skip
    found = overview(seen(members=both))
    assert [(one.name, one.member and one.member.status, len(one.rows)) for one in found.nodes] == [
        (NODE, "failed", 1), ("i-9", "alive", 0),
    ]  # fmt: skip
    assert found.leading == "i-1"


def test_the_leader_is_named_only_if_one_server_has_its_address() -> None:
    two = Members(tuple(Member(name, "127.0.0.1", "server", "alive") for name in ("i-1", "i-2")), "127.0.0.1:8300")
    assert overview(seen(members=two)).leading == "127.0.0.1:8300"
    assert overview(seen(members=members("alive", leader=""))).leading == ""
