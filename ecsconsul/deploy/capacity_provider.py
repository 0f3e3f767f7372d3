"""The ECS capacity provider of a lab whose number of instances follows its tasks: `instances: {min, max}`.

It lets ECS set the size of the stack's Auto Scaling group, with a scaling policy and alarms that ECS makes and deletes
itself: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cluster-auto-scaling.html
A lab that went back to a fixed number still has it. `up` removes it once all services have left it, and `down` after
the services are gone; one step can't come both before and after them, so there are two (obsolete_provider).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from ..aws_tags import FINGERPRINT_TAG, as_items, as_mapping, require_ownership
from ..config.lab import Lab, capacity_provider_of
from ..errors import StepFailed
from ..polling import poll_until
from ..targets.base import Target
from ..targets.client_errors import client_error, error_code, unless_throttled
from .field_diff import request_changes, reversed_changes, tag_changes, untagged
from .service_poller import services_of
from .step import Actual, BaseStep, Desired, Drift, FieldChange, Report, Step, UnwantedStep, tags_for

CAPACITY_PROVIDER = "capacity-provider"
# the stack's output that names the Auto Scaling group
GROUP_OUTPUT = "EcsInstances"
# In small steps, to the instances that the tasks need and none in reserve. A new instance counts when it has booted.
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ManagedScaling.html
SCALING = {
    "status": "ENABLED",
    "targetCapacity": 100,
    "minimumScalingStepSize": 1,
    "maximumScalingStepSize": 2,
    "instanceWarmupPeriod": 300,
}
SETTINGS: Desired = {
    "managedScaling": SCALING,
    # needs instances that are protected from scale-in, which Auto Scaling then can't replace in a rolling update either
    "managedTerminationProtection": "DISABLED",
    # the stack's lifecycle hook drains instances, whoever stops them
    "managedDraining": "DISABLED",
}
# how long to wait for the last tasks, in seconds; a dead instance can't report them as stopped
DRAIN_TIMEOUT = 180.0
IN_USE = "still in use; it goes with the cluster"
# ECS is still changing the cluster's scaling, or stops the last task that uses the provider
_BUSY = {"UpdateInProgressException", "ResourceInUseException"}


def strategy_of(lab: Lab) -> list[dict[str, Any]]:
    """The capacity provider strategy of the lab's services; empty if its number of instances is fixed."""
    return (
        [{"capacityProvider": capacity_provider_of(lab.name), "weight": 1}]
        if lab.max_instances > lab.min_instances
        else []
    )


class CapacityProviderStep(BaseStep):
    """The provider, and the cluster's association with it."""

    name = CAPACITY_PROVIDER
    needs = ("stack",)

    def __init__(self, lab: Lab, target: Target) -> None:
        self._lab = lab
        self._provider = _Provider(lab, target)

    @cached_property
    def _desired(self) -> dict[str, Any]:
        return {"name": capacity_provider_of(self._lab.name), **SETTINGS}

    def inspect(self) -> Actual | None:
        found = self._provider.describe()
        if found is None:
            return None
        tags = as_mapping(found.get("tags"))
        is_current = self._provider.is_associated() and _group_of(found) == self._provider.group()
        made_from = tags.get(FINGERPRINT_TAG)
        changed = request_changes(found.get("autoScalingGroupProvider") or {}, SETTINGS)
        return Actual(
            made_from if is_current and not changed else None,
            True,
            self._detail(),
            fields=lambda: changed or _association(is_current) or tag_changes(made_from, self.fingerprint),
            drift=lambda: self._drift(made_from, changed, is_current),
        )

    def _drift(self, made_from: str | None, changed: Sequence[FieldChange], is_current: bool) -> Drift:
        if made_from not in (None, self.fingerprint):
            return Drift(config_changed=True)
        tag = untagged(made_from, self.fingerprint).fields
        return Drift((*reversed_changes([*changed, *_association(is_current)]), *tag))

    def apply(self, actual: Actual | None, report: Report) -> str:
        group, found = self._provider.group(), self._provider.describe()
        if group is None:
            raise self._provider.failed("can't be created", "the stack has no Auto Scaling group of instances")
        if found and _group_of(found) != group:
            report.say("replacing the provider of another Auto Scaling group")
            self._provider.delete(report)
            found = None
        self._provider.write(found, group, tags_for(self._lab.name, self.desired()))
        self._provider.associate(report)
        return self._detail()

    def destroy(self, report: Report) -> str:
        return self._provider.delete(report)

    def _detail(self) -> str:
        return f"{self._lab.min_instances} to {self._lab.max_instances} instances"


