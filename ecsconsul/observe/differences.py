"""The events between two snapshots. Pure.

ECS's own times are kept where it tells them; Consul tells none, so its events have the time at which they were seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .states import (
    RUNNING,
    STOPPED,
    EcsState,
    Endpoint,
    Event,
    Kind,
    Members,
    Service,
    Snapshot,
    Task,
    tasks_by_port,
)

MEMBER_TEXTS = {
    "none": "is unknown to Consul",
    "alive": "is alive in Consul",
    "leaving": "is leaving Consul",
    "left": "has left Consul",
    "failed": "has failed in Consul",
}

# what leads to the others of the same moment, and whose own time ECS doesn't tell
CAUSES = ("service-created", "service-scaled", "service-deployed")


def diff(before: Snapshot, after: Snapshot) -> list[Event]:
    """The events between two snapshots, in the order in which they happened as far as that is known.

    What is seen for the first time is no event: nobody knows when it came.
    """
    found: list[Event] = []
    if before.ecs and after.ecs and before.ecs is not after.ecs:
        found += _services(before.ecs, after.ecs, after.time)
        found += _tasks(before.ecs, after.ecs, after.time)
    if before.consul and after.consul and before.consul is not after.consul:
        found += _endpoints(before, after)
    if before.members and after.members and before.members is not after.members:
        found += _members(before.members, after.members, after.time)
    found += _sources(before.lost, after.lost, after.time)
    # the sort is stable: what has one time stays as it is above
    return sorted(found, key=lambda event: (event.kind not in CAUSES, event.time))


# ECS


def _tasks(before: EcsState, after: EcsState, now: float) -> Iterator[Event]:
    known = {task.id: task for task in before.tasks}
    for task in after.tasks:
        old = known.get(task.id)
        if old != task:
            yield from _task(old, task, now)


def _task(old: Task | None, new: Task, now: float) -> Iterator[Event]:
    def event(kind: Kind, time: float | None, text: str) -> Event:
        return Event(time or now, kind, f"{_name(new)} {text}", new.service, new.id, node=new.node)

    if old is None:
        yield event("task-created", new.created, f"is to start on {new.node or 'an instance'}")
    yield from _containers(old, new, now)
    if new.started and not (old and old.started):
        yield event("task-running", new.started, f"is running {new.revision}".rstrip())
    if new.stopping and not (old and old.stopping):
        yield event("task-stopping", new.stopping, f"is stopping: {new.reason or 'no reason given'}")
    if new.status == STOPPED and not (old and old.status == STOPPED):
        codes = f" ({new.exit_codes})" if new.exit_codes else ""
        yield event("task-stopped", new.stopped, f"has stopped{codes}: {new.reason or 'no reason given'}")


def _containers(old: Task | None, new: Task, now: float) -> Iterator[Event]:
    known = {one.name: one for one in old.containers} if old else {}
    for one in new.containers:
        before = known.get(one.name)
        was = before.status if before else ""
        name = f"{_name(new)}: container {one.name}"
        if one.status == RUNNING and was != RUNNING:
            ports = f", port {', '.join(map(str, one.ports))}" if one.ports else ""
            # ECS's time is that of the task, which runs once all its containers do
            yield Event(new.started or now, "container-started", f"{name} has started{ports}", new.service, new.id)
        # a container that never ran has no exit code
        if one.exit_code is not None and (before is None or before.exit_code is None):
            reason = f": {one.reason}" if one.reason else ""
            text = f"{name} has exited with code {one.exit_code}{reason}"
            yield Event(min(new.stopped or now, now), "container-stopped", text, new.service, new.id)


def _services(before: EcsState, after: EcsState, now: float) -> Iterator[Event]:
    known, left = {one.name: one for one in before.services}, {one.name for one in after.services}
    for name in known.keys() - left:
        yield Event(now, "service-deleted", f"{name} is no service any more", name)
    for new in after.services:
        old = known.get(new.name)
        if old is None:
            text = f"{new.name} is a service now, with {new.revision} and a desired count of {new.desired}"
            yield Event(now, "service-created", text, new.name)
        elif old != new:
            yield from _service(old, new, now)
        seen = {one.id for one in old.events} if old else set()
        for one in reversed(new.events):
            if one.id not in seen:
                yield Event(one.time, "service-event", one.text, new.name)


def _service(old: Service, new: Service, now: float) -> Iterator[Event]:
    if old.desired != new.desired:
        text = f"{new.name} is scaled from {old.desired} to {new.desired}"
        yield Event(now, "service-scaled", text, new.name)
    if old.revision != new.revision:
        text = f"{new.name} is deployed: {new.revision} instead of {old.revision}"
        yield Event(now, "service-deployed", text, new.name)


def _name(task: Task) -> str:
    return f"{task.service or 'standalone task'} {task.short}"


# Consul


def _endpoints(before: Snapshot, after: Snapshot) -> Iterator[Event]:
    old = {(one.service, one.node, one.id): one for one in before.endpoints}
    new = {(one.service, one.node, one.id): one for one in after.endpoints}
    tasks = tasks_by_port((*before.tasks, *after.tasks))
    own_clock = bool(after.ecs and after.ecs.own_clock)

    def event(kind: Kind, one: Endpoint, text: str) -> Event:
        task = tasks.get((one.node, one.port))
        name = f"{one.service} {task.short}" if task else one.service
        return Event(
            after.time, kind, f"{name} {text}", one.service, task.id if task else "", one.id, one.node, one
        )  # fmt: skip

    for key in old.keys() - new.keys():
        yield event("instance-left", old[key], f"left Consul, where it was at {old[key].at}")
    for key, one in new.items():
        earlier = old.get(key)
        if earlier is None:
            task = tasks.get((one.node, one.port))
            since = _since(task, after.time) if own_clock else ""
            state = "" if one.status == "passing" else f" as {one.status}"
            yield event("instance-entered", one, f"entered Consul at {one.at}{state}{since}")
        elif earlier != one:
            yield from (event("instance-changed", one, text) for text in _changes(earlier, one))


def _since(task: Task | None, now: float) -> str:
    """How long after its task's start an instance was seen, where one clock tells both."""
    if task is None or task.started is None or now < task.started:
        return ""
    return f", {(now - task.started) * 1000:.0f} ms after its task started"


