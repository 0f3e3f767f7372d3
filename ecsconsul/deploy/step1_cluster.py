"""The ECS cluster (the lab's step 1)."""

from __future__ import annotations

from typing import Any

from ..config.lab import Lab
from ..errors import StepFailed
from ..polling import wait_until
from ..targets.base import Target
from ..targets.client_errors import error_code, unless_throttled
from .base_step import BaseStep
from .service_poller import is_of, services_of
from .step import FINGERPRINT_TAG, Actual, Report, as_items, as_mapping, require_ownership, tags_for

# An account's first cluster brings ECS's own role along, which IAM knows a little later: until then ECS refuses.
ROLE_SECONDS = 60.0
_NO_ROLE_YET = "service linked role"

# ECS refuses to delete a cluster for a while after its instances were terminated with the stack
_BUSY = frozenset(
    {
        "ClusterContainsContainerInstancesException",
        "ClusterContainsServicesException",
        "ClusterContainsTasksException",
        "UpdateInProgressException",
    }
)


class Cluster(BaseStep):
    """The cluster that instances join and services run in; it has the lab's name."""

    name = "cluster"
    needs = ("ground",)

    def __init__(self, lab: Lab, target: Target) -> None:
        self._lab = lab
        self._target = target
        self._refusal = ""

    def wanted(self) -> dict[str, Any]:
        return {"clusterName": self._lab.name}

    def found(self) -> Actual | None:
        cluster = self._describe()
        if cluster is None:
            return None
        tags = as_mapping(cluster.get("tags"))
        require_ownership("cluster", self._lab.name, self._lab.name, tags)
        return Actual(tags.get(FINGERPRINT_TAG), True, cluster["status"])

    def apply(self, found: Actual | None, report: Report) -> str:
        patience = self._target.patience.at_most(ROLE_SECONDS)
        try:
            return wait_until(lambda: self._created(report), patience, report.pause)
        except TimeoutError as error:
            raise StepFailed(
                "The cluster cannot be created",
                where=f"cluster {self._lab.name}",
                why=f"{self._refusal}; {error}",
                hint="may you create service-linked roles (iam:CreateServiceLinkedRole)? docs/aws.md has the policies",
            ) from error

    def _created(self, report: Report) -> str | None:
        """Its status; None while ECS cannot take its own role."""
        from botocore.exceptions import ClientError

        tags = as_items(tags_for(self._lab.name, self.wanted()))
        try:
            made = self._target.client("ecs").create_cluster(clusterName=self._lab.name, tags=tags)
        except ClientError as error:
            if _NO_ROLE_YET not in str(error):
                raise
            if not self._refusal:
                report.say("waiting for the role of ECS, which is new in this account")
            self._refusal = str(error)
            return None
        return str(made["cluster"]["status"])

    def destroy(self, report: Report) -> str:
        if self.found() is None:
            return "absent"
        try:
            wait_until(unless_throttled(lambda: self._deleted(report)), self._target.patience, report.pause)
        except TimeoutError as error:
            raise StepFailed(
                "The cluster cannot be deleted",
                where=f"cluster {self._lab.name}",
                why=f"{self._refusal}; {error}",
                hint="`ecsconsul down` tries again",
            ) from error
        return "deleted"

    def _deleted(self, report: Report) -> bool | None:
        """True when it is; None while ECS still takes leave of tasks and instances that went with the stack."""
        from botocore.exceptions import ClientError

        ecs = self._target.client("ecs")
        try:
            ecs.delete_cluster(cluster=self._lab.name)
        except ClientError as error:
            code = error_code(error)
            if code == "ClusterNotFoundException":
                return True
            if code == "ClusterContainsServicesException":
                self._refuse_others()
            if code not in _BUSY:
                raise
            if self._refusal != code:
                self._refusal = code
                report.say(f"ECS is not ready to: {code}")
            return None
        return True

    def _refuse_others(self) -> None:
        """Raises StepFailed when services are left that are not the lab's; its own are on their way out."""
        theirs = [s["serviceName"] for s in services_of(self._target, self._lab.name) if not is_of(self._lab.name, s)]
        if theirs:
            raise StepFailed(
                "The cluster holds services that this lab did not make",
                where=f"cluster {self._lab.name}",
                why=", ".join(theirs),
                hint='remove each with: eval "$(ecsconsul env)"; '
                f"aws ecs delete-service --force --cluster {self._lab.name} --service {theirs[0]}",
            )

    def _describe(self) -> dict[str, Any] | None:
        """The cluster; one that was deleted stays visible as INACTIVE for a while, and counts as absent."""
        ecs = self._target.client("ecs")
        found = ecs.describe_clusters(clusters=[self._lab.name], include=["TAGS"])["clusters"]
        return next((cluster for cluster in found if cluster["status"] != "INACTIVE"), None)