class UnusedProviderStep(UnwantedStep):
    """A provider that the config doesn't want and no service uses: what `down` finds when the services are gone."""

    name = CAPACITY_PROVIDER
    needs: tuple[str, ...] = ("stack",)

    def __init__(self, lab: Lab, target: Target) -> None:
        self._provider = _Provider(lab, target)

    def inspect(self) -> Actual | None:
        found = self._provider.describe()
        return Actual(None, True, "unused") if found and not self._provider.is_used() else None

    def destroy(self, report: Report) -> str:
        return self._provider.delete(report)


class LeftProviderStep(UnusedProviderStep):
    """The same provider once all services have left it, which `up` makes them do."""

    name = f"{CAPACITY_PROVIDER}/{GROUP_OUTPUT}"

    def __init__(self, lab: Lab, target: Target, users: Iterable[str]) -> None:
        super().__init__(lab, target)
        self.needs = tuple(users)

    def inspect(self) -> Actual | None:
        return Actual(None, True, "instances are fixed") if self._provider.describe() else None

    def destroy(self, report: Report) -> str:
        # `down` comes here before the services are deleted
        return "used until its services are deleted" if self._provider.is_used() else self._provider.delete(report)


def obsolete_provider(lab: Lab, target: Target, users: Iterable[str]) -> list[Step]:
    """The steps that remove a provider after these steps of services, if the cluster has one and the lab wants none.

    Raises TargetAbsent.
    """
    if strategy_of(lab) or not _Provider(lab, target).is_associated():
        return []
    return [UnusedProviderStep(lab, target), LeftProviderStep(lab, target, users)]


def delete_provider_of_no_cluster(lab: Lab, target: Target, report: Report) -> None:
    """Delete the lab's provider, if one is left when the cluster is gone. Raises StepFailed."""
    _Provider(lab, target).delete_alone(report)


