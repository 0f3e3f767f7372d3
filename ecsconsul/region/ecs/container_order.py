"""In which order the containers of a task start and stop. Pure; the task's supervisor carries it out.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDependency.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from .model import HEALTHY, PENDING, RUNNING, STOPPED, UNHEALTHY, ContainerState

START, COMPLETE, SUCCESS = "START", "COMPLETE", "SUCCESS"
CONDITIONS = (START, COMPLETE, SUCCESS, HEALTHY)

Json = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """What to do next: containers to start, and those that can never start, each with the reason."""

    start: tuple[ContainerState, ...] = ()
    fail: tuple[tuple[ContainerState, str], ...] = ()


def link_aliases(definition: Mapping[str, Any]) -> dict[str, str]:
    """The alias of each linked container, by the container's name."""
    links = [str(link).partition(":") for link in definition.get("links") or ()]
    return {name: alias or name for name, _, alias in links}


def dependencies(container: Mapping[str, Any]) -> dict[str, str]:
    """The condition for each container that this one waits for: its dependsOn, and those it links or mounts from."""
    mounted = [one["sourceContainer"] for one in container.get("volumesFrom") or () if one.get("sourceContainer")]
    given = {one["containerName"]: one["condition"] for one in container.get("dependsOn") or ()}
    return {**dict.fromkeys([*link_aliases(container), *mounted], START), **given}


def order_errors(containers: Sequence[Json]) -> list[str]:
    """What makes the containers' order impossible, in words like those of ECS; empty for an order that works."""
    known = {container["name"]: container for container in containers}
    errors = [error for container in containers for error in _errors_of(container, known)]
    if errors:
        return errors
    try:
        TopologicalSorter({name: dependencies(one) for name, one in known.items()}).prepare()
    except CycleError as error:
        return [f"Container dependency cycle: {' -> '.join(error.args[1])}."]
    return []


def _errors_of(container: Json, known: Mapping[str, Json]) -> list[str]:
    errors = []
    for name, condition in dependencies(container).items():
        start = f"Container {container['name']} depends on {name}"
        if name not in known:
            errors.append(f"{start}, which is not in the task definition.")
        elif condition not in CONDITIONS:
            errors.append(f"{start} with the condition {condition}, which is none of {', '.join(CONDITIONS)}.")
        elif condition == HEALTHY and not known[name].get("healthCheck"):
            errors.append(f"{start} with the condition HEALTHY, but {name} has no health check.")
        elif condition in (COMPLETE, SUCCESS) and known[name].get("essential", True):
            errors.append(f"{start} with the condition {condition}, but {name} is essential.")
    return errors


def next_step(states: Sequence[ContainerState], now: float) -> Step:
    """The containers that can start now, and those that never can; `now` is on the clock of `started_at`."""
    known = {state.name: state for state in states}
    start, fail = [], []
    for state in states:
        if state.status != PENDING:
            continue
        needed = dependencies(state.definition)
        reasons = [
            reason for name, condition in needed.items() if (reason := _never(state, known[name], condition, now))
        ]
        if reasons:
            fail.append((state, reasons[0]))
        elif all(_is_met(known[name], condition) for name, condition in needed.items()):
            start.append(state)
    return Step(tuple(start), tuple(fail))


def next_deadline(states: Sequence[ContainerState]) -> float | None:
    """When the next startTimeout is over, while containers wait; None if nothing but an event can change anything."""
    known = {state.name: state for state in states}
    waiting = [
        known[name]
        for state in states
        if state.status == PENDING
        for name, condition in dependencies(state.definition).items()
        if not _is_met(known[name], condition)
    ]
    return min((end for one in waiting if (end := _deadline(one)) is not None), default=None)


def stop_levels(containers: Sequence[Json]) -> list[list[str]]:
    """The names of the containers in the order in which they stop: each before those that it depends on."""
    sorter = TopologicalSorter({container["name"]: dependencies(container) for container in containers})
    sorter.prepare()
    levels: list[list[str]] = []
    while sorter.is_active():
        ready = sorter.get_ready()
        levels.insert(0, list(ready))
        sorter.done(*ready)
    return levels


def _is_met(needed: ContainerState, condition: str) -> bool:
    if condition == START:
        return needed.started_at is not None
    if condition == HEALTHY:
        return needed.status == RUNNING and needed.health == HEALTHY
    has_ended = needed.status == STOPPED and needed.exit_code is not None
    return has_ended and (condition == COMPLETE or needed.exit_code == 0)


def _never(waiting: ContainerState, needed: ContainerState, condition: str, now: float) -> str:
    """Why a condition will not be met any more, in the ECS agent's words; "" while it may be."""
    start = f"dependency graph: failed to resolve the container ordering dependency [{needed.name}]"
    start = f"{start} for target [{waiting.name}] as"
    if _is_met(needed, condition):
        return ""
    if needed.status == STOPPED:
        never_ran = needed.exit_code is None
        return f"{start} dependency {'did not start' if never_ran else _unmet(condition)}"
    if condition == HEALTHY and needed.health == UNHEALTHY:
        return f"{start} dependency is unhealthy"
    deadline = _deadline(needed)
    return (
        f"{start} dependency did not reach {condition} within its startTimeout" if deadline and now >= deadline else ""
    )


def _unmet(condition: str) -> str:
    return "did not exit successfully." if condition == SUCCESS else "exited before it was healthy"


def _deadline(needed: ContainerState) -> float | None:
    """When a container's startTimeout is over; None without one, or before it has started."""
    seconds = needed.definition.get("startTimeout")
    return needed.started_at + float(seconds) if seconds and needed.started_at is not None else None
