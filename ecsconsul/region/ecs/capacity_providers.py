"""Amazon ECS's API for capacity providers of Auto Scaling groups; moto keeps which cluster uses which.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/asg-capacity-providers.html
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from . import shapes
from .model import ACTIVE, CapacityProvider, Service
from .request_fields import ApiError, last, page
from .state import Ecs

Json = dict[str, Any]
PROVIDERS_PER_PAGE = 10
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ManagedScaling.html
SCALING_DEFAULTS = {
    "status": "DISABLED",
    "targetCapacity": 100,
    "minimumScalingStepSize": 1,
    "maximumScalingStepSize": 10000,
    "instanceWarmupPeriod": 300,
}
_NAME = re.compile(r"(?!aws|ecs|fargate)[A-Za-z0-9_-]{1,255}", re.IGNORECASE)
_NOT_FOUND = "The specified capacity provider does not exist. Specify a valid name or ARN and try again."


class CapacityProviders:
    """One method per operation; `operations` maps AWS's names to them."""

    def __init__(self, ecs: Ecs) -> None:
        self._ecs = ecs
        self.operations: dict[str, Callable[[Json], Json]] = {
            "CreateCapacityProvider": self.create,
            "UpdateCapacityProvider": self.update,
            "DescribeCapacityProviders": self.describe,
            "DeleteCapacityProvider": self.delete,
        }

    def create(self, request: Json) -> Json:
        """CreateCapacityProvider; one that exists with the same settings is returned."""
        name, given = request["name"], request.get("autoScalingGroupProvider")
        if not _NAME.fullmatch(name):
            raise _invalid("The specified capacity provider name is invalid.")
        if given is None:
            raise _invalid("The local region supports capacity providers of Auto Scaling groups only.")
        if not self._ecs.moto.has_group(given["autoScalingGroupArn"]):
            raise _invalid("The specified Auto Scaling group ARN is invalid. Specify a valid ARN and try again.")
        arn = f"arn:aws:ecs:{self._ecs.moto.region}:{self._ecs.moto.account}:capacity-provider/{name}"
        scaling = {**SCALING_DEFAULTS, **(given.get("managedScaling") or {})}
        created = CapacityProvider(
            name,
            arn,
            given["autoScalingGroupArn"],
            scaling,
            given.get("managedDraining", "ENABLED"),
            given.get("managedTerminationProtection", "DISABLED"),
            tags=list(request.get("tags") or ()),
        )
        known = self._ecs.capacity_providers.setdefault(name, created)
        if known != created:
            raise _invalid("The specified capacity provider already exists. Specify a unique name and try again.")
        self._ecs.changed.set()
        return {"capacityProvider": shapes.capacity_provider(known, with_tags=True)}

    def update(self, request: Json) -> Json:
        """UpdateCapacityProvider; what the request omits stays as it is."""
        found, given = self._require(request["name"]), request.get("autoScalingGroupProvider") or {}
        found.managed_scaling |= given.get("managedScaling") or {}
        found.managed_draining = given.get("managedDraining", found.managed_draining)
        found.termination_protection = given.get("managedTerminationProtection", found.termination_protection)
        found.update_status = "UPDATE_COMPLETE"
        self._ecs.changed.set()
        return {"capacityProvider": shapes.capacity_provider(found, with_tags=False)}

    def describe(self, request: Json) -> Json:
        """DescribeCapacityProviders: those that the request names, or all."""
        known, wanted = self._ecs.capacity_providers, [last(name) for name in request.get("capacityProviders") or ()]
        chosen = [known[name] for name in wanted if name in known] if wanted else list(known.values())
        with_tags = "TAGS" in (request.get("include") or ())
        found = [shapes.capacity_provider(one, with_tags=with_tags) for one in chosen]
        failures = [{"arn": name, "reason": "MISSING"} for name in wanted if name not in known]
        return {**page(request, "capacityProviders", found, PROVIDERS_PER_PAGE), "failures": failures}

    def delete(self, request: Json) -> Json:
        """DeleteCapacityProvider, which no cluster may use any more."""
        found = self._require(request["capacityProvider"])
        clusters = self._ecs.moto.clusters_with_provider(found.name)
        if clusters:
            what = f"The capacity provider cannot be deleted because it is associated with cluster: {clusters[0]}."
            raise ApiError("ClientException", f"{what} Remove the capacity provider from the cluster and try again.")
        del self._ecs.capacity_providers[found.name]
        shape = shapes.capacity_provider(found, with_tags=False)
        return {"capacityProvider": {**shape, "status": "INACTIVE", "updateStatus": "DELETE_COMPLETE"}}

    def check_cluster(self, request: Json) -> None:
        """Check a PutClusterCapacityProviders, which moto answers. Raises ApiError."""
        cluster, wanted = (
            last(request.get("cluster") or "default"),
            set(map(last, request.get("capacityProviders", ()))),
        )
        for name in wanted:
            self._require(name)
        for one in request.get("defaultCapacityProviderStrategy") or ():
            if last(one["capacityProvider"]) not in wanted:
                raise _not_associated()
        for name in set(self._ecs.moto.providers_of(cluster)[0]) - wanted:
            if any(service.cluster == cluster for service in self._services_on(name)):
                raise ApiError(
                    "ResourceInUseException", "The specified capacity provider is in use and cannot be removed."
                )

    def with_default_strategy(self, cluster: str, request: Json) -> Json:
        """A CreateService with the cluster's default strategy, if it names neither a strategy nor a launch type."""
        default = self._ecs.moto.providers_of(cluster)[1]
        if request.get("launchType") or request.get("capacityProviderStrategy") or not default:
            return request
        return {**request, "capacityProviderStrategy": default}

    def check_strategy(self, cluster: str, request: Json, service: Service | None = None) -> None:
        """Check the strategy of a CreateService or, for a service that exists, of an UpdateService. Raises ApiError."""
        strategy = request.get("capacityProviderStrategy")
        if strategy and request.get("launchType"):
            what = "Specifying both a launch type and capacity provider strategy is not supported."
            raise _invalid(f"{what} Remove one and try again.")
        associated = self._ecs.moto.providers_of(cluster)[0] if strategy else []
        for one in strategy or ():
            self._require(one["capacityProvider"])
            if last(one["capacityProvider"]) not in associated:
                raise _not_associated()
        before = service.settings.get("capacityProviderStrategy") if service else strategy
        if strategy is not None and strategy != (before or []) and not request.get("forceNewDeployment"):
            raise _invalid(
                "When switching from launch type to capacity provider strategy on an existing service, or making a "
                "change to a capacity provider strategy on a service that is already using one, you must force a new "
                "deployment."
            )

    def _services_on(self, provider: str) -> list[Service]:
        return [one for one in self._ecs.services() if one.status == ACTIVE and one.provider == provider]

    def _require(self, name_or_arn: str) -> CapacityProvider:
        found = self._ecs.capacity_providers.get(last(name_or_arn))
        if found is None:
            raise _invalid(_NOT_FOUND)
        return found


def _not_associated() -> ApiError:
    return _invalid(
        "The capacity provider strategy cannot contain a capacity provider that is not associated with the cluster. "
        "Associate the capacity provider with the cluster and try again."
    )


def _invalid(message: str) -> ApiError:
    return ApiError("InvalidParameterException", message)
