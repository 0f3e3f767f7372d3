"""The ECS cluster (the lab's step 1)."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from ..aws_tags import FINGERPRINT_TAG, as_items, as_mapping, require_ownership
from ..config.lab import Lab, capacity_provider_of
from ..errors import StepFailed
from ..polling import poll_until
from ..targets.base import Target
from ..targets.client_errors import client_error, error_code, unless_throttled
from .capacity_provider import delete_provider_of_no_cluster
from .field_diff import tag_changes, untagged
from .prerequisites import PREREQUISITES
from .service_poller import is_of, services_of
from .step import Actual, BaseStep, Report, tags_for

# An account's first cluster also creates ECS's service-linked role. ECS refuses requests until IAM has propagated it.
ROLE_SECONDS = 60.0
_ROLE_MISSING = "service linked role"

# ECS refuses to delete a cluster for a while after the stack has terminated its instances
_BUSY = {
    "ClusterContainsContainerInstancesException", "ClusterContainsServicesException", "ClusterContainsTasksException",
    "UpdateInProgressException",
}  # fmt: skip


class ClusterStep(BaseStep):
    """The cluster that container instances join and services run in; it has the lab's name."""

    name = "cluster"
    needs = (PREREQUISITES,)

    def __init__(self, lab: Lab, target: Target) -> None:
        self._lab = lab
        self._target = target
        self._refusal = ""

    @cached_property
    def _desired(self) -> dict[str, Any]:
        return {"clusterName": self._lab.name}

    def inspect(self) -> Actual | None:
        cluster = self._describe()
        if cluster is None:
            return None
        tags = as_mapping(cluster.get("tags"))
        require_ownership("cluster", self._lab.name, self._lab.name, tags)
        made_from = tags.get(FINGERPRINT_TAG)
        return Actual(
            made_from,
            True,
            cluster["status"],
            fields=lambda: tag_changes(made_from, self.fingerprint),
            drift=lambda: untagged(made_from, self.fingerprint),
        )

    def apply(self, actual: Actual | None, report: Report) -> str:
        policy = self._target.polling.at_most(ROLE_SECONDS)
        try:
            return poll_until(lambda: self._create(report), policy, report.wait)
        except TimeoutError as error:
            raise StepFailed(
                "The cluster can't be created",
                where=f"cluster {self._lab.name}",
                why=f"{self._refusal}; {error}",
                hint="check that you may create service-linked roles (iam:CreateServiceLinkedRole): "
                "docs/aws.md has the policies",
            ) from error

    def _create(self, report: Report) -> str | None:
        """The cluster's status; None while ECS can't assume its own role yet."""
        tags = as_items(tags_for(self._lab.name, self.desired()))
        try:
            created = self._target.client("ecs").create_cluster(clusterName=self._lab.name, tags=tags)
        except client_error() as error:
            if _ROLE_MISSING not in str(error):
                raise
            if not self._refusal:
                report.say("waiting for ECS's service-linked role, which is new in this account")
            self._refusal = str(error)
            return None
        return str(created["cluster"]["status"])

    def destroy(self, report: Report) -> str:
        if self.inspect() is None:
            return "absent"
        providers = (self._describe() or {}).get("capacityProviders") or ()
        deleted = self._await_deleted(report)
        if capacity_provider_of(self._lab.name) in providers:
            delete_provider_of_no_cluster(self._lab, self._target, report)
        return deleted

    def _await_deleted(self, report: Report) -> str:
        try:
            poll_until(unless_throttled(lambda: self._delete(report)), self._target.polling, report.wait)
        except TimeoutError as error:
            raise StepFailed(
                "The cluster can't be deleted",
                where=f"cluster {self._lab.name}",
                why=f"{self._refusal}; {error}",
                hint="run `ecsconsul down` again",
            ) from error
        return "deleted"

    def _delete(self, report: Report) -> bool | None:
        """True when the cluster is deleted; None while ECS still deregisters the stack's tasks and instances."""
        ecs = self._target.client("ecs")
        try:
            ecs.delete_cluster(cluster=self._lab.name)
        except client_error() as error:
            code = error_code(error)
            if code == "ClusterNotFoundException":
                return True
            if code == "ClusterContainsServicesException":
                self._refuse_foreign_services()
            if code not in _BUSY:
                raise
            if self._refusal != code:
                self._refusal = code
                report.say(f"ECS isn't ready to delete the cluster: {code}")
            return None
        return True

    def _refuse_foreign_services(self) -> None:
        """Raises StepFailed when the cluster holds services that the lab doesn't own; its own are being deleted."""
        foreign = [s["serviceName"] for s in services_of(self._target, self._lab.name) if not is_of(self._lab.name, s)]
        if foreign:
            raise StepFailed(
                "The cluster holds services that this lab did not create",
                where=f"cluster {self._lab.name}",
                why=", ".join(foreign),
                hint='delete each of them with: eval "$(ecsconsul env)"; '
                f"aws ecs delete-service --force --cluster {self._lab.name} --service {foreign[0]}",
            )

    def _describe(self) -> dict[str, Any] | None:
        """The cluster. ECS lists a deleted one for a while as INACTIVE, which counts as absent."""
        ecs = self._target.client("ecs")
        found = ecs.describe_clusters(clusters=[self._lab.name], include=["TAGS"])["clusters"]
        return next((cluster for cluster in found if cluster["status"] != "INACTIVE"), None)
