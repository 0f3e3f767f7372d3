"""The CloudFormation stack: Consul servers and the Auto Scaling group of ECS instances (the lab's step 2)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from ..config.lab import Lab
from ..errors import StepFailed
from ..polling import wait_until
from ..targets.base import Target
from ..targets.client_errors import error_code, unless_throttled
from ..targets.stack_states import StackState, state_of
from .base_step import BaseStep
from .stack_events import StackEvents, as_parts, in_words, is_of_group
from .step import FINGERPRINT_TAG, Actual, Report, as_items, as_mapping, fingerprint, require_ownership, tags_for
from .template import stack_template

BEGUN, MOVED = "begun", "moved"
NOTHING_TO_DO = "No updates are to be performed"
ABSENT = "absent"
# others may begin something between our look and our request, but not for ever
ATTEMPTS = 5
BOOT_LINES = 25


class Stack(BaseStep):
    """The stack; it has the lab's name."""

    name = "stack"
    needs = ("cluster",)

    def __init__(self, lab: Lab, target: Target) -> None:
        self._lab = lab
        self._target = target

    def wanted(self) -> dict[str, Any]:
        template = hashlib.sha256(stack_template().encode()).hexdigest()
        return {"template": template, "parameters": self._parameters_of_the_lab()}

    def found(self) -> Actual | None:
        stack = self._describe()
        if stack is None:
            return None
        tags = as_mapping(stack.get("Tags"), key="Key", value="Value")
        require_ownership("stack", self._lab.name, self._lab.name, tags)
        status = stack["StackStatus"]
        made_of = None if state_of(status) is StackState.DEAD or "ROLLBACK" in status else tags.get(FINGERPRINT_TAG)
        return Actual(made_of, state_of(status) is StackState.READY, status)

    def apply(self, found: Actual | None, report: Report) -> str:
        for _ in range(ATTEMPTS):
            if found and state_of(found.detail) is StackState.PROGRESSING and self._is_as_wanted(found):
                # an `up` that was killed has begun it
                return self._await_ready(report)
            found = self._settled(found, report)
            if found and state_of(found.detail) is StackState.READY and self._is_as_wanted(found):
                return found.detail
            begun = self._begin(found)
            if begun == BEGUN:
                return self._await_ready(report)
            if begun == NOTHING_TO_DO and found:
                return found.detail
            found = self.found()
        raise self._failed("The stack is changed by someone else at the same time", "each change met another one")

    def destroy(self, report: Report) -> str:
        if self.found() is None:
            return ABSENT
        self._delete(report)
        return "deleted"

    # what is there already

    def _settled(self, found: Actual | None, report: Report) -> Actual | None:
        """The stack when nothing is under way any more and it can be built upon; None: there is none."""
        continued = False
        for _ in range(ATTEMPTS):
            if found is None or state_of(found.detail) is StackState.DEAD:
                if found:
                    report.say(f"deleting the stack, which is in {found.detail}")
                    self._delete(report)
                return None
            if state_of(found.detail) is StackState.STUCK and not continued:
                continued = True
                report.say(f"the stack is in {found.detail}; continuing its rollback")
                self._client().continue_update_rollback(StackName=self._lab.name)
            elif not state_of(found.detail).is_running:
                break
            self._await_end(report)
            found = self.found()
        if found and state_of(found.detail) is StackState.STUCK:
            raise self._failed(f"The stack stays in {found.detail}", in_words(self._events().first_failure()))
        return found

    def _await_end(self, report: Report) -> None:
        def ended() -> bool | None:
            return None if state_of(self._status(report)).is_running else True

        self._wait(ended, report)

    def _is_as_wanted(self, found: Actual) -> bool:
        return found.fingerprint == fingerprint(self.wanted())

    # what is done

    def _begin(self, found: Actual | None) -> str:
        """Ask for the stack as wanted: begun, nothing to do, or it is not what it was when we looked.

        What fails is rolled back, as by default: its events outlive that, and so does what instances wrote.
        """
        from botocore.exceptions import ClientError

        cloudformation = self._client()
        try:
            (cloudformation.update_stack if found else cloudformation.create_stack)(**self._request())
        except ClientError as error:
            if NOTHING_TO_DO in str(error):
                # after a rollback the stack is what the last good one made
                return NOTHING_TO_DO
            if error_code(error) == "AlreadyExistsException" or "_IN_PROGRESS state" in str(error):
                return MOVED
            raise
        return BEGUN

    def _await_ready(self, report: Report) -> str:
        events = self._events()

        def look() -> str | None:
            status = self._status(report)
            if state_of(status) is StackState.READY:
                return status
            if state_of(status) is not StackState.PROGRESSING:
                # what is rolled back is not waited for: the next `up` does, if it has to
                raise self._failed(f"The stack ended in {status}", self._why(events, status))
            self._tell(events, report)
            return None

        return str(self._wait(look, report))

    def _delete(self, report: Report) -> None:
        """Delete the stack; once more when a resource could not be deleted, which may have waited for another."""
        for _ in range(2):
            self._ask_to_delete(report)
            events = self._events()
            if self._await_gone(events, report) == ABSENT:
                return
            why = in_words(events.first_failure())
            report.say(f"not deleted: {why}")
        raise self._failed("The stack cannot be deleted", why)

    def _ask_to_delete(self, report: Report) -> None:
        from botocore.exceptions import ClientError

        try:
            self._client().delete_stack(StackName=self._lab.name)
        except ClientError as error:
            if "_IN_PROGRESS" not in str(error):
                raise
            # an update cannot be cut short
            self._await_end(report)
            self._client().delete_stack(StackName=self._lab.name)

    def _await_gone(self, events: StackEvents, report: Report) -> str:
        """That it is absent, or in DELETE_FAILED."""

        def ended() -> str | None:
            status = self._status(report)
            if status == "DELETE_IN_PROGRESS":
                self._tell(events, report)
            return status if status in (ABSENT, "DELETE_FAILED") else None

        return str(self._wait(ended, report))

    def _tell(self, events: StackEvents, report: Report) -> None:
        for part in as_parts(events.fresh()):
            report.part(part)

    def _wait(self, look: Callable[[], Any], report: Report) -> Any:
        try:
            return wait_until(unless_throttled(look), self._target.patience, report.pause)
        except TimeoutError as error:
            raise self._failed("The stack is not ready in time", f"{self._status(report)}, {error}") from error

    # what is said

    def _why(self, events: StackEvents, status: str) -> str:
        """The first failure; if an instance did not come up, with the last that it wrote while it booted."""
        if status == ABSENT:
            return "it was deleted while it was waited for"
        failure = events.first_failure()
        instance = failure and (events.instance_without_signal(failure) or self._instance_of_group(failure))
        lines = self._target.boot_log(instance, BOOT_LINES) if instance else []
        said = [f"the last lines that {instance} wrote while it booted:", *(f"  {line}" for line in lines)]
        return "\n".join([in_words(failure), *(said if lines else [])])

    def _instance_of_group(self, failure: dict[str, Any]) -> str | None:
        """An instance of the Auto Scaling group that failed; nobody tells which one it was."""
        if not (is_of_group(failure) and failure.get("PhysicalResourceId")):
            return None
        asked = self._target.client("autoscaling").describe_auto_scaling_groups(
            AutoScalingGroupNames=[failure["PhysicalResourceId"]]
        )
        instances = [one["InstanceId"] for group in asked["AutoScalingGroups"] for one in group["Instances"]]
        return next(iter(instances), None)

    def _failed(self, what: str, why: str) -> StepFailed:
        return StepFailed(
            what,
            where=f"stack {self._lab.name}",
            why=why,
            hint="mend the cause and run `ecsconsul up` again; a stack that cannot go on is replaced",
        )

    # requests

    def _client(self) -> Any:
        return self._target.client("cloudformation")

    def _events(self) -> StackEvents:
        return StackEvents(self._client(), self._lab.name)

    def _status(self, report: Report) -> str:
        """The stack's status, or that it is absent; one that changes goes on without us."""
        stack = self._describe()
        status = str(stack["StackStatus"]) if stack else ABSENT
        report.under_way(f"stack {self._lab.name}: {status}" if state_of(status).is_running else "")
        return status

    def _describe(self) -> dict[str, Any] | None:
        from botocore.exceptions import ClientError

        try:
            stacks = self._client().describe_stacks(StackName=self._lab.name)["Stacks"]
        except ClientError as error:
            if "does not exist" in str(error):
                return None
            raise
        return next((stack for stack in stacks if stack["StackStatus"] != "DELETE_COMPLETE"), None)

    def _request(self) -> dict[str, Any]:
        parameters = {**self._parameters_of_the_lab(), **self._target.stack_parameters(self._lab)}
        return {
            "StackName": self._lab.name,
            "TemplateBody": stack_template(),
            "Parameters": as_items(parameters, key="ParameterKey", value="ParameterValue"),
            "Capabilities": ["CAPABILITY_IAM"],
            "Tags": as_items(tags_for(self._lab.name, self.wanted()), key="Key", value="Value"),
        }

    def _parameters_of_the_lab(self) -> dict[str, str]:
        aws, portal = self._lab.aws, self._lab.portal
        return {
            "LabName": self._lab.name,
            "EcsClusterName": self._lab.name,
            "InstanceCount": str(self._lab.instances),
            "ConsulServers": str(self._lab.consul.servers),
            "InstanceType": aws.instance_type,
            "ConsulImage": aws.consul_image,
            **({"KeyName": aws.key_name} if aws.key_name else {}),
            **({"SshCidr": aws.ssh_cidr} if aws.ssh_cidr else {}),
            **({"VpcId": aws.vpc} if aws.vpc else {}),
            **({"SubnetIds": ",".join(aws.subnets)} if aws.subnets else {}),
            **({"PublicPort": str(portal.host_port)} if portal else {}),
        }