def _changes(old: Endpoint, new: Endpoint) -> Iterator[str]:
    if old.status != new.status:
        why = f": {new.output}" if new.output else ""
        yield f"is {new.status} in Consul, after {old.status}{why}"
    if old.at != new.at:
        yield f"is at {new.at} in Consul, no longer at {old.at}"
    if old.tags != new.tags:
        yield f"has the tags {', '.join(new.tags) or '(none)'} in Consul, no longer {', '.join(old.tags) or '(none)'}"


def _members(before: Members, after: Members, now: float) -> Iterator[Event]:
    old, new = {one.name: one for one in before.members}, {one.name: one for one in after.members}
    for name in new.keys() - old.keys():
        one = new[name]
        yield Event(now, "member-joined", f"{one.role} {name} joined Consul at {one.address}", node=name)
    for name in old.keys() - new.keys():
        yield Event(now, "member-left", f"{old[name].role} {name} is no longer a member of Consul", node=name)
    for name in new.keys() & old.keys():
        if old[name].status != new[name].status:
            text = f"{new[name].role} {name} {MEMBER_TEXTS[new[name].status]}"
            yield Event(now, "member-changed", text, node=name)
    if before.leader != after.leader:
        text = f"Consul's leader is {after.leader}" if after.leader else "Consul has no leader"
        yield Event(now, "leader-changed", f"{text}, after {before.leader or 'none'}")


def _sources(before: Mapping[str, str], after: Mapping[str, str], now: float) -> Iterator[Event]:
    for name in after.keys() - before.keys():
        yield Event(now, "source-lost", f"{name} does not answer: {after[name]}")
    for name in before.keys() - after.keys():
        yield Event(now, "source-back", f"{name} answers again")
