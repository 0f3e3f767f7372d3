"""Placement spreads tasks, and says why a task cannot be placed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecsconsul.region.ecs.model import DEPROVISIONING, DRAINING, STOPPED, Binding, ContainerInstance, Task, needed
from ecsconsul.region.ecs.placement import SPREAD, Unplaceable, free, place
from tests.region.ecs.factories import container, definition, instance, task

GROUP = "service:weather"
FIXED = definition("portal", 1, container(portMappings=[{"containerPort": 4567, "hostPort": 8080}]))


def test_task_that_is_being_stopped_drives_its_successor_nowhere() -> None:
    """After StopTask its successor goes where it was, and not to the instance that has the other task."""
    instances = [instance("i-0"), instance("i-1")]
    staying, going = task(instance_id="i-1"), task(instance_id="i-0")
    going.desired_status = STOPPED
    for group_of_others in range(3):
        busy = [task(instance_id="i-0", group="service:other") for _ in range(group_of_others)]
        assert place(definition(), GROUP, instances, [staying, going, *busy]).instance_id == "i-0"


def test_tasks_of_a_group_are_spread_evenly() -> None:
    instances = [instance(f"i-{n}") for n in range(3)]
    tasks = []
    for _ in range(6):
        chosen = place(definition(), GROUP, instances, tasks)
        tasks.append(task(instance_id=chosen.instance_id))
    assert sorted(one.instance_id for one in tasks) == ["i-0", "i-0", "i-1", "i-1", "i-2", "i-2"]


def test_instance_with_fewer_tasks_overall_breaks_a_tie() -> None:
    other = task(instance_id="i-1", group="service:portal")
    assert place(definition(), GROUP, [instance("i-1"), instance("i-2")], [other]).instance_id == "i-2"


ZONE, HOST = ({"type": "spread", "field": field} for field in ("attribute:ecs.availability-zone", "instanceId"))


def zoned() -> list[ContainerInstance]:
    """Two instances in one zone, and one in another."""
    zones = {"i-1": "a", "i-2": "a", "i-3": "b"}
    return [instance(name, attributes={"ecs.availability-zone": zone}) for name, zone in zones.items()]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ((ZONE, HOST), ["i-1", "i-2", "i-3", "i-3"]),
        (SPREAD, ["i-1", "i-2", "i-3", "i-3"]),
        ((ZONE,), ["i-1", "i-2", "i-3", "i-3"]),
        (({"type": "spread", "field": "instanceId"},), ["i-1", "i-1", "i-2", "i-3"]),
        (({"type": "spread", "field": "host"},), ["i-1", "i-1", "i-2", "i-3"]),
        (({"type": "spread", "field": "attribute:rack"},), ["i-1", "i-1", "i-2", "i-3"]),
        (({"type": "random"},), ["i-1", "i-1", "i-2", "i-3"]),
        (({"type": "binpack", "field": "memory"},), ["i-1"] * 4),
        (({"type": "binpack", "field": "CPU"},), ["i-1"] * 4),
    ],
)
def test_strategy_chooses_the_instance(strategy: Any, expected: list[str]) -> None:
    tasks: list[Task] = []
    for _ in range(4):
        chosen = place(definition(), GROUP, zoned(), tasks, strategy)
        tasks.append(task(instance_id=chosen.instance_id))
    assert sorted(one.instance_id for one in tasks) == expected


def test_tasks_on_a_draining_instance_take_no_place_in_a_zone() -> None:
    """They will not stay, so their zone is as empty as it will be."""
    here, there, last = zoned()
    here.status = DRAINING
    tasks = [task(instance_id="i-1"), task(instance_id="i-1"), task(instance_id="i-3")]
    assert place(definition(), GROUP, [here, there, last], tasks).instance_id == "i-2"


def test_stopped_task_reserves_nothing() -> None:
    full = instance(cpu=100, memory=200)
    assert place(definition(), GROUP, [full], [task(last_status=STOPPED)]) is full
    assert isinstance(place(definition(), GROUP, [full], [task(last_status=DEPROVISIONING)]), Unplaceable)


def test_fixed_port_is_used_once_per_instance() -> None:
    two = [instance("i-1"), instance("i-2")]
    first = task(task_definition=FIXED, instance_id="i-1")
    assert place(FIXED, GROUP, two, [first]).instance_id == "i-2"
    second = task(task_definition=FIXED, instance_id="i-2", last_status=DEPROVISIONING)
    assert place(FIXED, GROUP, two, [first, second]) == Unplaceable(
        "The closest matching container instance i-1 is already using a port required by your task (8080)",
        "RESOURCE:PORTS",
    )


def test_port_that_a_process_has_at_every_address_is_taken_on_all_instances() -> None:
    two = [instance("i-1"), instance("i-2")]
    first = task(task_definition=FIXED, instance_id="i-1")
    first.containers[0].bindings = (Binding(4567, 8080, requested_port=8080, on_loopback=True),)
    found = place(FIXED, GROUP, two, [first])
    assert isinstance(found, Unplaceable)
    assert (found.code, "listens there at every address" in found.reason) == ("RESOURCE:PORTS", True)
    first.last_status = STOPPED
    assert isinstance(place(FIXED, GROUP, two, [first]), ContainerInstance)


def test_no_active_instance() -> None:
    nothing = Unplaceable("no container instances were found in your cluster")
    assert place(definition(), GROUP, [], []) == nothing
    assert place(definition(), GROUP, [instance(status=DRAINING), instance("i-2", connected=False)], []) == nothing


@pytest.mark.parametrize(
    ("size", "shortage", "code"),
    [
        ({"memory": "5000"}, "insufficient memory available (4096 MiB of 5000)", "RESOURCE:MEMORY"),
        ({"cpu": "4096"}, "insufficient CPU units available (2048 of 4096)", "RESOURCE:CPU"),
    ],
)
def test_task_that_is_too_big_is_unplaceable(size: dict[str, str], shortage: str, code: str) -> None:
    found = place(definition("big", 1, container(), **size), GROUP, [instance()], [])
    assert found == Unplaceable(f"The closest matching container instance i-1 has {shortage}", code)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ({"cpu": "256", "memory": "512"}, (256, 512)),
        ({"cpu": ".5 vCPU", "memory": "1GB"}, (512, 1024)),
        ({"cpu": "1 vcpu", "memory": "0.5 GB"}, (1024, 512)),
        ({}, (100, 200)),
    ],
)
def test_size_of_the_task_or_else_of_its_containers_is_reserved(
    size: dict[str, str], expected: tuple[int, int]
) -> None:
    assert needed(definition("any", 1, container(), **size)) == expected


def test_memory_reservation_is_reserved() -> None:
    two = definition("two", 1, container("a", memoryReservation=64), container("b", memory=None, cpu=0))
    assert needed(two) == (100, 64)


@given(sizes=st.lists(st.tuples(st.integers(0, 3000), st.integers(4, 5000)), max_size=12))
def test_instances_are_never_overcommitted(sizes: list[tuple[int, int]]) -> None:
    instances = [instance("i-1"), instance("i-2", cpu=1024, memory=2048)]
    tasks = []
    for cpu, memory in sizes:
        task_definition = definition("any", 1, container(cpu=cpu, memory=memory))
        chosen = place(task_definition, GROUP, instances, tasks)
        if not isinstance(chosen, Unplaceable):
            tasks.append(task(instance_id=chosen.instance_id, task_definition=task_definition))
    assert all(left >= 0 for one in instances for left in free(one, tasks))
