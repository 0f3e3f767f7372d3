"""Makes moto's Auto Scaling groups behave as AWS's where the lab depends on it.

moto replaces a group when a stack update changes it, puts all instances into one zone, and terminates instances at
once. Here a group is changed in place, spreads its instances over its zones, and lets an ECS instance wait before it
is terminated (`Terminating:Wait`, as a lifecycle hook does in AWS) until the region has drained it.
https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks-overview.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

LEAVING = "Terminating:Wait"
IN_SERVICE = "InService"
ROLE_TAG = "ecsconsul:role"
ECS_INSTANCE = "ecs-instance"


@dataclass(frozen=True)
class Group:
    """An Auto Scaling group: its limits, and the ids of its instances in service, oldest first."""

    name: str
    minimum: int
    maximum: int
    desired: int
    instances: tuple[str, ...]


class AutoScaling:
    """The groups of one of moto's Auto Scaling backends. Hold moto's lock around every call."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def hold_leaving(self, hold: bool = True) -> None:
        """Let ECS instances wait for `terminate` when a group no longer wants them."""
        self._backend.holds_leaving = hold

    def leaving(self) -> set[str]:
        """The ids of the instances that wait for `terminate`."""
        states = [state for group in self._backend.autoscaling_groups.values() for state in group.instance_states]
        return {state.instance.id for state in states if state.lifecycle_state == LEAVING}

    def terminate(self, instance_id: str) -> None:
        """Terminate an instance that is leaving; nothing if it is gone."""
        if instance_id in self.leaving():
            for group in self._backend.autoscaling_groups.values():
                group.instance_states = [one for one in group.instance_states if one.instance.id != instance_id]
            self._backend.ec2_backend.terminate_instances([instance_id])

    def group(self, name_or_arn: str) -> Group | None:
        """The group of this name or ARN."""
        name = name_or_arn.rpartition("autoScalingGroupName/")[2]
        found = self._backend.autoscaling_groups.get(name)
        if found is None:
            return None
        instances = tuple(state.instance.id for state in found.active_instances())
        return Group(name, int(found.min_size), int(found.max_size), int(found.desired_capacity), instances)

    def set_desired(self, name: str, desired: int) -> None:
        """Launch instances of a group, or let some leave."""
        self._backend.set_desired_capacity(name, desired)

    def remove(self, instance_id: str) -> None:
        """Let one instance leave its group, which gets smaller; nothing if it is in none, or leaving already."""
        if any(one.instance.id == instance_id for one in self._backend.describe_auto_scaling_instances([instance_id])):
            self._backend.terminate_instance(instance_id, True)


def fix_groups() -> None:
    """Replace the methods of moto's that don't do as AWS does; fine to repeat."""
    from moto.autoscaling.models import AutoScalingBackend, FakeAutoScalingGroup

    if getattr(FakeAutoScalingGroup, "is_fixed", False):
        return
    FakeAutoScalingGroup.is_fixed = True  # type: ignore[attr-defined]
    FakeAutoScalingGroup.update_from_cloudformation_json = classmethod(_update)  # type: ignore[assignment, method-assign]
    _fix(FakeAutoScalingGroup, "set_desired_capacity", _set_desired_capacity)
    _fix(FakeAutoScalingGroup, "replace_autoscaling_group_instances", _launch_in_zones)
    _fix(AutoScalingBackend, "terminate_instance", _terminate_instance)
    _fix(AutoScalingBackend, "delete_auto_scaling_group", _delete_group)


def _fix(cls: Any, name: str, replacement: Callable[..., Any]) -> None:
    """Replace a method by one that gets moto's own as its first argument."""
    original = getattr(cls, name)

    def fixed(self: Any, *arguments: Any, **more: Any) -> Any:
        return replacement(original, self, *arguments, **more)

    setattr(cls, name, fixed)


