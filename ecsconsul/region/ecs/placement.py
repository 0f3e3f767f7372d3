"""Chooses the container instance for a new task. Pure: the same instances and tasks give the same answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .cluster_query import InvalidExpression, parse
from .model import ACTIVE, STOPPED, ContainerInstance, Task, fixed_endpoints, needed

ATTRIBUTE = "attribute:"
MEMBER_OF, DISTINCT = "memberOf", "distinctInstance"
# ECS's own for services without a strategy; within a zone it is best to spread too.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-placement-strategies.html
SPREAD = ({"type": "spread", "field": "attribute:ecs.availability-zone"}, {"type": "spread", "field": "instanceId"})


@dataclass(frozen=True)
class Unplaceable:
    """Why no instance can take the task, in ECS's words; `code` is what RunTask reports."""

    reason: str
    code: str = ""


def place(
    task_definition: dict[str, Any],
    group: str,
    instances: Sequence[ContainerInstance],
    tasks: Iterable[Task],
    strategy: Sequence[Mapping[str, str]] = SPREAD,
    constraints: Sequence[Mapping[str, str]] = (),
) -> ContainerInstance | Unplaceable:
    """Choose the instance that the strategy prefers among those that all constraints allow; see `check_constraints`.

    Among equals, it's the one with the fewest tasks.

    The reasons come from ECS's own service events:
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html
    """
    running = [task for task in tasks if task.last_status != STOPPED]
    active = [i for i in instances if i.status == ACTIVE and i.connected]
    if not active:
        return Unplaceable("no container instances were found in your cluster")
    allowed = [i for i in active if all(_allows(one, i, group, running) for one in constraints)]
    if not allowed:
        return _forbidden(constraints, active, group, running)
    fitting = [i for i in allowed if _fits(task_definition, i, running)]
    if not fitting:
        return _shortage(task_definition, allowed, running)
    # tasks that are being stopped take room, and are no reason to go elsewhere
    peers = Counter[str](task.instance_id for task in running if task.group == group and task.should_run)
    return min(fitting, key=lambda i: (*(_rank(one, i, active, running, peers) for one in strategy), _load(i, running)))


def check_constraints(constraints: Sequence[Mapping[str, str]], types: Sequence[str]) -> None:
    """Raises InvalidExpression for a constraint that isn't of these types, or whose expression is invalid."""
    for one in constraints:
        if one.get("type") not in types:
            raise InvalidExpression(f"the type of a constraint is {' or '.join(types)}, not {one.get('type')}")
        if one["type"] == MEMBER_OF:
            parse(one.get("expression") or "")
        elif one.get("expression"):
            raise InvalidExpression(f"a constraint of type {DISTINCT} has no expression")


def _allows(constraint: Mapping[str, str], instance: ContainerInstance, group: str, running: Sequence[Task]) -> bool:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-placement-constraints.html."""
    tasks = _on(instance, running)
    if constraint["type"] == DISTINCT:
        return all(task.group != group for task in tasks)
    return parse(constraint["expression"])(instance, tasks)


def _forbidden(
    constraints: Sequence[Mapping[str, str]], active: Sequence[ContainerInstance], group: str, running: Sequence[Task]
) -> Unplaceable:
    """The first constraint that leaves no instance, in the words of RunTask's failures."""
    left = list(active)
    for one in constraints:
        left = [i for i in left if _allows(one, i, group, running)]
        if not left:
            kind = "MemberOf" if one["type"] == MEMBER_OF else "DistinctInstance"
            code = f"{kind} placement constraint unsatisfied."
            return Unplaceable(one.get("expression") or "each instance has a task of the group", code)
    raise AssertionError("some constraint leaves no instance")


def _rank(
    strategy: Mapping[str, str],
    instance: ContainerInstance,
    instances: Sequence[ContainerInstance],
    running: Sequence[Task],
    peers: Counter[str],
) -> int:
    """How well an instance suits one strategy; less is better. Tasks on draining instances will not stay.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-placement-strategies.html
    """
    field = strategy.get("field", "")
    if strategy.get("type") == "binpack":
        cpu, memory = free(instance, running)
        return memory if field.lower() == "memory" else cpu
    if strategy.get("type") == "spread" and field.startswith(ATTRIBUTE):
        name = field.removeprefix(ATTRIBUTE)
        same = [one for one in instances if one.attributes.get(name) == instance.attributes.get(name)]
        return sum(peers[one.instance_id] for one in same)
    # instanceId and host; random has no preference
    return peers[instance.instance_id] if strategy.get("type") == "spread" else 0


def free(instance: ContainerInstance, tasks: Iterable[Task]) -> tuple[int, int]:
    """The instance's free CPU units and MiB."""
    taken = [needed(t.task_definition) for t in _on(instance, tasks)]
    return instance.cpu - sum(cpu for cpu, _ in taken), instance.memory - sum(mib for _, mib in taken)


def _on(instance: ContainerInstance, tasks: Iterable[Task]) -> list[Task]:
    return [t for t in tasks if t.instance_id == instance.instance_id and t.last_status != STOPPED]


def _load(instance: ContainerInstance, running: Sequence[Task]) -> int:
    return len(_on(instance, running))


def _fits(definition: dict[str, Any], instance: ContainerInstance, running: Sequence[Task]) -> bool:
    cpu, memory = needed(definition)
    free_cpu, free_memory = free(instance, running)
    return cpu <= free_cpu and memory <= free_memory and not _clash(definition, instance, running)


def _clash(definition: dict[str, Any], instance: ContainerInstance, running: Sequence[Task]) -> bool:
    taken = {one for task in _on(instance, running) for one in fixed_endpoints(task.task_definition)}
    return bool(fixed_endpoints(definition) & (taken | filled(running)))


def filled(tasks: Iterable[Task]) -> set[tuple[int, str]]:
    """The ports, each with its protocol, at which a process listens at every address: no instance has them any more."""
    return {(one.host_port, one.protocol) for task in tasks for one in task.bindings if one.fills_machine}


def _shortage(definition: dict[str, Any], active: Sequence[ContainerInstance], running: Sequence[Task]) -> Unplaceable:
    cpu, memory = needed(definition)
    closest = active[0]
    free_cpu, free_memory = free(closest, running)
    start = f"The closest matching container instance {closest.instance_id}"
    if memory > free_memory:
        reason = f"{start} has insufficient memory available ({free_memory} MiB of {memory})"
        return Unplaceable(reason, "RESOURCE:MEMORY")
    if cpu > free_cpu:
        return Unplaceable(f"{start} has insufficient CPU units available ({free_cpu} of {cpu})", "RESOURCE:CPU")
    ports = ", ".join(str(port) for port in sorted({port for port, _ in fixed_endpoints(definition)}))
    reason = f"{start} is already using a port required by your task ({ports})"
    if fixed_endpoints(definition) & filled(running):
        reason += ": a process listens there at every address, so it's taken on all instances"
    return Unplaceable(reason, "RESOURCE:PORTS")
