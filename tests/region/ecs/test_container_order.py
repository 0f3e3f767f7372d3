"""The order in which a task's containers start and stop."""

from __future__ import annotations

from typing import Any

import pytest

from ecsconsul.region.ecs.container_order import next_deadline, next_step, order_errors, stop_levels
from ecsconsul.region.ecs.model import HEALTHY, RUNNING, STOPPED, UNHEALTHY, ContainerState
from tests.region.ecs.factories import container

CHECK = {"command": ["CMD", "true"]}


def needs(name: str, condition: str) -> list[dict[str, str]]:
    return [{"containerName": name, "condition": condition}]


def app(condition: str, **more: Any) -> ContainerState:
    return ContainerState(container("app", dependsOn=needs("db", condition), **more))


def db(status: str = RUNNING, **more: Any) -> ContainerState:
    definition = container("db", essential=False, healthCheck=CHECK, startTimeout=more.pop("startTimeout", 0))
    return ContainerState(definition, status=status, started_at=100.0, **more)


def starts(*states: ContainerState, now: float = 100.0) -> list[str]:
    return [state.name for state in next_step(states, now).start]


def failures(*states: ContainerState, now: float = 100.0) -> dict[str, str]:
    return {state.name: reason for state, reason in next_step(states, now).fail}


def test_containers_without_dependencies_start_at_once() -> None:
    assert starts(ContainerState(container("a")), ContainerState(container("b"))) == ["a", "b"]


def test_links_and_volumes_of_another_container_wait_for_its_start() -> None:
    linked = ContainerState(container("linked", links=["db:database"]))
    mounted = ContainerState(container("mounted", volumesFrom=[{"sourceContainer": "db"}]))
    pending = ContainerState(container("db"))
    assert starts(linked, mounted, pending) == ["db"]
    assert starts(linked, mounted, db()) == ["linked", "mounted"]


@pytest.mark.parametrize(
    ("condition", "ready", "not_yet"),
    [
        ("HEALTHY", db(health=HEALTHY), db()),
        ("COMPLETE", db(STOPPED, exit_code=3), db()),
        ("SUCCESS", db(STOPPED, exit_code=0), db()),
    ],
)
def test_condition_decides_when_a_container_starts(
    condition: str, ready: ContainerState, not_yet: ContainerState
) -> None:
    assert starts(app(condition), ready) == ["app"]
    assert (starts(app(condition), not_yet), failures(app(condition), not_yet)) == ([], {})


@pytest.mark.parametrize(
    ("condition", "needed", "why"),
    [
        ("SUCCESS", db(STOPPED, exit_code=1), "did not exit successfully"),
        ("HEALTHY", db(STOPPED, exit_code=0), "exited before it was healthy"),
        ("HEALTHY", db(health=UNHEALTHY), "is unhealthy"),
        ("COMPLETE", db(STOPPED), "did not start"),
    ],
)
def test_condition_that_can_never_be_met_fails_the_container(condition: str, needed: ContainerState, why: str) -> None:
    found = failures(app(condition), needed)["app"]
    assert "dependency [db] for target [app]" in found
    assert why in found


def test_start_timeout_of_the_dependency_ends_the_wait() -> None:
    needed, waiting = db(startTimeout=5), app("HEALTHY")
    assert next_deadline([waiting, needed]) == 105.0
    assert failures(waiting, needed, now=104.9) == {}
    assert "within its startTimeout" in failures(waiting, needed, now=105.0)["app"]
    assert next_deadline([app("HEALTHY"), db()]) is None


def test_containers_stop_before_those_that_they_depend_on() -> None:
    definitions = [container("db"), container("app", links=["db"]), container("web", dependsOn=needs("app", "START"))]
    assert stop_levels(definitions) == [["web"], ["app"], ["db"]]


@pytest.mark.parametrize(
    ("containers", "error"),
    [
        ([container("app", dependsOn=needs("x", "START"))], "app depends on x, which is not in the task definition"),
        ([container("db"), container("app", dependsOn=needs("db", "HEALTHY"))], "db has no health check"),
        ([container("db"), container("app", dependsOn=needs("db", "COMPLETE"))], "db is essential"),
        ([container("db"), container("app", dependsOn=needs("db", "READY"))], "none of START, COMPLETE"),
        ([container("a", links=["b"]), container("b", links=["a"])], "Container dependency cycle"),
    ],
)
def test_impossible_order_is_an_error(containers: list[dict[str, Any]], error: str) -> None:
    (found,) = order_errors(containers)
    assert error in found


def test_possible_order_has_no_errors() -> None:
    definitions = [
        container("db", essential=False, healthCheck=CHECK),
        container("app", dependsOn=needs("db", "HEALTHY")),
    ]
    assert order_errors(definitions) == []
