"""Scales the Auto Scaling groups of capacity providers, as ECS's cluster auto scaling does.

When a task finds no place, the group gets one more instance, and the next one only after that has joined. An instance
without tasks for some time leaves. Wakes after each pass of the control loop, and when an instance's time is over.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/managed-scaling-behavior.html
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from .auto_scaling import Group
from .control_loop import ControlLoop
from .ecs.model import ACTIVE, STOPPED, CapacityProvider, ContainerInstance, Service
from .ecs.placement import Unplaceable, place
from .ecs.state import Ecs

# AWS waits for 15 minutes of low use.
IDLE_SECONDS = 60.0


class Groups(Protocol):
    """The part of moto that changes Auto Scaling groups."""

    def group(self, name_or_arn: str) -> Group | None:
        """An Auto Scaling group, if it exists."""

    def grow(self, group: str, desired: int) -> None:
        """Launch instances of a group, unless it wants as many already."""

    def remove_from_group(self, instance_id: str) -> None:
        """Let an instance leave its group, which gets smaller."""


@dataclass(frozen=True)
class Grow:
    """Let the group have this many instances."""

    group: str
    desired: int


@dataclass(frozen=True)
class Shrink:
    """Let this instance leave its group."""

    instance_id: str


def decide(
    group: Group, joined: Iterable[str], idle: Mapping[str, float], unplaced: bool, now: float
) -> Grow | Shrink | None:
    """The next change of a group. `joined` are in the cluster; `idle` says since when (monotonic) one has no task."""
    if is_joining(group, joined):
        return None
    if unplaced:
        return Grow(group.name, group.desired + 1) if group.desired < group.maximum else None
    over = [one for one in group.instances if now - idle.get(one, now) >= IDLE_SECONDS]
    return Shrink(over[-1]) if over and len(group.instances) > group.minimum else None


def is_joining(group: Group, joined: Iterable[str]) -> bool:
    """Whether an instance of the group boots, or is yet to be launched."""
    return group.desired > len(group.instances) or bool(set(group.instances) - set(joined))


def fits_somewhere(service: Service, instances: Sequence[ContainerInstance]) -> bool:
    """Whether an instance like these could take a task of the service, if it had no others."""
    empty = [replace(one, status=ACTIVE, connected=True) for one in instances]
    definition = service.primary.task_definition
    constraints = [*service.settings.get("placementConstraints", ()), *definition.get("placementConstraints", ())]
    return not empty or not isinstance(place(definition, "", empty, (), constraints=constraints), Unplaceable)


class ManagedScaling:
    """One thread for all groups; `changed` is called, without a lock, after a group has been changed."""

    def __init__(self, ecs: Ecs, loop: ControlLoop, groups: Groups, changed: Callable[[], None]) -> None:
        self._ecs = ecs
        self._passed = loop.passed
        self._groups = groups
        self._changed = changed
        self._idle: dict[str, float] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="managed-scaling", daemon=True)
        loop.awaits_capacity = self.awaits_capacity

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread, unless it is waiting for instances: it ends with the process then."""
        with self._passed:
            self._closing = True
            self._passed.notify_all()

    def awaits_capacity(self, service: Service) -> bool:
        """Whether a task without a place may get one, because its provider's group can grow or is growing."""
        provider = self._ecs.capacity_providers.get(service.provider)
        group = self._groups.group(provider.group_arn) if provider and provider.scales else None
        if group is None:
            return False
        more = group.desired < group.maximum or is_joining(group, self._joined())
        return more and fits_somewhere(service, self._ecs.instances_of(service.cluster))

    def _run(self) -> None:
        while change := self._next_change():
            if isinstance(change, Grow):
                self._groups.grow(change.group, change.desired)
            else:
                self._groups.remove_from_group(change.instance_id)
            self._changed()

    def _next_change(self) -> Grow | Shrink | None:
        """Wait for the next change; None when the region is closing."""
        with self._passed:
            while not self._closing:
                # before a pass that is due, what is known of services is out of date
                found = None if self._ecs.changed.is_set() else self._find_change()
                if found:
                    return found
                self._passed.wait(self._seconds_until_idle())
        return None

    def _find_change(self) -> Grow | Shrink | None:
        self._note_idle()
        for provider in self._ecs.capacity_providers.values():
            group = self._groups.group(provider.group_arn) if provider.scales else None
            if group:
                found = decide(group, self._joined(), self._idle, self._lacks_capacity(provider), time.monotonic())
                if found:
                    return found
        return None

    def _lacks_capacity(self, provider: CapacityProvider) -> bool:
        waiting = [one for one in self._ecs.services() if one.unplaced and one.provider == provider.name]
        return any(fits_somewhere(one, self._ecs.instances_of(one.cluster)) for one in waiting)

    def _joined(self) -> list[str]:
        return [one.instance_id for one in self._ecs.all_instances()]

    def _note_idle(self) -> None:
        # a daemon's task keeps no instance
        busy = {task.instance_id for task in self._ecs.tasks() if task.last_status != STOPPED and not task.daemon}
        now = time.monotonic()
        free = [one.instance_id for one in self._ecs.all_instances() if one.status == ACTIVE]
        self._idle = {one: self._idle.get(one, now) for one in free if one not in busy}

    def _seconds_until_idle(self) -> float | None:
        """Seconds until an instance has been idle for long enough; None while none of those of groups may leave."""
        groups = [self._groups.group(one.group_arn) for one in self._ecs.capacity_providers.values() if one.scales]
        able = [one for group in groups if group and len(group.instances) > group.minimum for one in group.instances]
        now = time.monotonic()
        waits = [self._idle[one] + IDLE_SECONDS - now for one in able if one in self._idle]
        return max(0.01, min(waits)) if waits else None