class _Provider:
    """The requests about the lab's provider."""

    def __init__(self, lab: Lab, target: Target) -> None:
        self._lab = lab
        self._target = target
        self._name = capacity_provider_of(lab.name)

    def describe(self) -> dict[str, Any] | None:
        """The provider. ECS describes a deleted one for a while as INACTIVE, which counts as absent."""
        described = self._ecs.describe_capacity_providers(capacityProviders=[self._name], include=["TAGS"])
        found = next((one for one in described["capacityProviders"] if one["status"] != "INACTIVE"), None)
        if found:
            require_ownership("capacity provider", self._name, self._lab.name, as_mapping(found.get("tags")))
        return found

    def group(self) -> str | None:
        """The ARN of the stack's Auto Scaling group; None without a stack."""
        try:
            stacks = self._target.client("cloudformation").describe_stacks(StackName=self._lab.name)["Stacks"]
        except client_error() as error:
            if "does not exist" in str(error):
                return None
            raise
        outputs = {one["OutputKey"]: one["OutputValue"] for stack in stacks for one in stack.get("Outputs", ())}
        if GROUP_OUTPUT not in outputs:
            return None
        groups = self._target.client("autoscaling").describe_auto_scaling_groups(
            AutoScalingGroupNames=[outputs[GROUP_OUTPUT]]
        )["AutoScalingGroups"]
        return next((str(one["AutoScalingGroupARN"]) for one in groups), None)

    def is_associated(self) -> bool:
        """Whether the cluster uses the provider."""
        return self._name in (self._cluster().get("capacityProviders") or ())

    def is_used(self) -> bool:
        """Whether a service of the cluster uses the provider; one that is deleted only has tasks that end."""
        active = [one for one in services_of(self._target, self._lab.name) if one["status"] == "ACTIVE"]
        strategies = [one.get("capacityProviderStrategy") or () for one in active]
        return any(item["capacityProvider"] == self._name for strategy in strategies for item in strategy)

    def write(self, found: Mapping[str, Any] | None, group: str, tags: Mapping[str, str]) -> None:
        """Create or update the provider of that Auto Scaling group, which can't be changed."""
        if found is None:
            settings = {"autoScalingGroupArn": group, **SETTINGS}
            self._ecs.create_capacity_provider(name=self._name, autoScalingGroupProvider=settings, tags=as_items(tags))
            return
        self._ecs.update_capacity_provider(name=self._name, autoScalingGroupProvider=SETTINGS)
        self._ecs.tag_resource(resourceArn=found["capacityProviderArn"], tags=as_items(tags))

    def associate(self, report: Report) -> None:
        """Associate the cluster with the provider, and wait until ECS has set up its scaling."""
        try:
            self._await(lambda: self._put(wanted=True), report)
            self._await(self._is_settled, report)
        except TimeoutError as error:
            raise self.failed("isn't ready in time", str(error)) from error

    def delete(self, report: Report) -> str:
        """Delete the provider, and the cluster's association with it, unless tasks use it for too long."""
        found = self.describe()
        if found is None:
            return "absent"
        try:
            self._await(lambda: self._put(wanted=False), report, DRAIN_TIMEOUT)
            self._await(self._is_settled, report)
            return self._delete(found, report)
        except TimeoutError:
            return IN_USE

    def delete_alone(self, report: Report) -> None:
        """Delete a provider whose cluster is gone. Raises StepFailed."""
        found = self.describe()
        if found:
            try:
                self._delete(found, report)
            except TimeoutError as error:
                raise self.failed("can't be deleted", str(error)) from error

    def _delete(self, found: Mapping[str, Any], report: Report) -> str:
        if found.get("updateStatus") != "DELETE_IN_PROGRESS":
            self._ecs.delete_capacity_provider(capacityProvider=found["capacityProviderArn"])
        self._await(self._is_deleted, report)
        return "deleted"

    def failed(self, what: str, why: str) -> StepFailed:
        return StepFailed(
            f"The capacity provider {what}", where=f"capacity provider {self._name}", why=why, hint="run it again"
        )

    def _put(self, *, wanted: bool) -> bool | None:
        """True once the cluster's association is as wanted. The providers of others, which the request replaces, stay.

        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PutClusterCapacityProviders.html
        """
        cluster = self._cluster()
        names = cluster.get("capacityProviders") or []
        if not cluster or (self._name in names) == wanted:
            return True
        others = [name for name in names if name != self._name]
        default = [
            one for one in cluster.get("defaultCapacityProviderStrategy") or () if one["capacityProvider"] in others
        ]
        try:
            self._ecs.put_cluster_capacity_providers(
                cluster=self._lab.name,
                capacityProviders=[*others, self._name] if wanted else others,
                defaultCapacityProviderStrategy=default,
            )
        except client_error() as error:
            if error_code(error) not in _BUSY:
                raise
            return None
        return True

    def _is_settled(self) -> bool | None:
        status = self._cluster().get("attachmentsStatus", "")
        if status == "UPDATE_FAILED":
            raise self.failed("can't be associated with the cluster", f"its attachments are in {status}")
        return None if status == "UPDATE_IN_PROGRESS" else True

    def _is_deleted(self) -> bool | None:
        found = self.describe()
        if found and found.get("updateStatus") == "DELETE_FAILED":
            raise self.failed("can't be deleted", str(found.get("updateStatusReason", "")))
        return None if found else True

    def _cluster(self) -> dict[str, Any]:
        """The lab's cluster; empty when there is none."""
        clusters = self._ecs.describe_clusters(clusters=[self._lab.name], include=["ATTACHMENTS"])["clusters"]
        return next((one for one in clusters if one["status"] != "INACTIVE"), {})

    def _await(self, look: Callable[[], bool | None], report: Report, seconds: float | None = None) -> None:
        poll_until(unless_throttled(look), self._target.polling.at_most(seconds), report.wait)

    @property
    def _ecs(self) -> Any:
        return self._target.client("ecs")


def _association(is_current: bool) -> list[FieldChange]:
    """The cluster's use of the provider, if that is missing, or of another group."""
    return [] if is_current else [FieldChange("association", None, "the stack's group")]


def _group_of(provider: Mapping[str, Any]) -> str | None:
    return (provider.get("autoScalingGroupProvider") or {}).get("autoScalingGroupArn")