def _update(
    cls: Any, /, original_resource: Any, new_resource_name: str, cloudformation_json: Any, *context: str, **more: str
) -> Any:
    """Change a group in place. Without a desired capacity it keeps its own, within the new limits, as in AWS."""
    properties = cloudformation_json["Properties"]
    least, most = int(properties["MinSize"]), int(properties["MaxSize"])
    desired = properties.get("DesiredCapacity")
    current = max(least, min(most, int(original_resource.desired_capacity)))
    original_resource.update(
        availability_zones=[],
        desired_capacity=current if desired is None else int(desired),
        max_size=most,
        min_size=least,
        launch_config_name="",
        launch_template=properties["LaunchTemplate"],
        vpc_zone_identifier=",".join(properties["VPCZoneIdentifier"]),
        health_check_period=None,
        health_check_type=None,
    )
    return original_resource


def _set_desired_capacity(original: Callable[..., None], group: Any, capacity: int | None) -> None:
    active, desired = group.active_instances(), int(group.min_size if capacity is None else capacity)
    drains = getattr(group.autoscaling_backend, "holds_leaving", False) and any(_must_drain(one) for one in active)
    if desired >= len(active) or not drains or getattr(group, "is_deleted", False):
        original(group, capacity)
        return
    group.desired_capacity = desired
    for state in first_to_leave(active, len(active) - desired):
        state.lifecycle_state = LEAVING


def first_to_leave(states: Sequence[Any], number: int) -> list[Any]:
    """The instances that Auto Scaling would terminate: of the zone with the most instances, the oldest.

    Instances that are protected from scale-in stay. `states` are in the order in which they were launched.
    https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-termination-policies.html
    """
    staying, leaving = list(states), list[Any]()
    while len(leaving) < number:
        zones = Counter(state.availability_zone for state in staying)
        unprotected = [state for state in staying if not state.protected_from_scale_in]
        if not unprotected:
            break
        chosen = max(unprotected, key=lambda state: zones[state.availability_zone])
        staying.remove(chosen)
        leaving.append(chosen)
    return leaving


def _launch_in_zones(original: Callable[..., None], group: Any, count: int, tags: dict[str, str]) -> None:
    """Launch instances one by one, each in the subnet with the fewest of the group."""
    if not group.vpc_zone_identifier:
        original(group, count, tags)
        return
    subnets, zones = group.vpc_zone_identifier, group.availability_zones
    try:
        for _ in range(count):
            used = Counter(state.instance.subnet_id for state in group.active_instances())
            subnet = min(subnets.split(","), key=lambda one: used[one])
            group.vpc_zone_identifier = subnet
            group.availability_zones = [group.ec2_backend.get_subnet(subnet).availability_zone]
            original(group, 1, tags)
    finally:
        group.vpc_zone_identifier, group.availability_zones = subnets, zones


def _terminate_instance(original: Callable[..., Any], backend: Any, instance_id: str, should_decrement: bool) -> Any:
    from moto.autoscaling.models import TerminateInstanceActivity

    states = [state for group in backend.autoscaling_groups.values() for state in group.instance_states]
    state = next((one for one in states if one.instance.id == instance_id), None)
    if state is None or not getattr(backend, "holds_leaving", False) or not _must_drain(state):
        return original(backend, instance_id, should_decrement)
    group, before = state.auto_scaling_group, state.auto_scaling_group.desired_capacity
    if state.lifecycle_state == IN_SERVICE:
        state.lifecycle_state = LEAVING
        # without a decrement this launches the replacement
        group.set_desired_capacity(before - 1 if should_decrement else before)
    return TerminateInstanceActivity(state.instance, before)


def _delete_group(original: Callable[..., None], backend: Any, name: str) -> None:
    """A deleted group terminates its instances at once: deleting it also ends outstanding lifecycle actions.

    https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DeleteAutoScalingGroup.html
    """
    group = backend.autoscaling_groups.get(name)
    if group:
        group.is_deleted = True
        for state in group.instance_states:
            state.lifecycle_state = IN_SERVICE
    original(backend, name)


def _must_drain(state: Any) -> bool:
    return any(tag["key"] == ROLE_TAG and tag["value"] == ECS_INSTANCE for tag in state.instance.get_tags())
