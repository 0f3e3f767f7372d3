"""Where tasks go: spread, and the reasons when they go nowhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecsconsul.region.ecs.model import DEPROVISIONING, DRAINING, STOPPED, needed
from ecsconsul.region.ecs.placement import Unplaceable, free, place
from tests.region.ecs.making import container, definition, instance, task

GROUP = "service:weather"
FIXED = definition("portal", 1, container(portMappings=[{"containerPort": 4567, "hostPort": 8080}]))


def test_tasks_of_a_group_are_spread_evenly() -> None:
    instances = [instance(f"i-{n}") for n in range(3)]
    tasks = []
    for _ in range(6):
        chosen = place(definition(), GROUP, instances, tasks)
        tasks.append(task(instance_id=chosen.instance_id))
    assert sorted(one.instance_id for one in tasks) == ["i-0", "i-0", "i-1", "i-1", "i-2", "i-2"]


def test_among_equals_the_instance_with_the_fewest_tasks_at_all_is_chosen() -> None:
    other = task(instance_id="i-1", group="service:portal")
    assert place(definition(), GROUP, [instance("i-1"), instance("i-2")], [other]).instance_id == "i-2"


def test_a_task_that_has_ended_takes_nothing() -> None:
    full = instance(cpu=100, memory=200)
    assert place(definition(), GROUP, [full], [task(last_status=STOPPED)]) is full
    assert isinstance(place(definition(), GROUP, [full], [task(last_status=DEPROVISIONING)]), Unplaceable)


def test_a_fixed_port_is_given_once_an_instance() -> None:
    two = [instance("i-1"), instance("i-2")]
    first = task(task_definition=FIXED, instance_id="i-1")
    assert place(FIXED, GROUP, two, [first]).instance_id == "i-2"
    second = task(task_definition=FIXED, instance_id="i-2", last_status=DEPROVISIONING)
    assert place(FIXED, GROUP, two, [first, second]) == Unplaceable(
        "The closest matching container instance i-1 is already using a port required by your task (8080)",
        "RESOURCE:PORTS",
    )


def test_no_instance_or_none_that_takes_tasks() -> None:
    nothing = Unplaceable("no container instances were found in your cluster")
    assert place(definition(), GROUP, [], []) == nothing
    assert place(definition(), GROUP, [instance(status=DRAINING), instance("i-2", connected=False)], []) == nothing


@pytest.mark.parametrize(
    ("what", "words", "code"),
    [
        ({"memory": "5000"}, "insufficient memory available (4096 MiB of 5000)", "RESOURCE:MEMORY"),
        ({"cpu": "4096"}, "insufficient CPU units available (2048 of 4096)", "RESOURCE:CPU"),
    ],
)
def test_what_is_too_big_says_so_in_ecs_words(what: dict[str, str], words: str, code: str) -> None:
    found = place(definition("big", 1, container(), **what), GROUP, [instance()], [])
    assert found == Unplaceable(f"The closest matching container instance i-1 has {words}", code)


@pytest.mark.parametrize(
    ("what", "figures"),
    [
        ({"cpu": "256", "memory": "512"}, (256, 512)),
        ({"cpu": ".5 vCPU", "memory": "1GB"}, (512, 1024)),
        ({"cpu": "1 vcpu", "memory": "0.5 GB"}, (1024, 512)),
        ({}, (100, 200)),
    ],
)
def test_a_task_needs_its_own_figure_in_either_of_ecs_forms_else_its_containers(
    what: dict[str, str], figures: tuple[int, int]
) -> None:
    assert needed(definition("any", 1, container(), **what)) == figures


def test_a_soft_limit_is_what_is_reserved() -> None:
    two = definition("two", 1, container("a", memoryReservation=64), container("b", memory=None, cpu=0))
    assert needed(two) == (100, 64)


@given(sizes=st.lists(st.tuples(st.integers(0, 3000), st.integers(4, 5000)), max_size=12))
def test_no_instance_is_ever_given_more_than_it_has(sizes: list[tuple[int, int]]) -> None:
    instances = [instance("i-1"), instance("i-2", cpu=1024, memory=2048)]
    tasks = []
    for cpu, memory in sizes:
        what = definition("any", 1, container(cpu=cpu, memory=memory))
        chosen = place(what, GROUP, instances, tasks)
        if not isinstance(chosen, Unplaceable):
            tasks.append(task(instance_id=chosen.instance_id, task_definition=what))
    assert all(left >= 0 for one in instances for left in free(one, tasks))
