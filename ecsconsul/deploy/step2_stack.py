"""The CloudFormation stack: Consul servers and the Auto Scaling group of ECS instances (the lab's step 2)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from ..aws_tags import FINGERPRINT_TAG, as_items, as_mapping, require_ownership
from ..config.lab import Lab
from ..errors import LabError, StepFailed
from ..polling import poll_until
from ..targets.base import ResourceDrift, Target
from ..targets.client_errors import client_error, error_code, unless_throttled
from ..targets.stack_states import StackState, state_of
from .field_diff import reversed_changes, untagged
from .stack_diff import GROUP, StackForm, diff
from .stack_drift import as_fields, changed_parameters, group_drift
from .stack_events import StackEvents, as_subresources, describe_failure, is_of_group
from .stack_parameters import kept_parameters, lab_parameters, outputs_of, parameters_of, resolved_parameters
from .step import Actual, BaseStep, Drift, FieldChange, Report, ResourceChange, tags_for
from .template import parameter_names, resource_types, stack_template
from .template_reader import Template, TemplateUnreadable, read_template

STARTED, CHANGED = "started", "changed"
NO_UPDATES = "No updates are to be performed"
ABSENT = "absent"
# CloudFormation changes only what differs between two templates, so an update leaves such a change alone
WAY_OUT = (
    "`ecsconsul up` sets parameters back, but not the properties of resources: undo such a change where it was made, "
    "or change the config and run `ecsconsul up`"
)
# others may change the stack between our inspection and our request, but only so often
ATTEMPTS = 5
BOOT_LINES = 25


class StackStep(BaseStep):
    """The stack; it has the lab's name."""

    name = "stack"
    needs = ("cluster",)

    def __init__(self, lab: Lab, target: Target) -> None:
        self._lab = lab
        self._target = target

    @cached_property
    def _desired(self) -> dict[str, Any]:
        template = hashlib.sha256(self._template.encode()).hexdigest()
        return {"template": template, "parameters": self._lab_parameters()}

    @cached_property
    def _template(self) -> str:
        return stack_template(self._target.template_parts)

    def inspect(self) -> Actual | None:
        stack = self._describe()
        if stack is None:
            return None
        require_ownership("stack", self._lab.name, self._lab.name, _tags_of(stack))
        status = stack["StackStatus"]
        outdated = state_of(status) is StackState.DEAD or "ROLLBACK" in status
        made_from = None if outdated else self._made_from(stack)
        return Actual(
            made_from,
            state_of(status) is StackState.READY,
            status,
            preview=lambda: self._preview(stack),
            drift=lambda: self._drift(stack),
        )

    def _made_from(self, stack: Mapping[str, Any]) -> str | None:
        is_renewed = self._target.renewed_parameters().items() <= parameters_of(stack).items()
        return _tags_of(stack).get(FINGERPRINT_TAG) if is_renewed and not self._changed_parameters(stack) else None

    def _changed_parameters(self, stack: Mapping[str, Any]) -> list[FieldChange]:
        """The config's parameters that the stack has with other values."""
        return changed_parameters(parameters_of(stack), self._lab_parameters())

    def _drift(self, stack: Mapping[str, Any]) -> Drift:
        """Parameters that aren't as the fingerprint says, and what others changed in the resources."""
        made_from = _tags_of(stack).get(FINGERPRINT_TAG)
        is_current = made_from in (None, self.fingerprint)
        found = [*reversed_changes(self._changed_parameters(stack)), *untagged(made_from, self.fingerprint).fields]
        resources = self._resource_drift(stack)
        untold = ""
        try:
            resources += self._target.stack_drift(self._lab.name)
        except LabError as error:
            untold = str(error)
        inside = as_fields(resources)
        way_out = WAY_OUT if inside else ""
        return Drift((*(found if is_current else ()), *inside), not is_current, untold, way_out)

    def _resource_drift(self, stack: Mapping[str, Any]) -> list[ResourceDrift]:
        template = self._template_of_stack()
        groups = _groups_of(stack, template)
        if not groups:
            return []
        described = self._target.client("autoscaling").describe_auto_scaling_groups(
            AutoScalingGroupNames=list(groups.values())
        )["AutoScalingGroups"]
        return list(group_drift(StackForm(template, resolved_parameters(stack)), groups, described))

    def _preview(self, stack: Mapping[str, Any]) -> Sequence[ResourceChange]:
        if state_of(stack["StackStatus"]) is StackState.DEAD:
            # it is deleted, and another one created
            return ()
        template = self._template_of_stack()
        old = StackForm(template, resolved_parameters(stack))
        new = StackForm(read_template(self._template), self._all_parameters(stack, self._image_of(stack)))
        groups = _groups_of(stack, template)
        instances = self._target.instances_of(list(groups.values()))
        return diff(old, new, {name: instances.get(group, 0) for name, group in groups.items()})

    def _template_of_stack(self) -> Template:
        try:
            found = self._client().get_template(StackName=self._lab.name, TemplateStage="Original")
            return read_template(found["TemplateBody"])
        except (client_error(), TemplateUnreadable) as error:
            raise LabError(
                "The stack's template can't be read",
                where=f"stack {self._lab.name}",
                why=str(error),
                hint="`ecsconsul up` can update the stack nevertheless",
            ) from error

    def _image_of(self, stack: Mapping[str, Any]) -> str:
        """Consul's image after an update, as far as the registry doesn't have to be asked for its digest."""
        image, current = self._lab.consul_image, parameters_of(stack).get("ConsulImage", "")
        return current if current.partition("@")[0] == image else image

    def apply(self, actual: Actual | None, report: Report) -> str:
        for _ in range(ATTEMPTS):
            if actual and state_of(actual.detail) is StackState.PROGRESSING and actual.fingerprint == self.fingerprint:
                # started by an `up` that was killed
                return self._await_ready(report)
            actual = self._await_stable(actual, report)
            if actual and state_of(actual.detail) is StackState.READY and actual.fingerprint == self.fingerprint:
                return actual.detail
            started = self._start(actual, report)
            if started == STARTED:
                return self._await_ready(report)
            if started == NO_UPDATES and actual:
                return actual.detail
            actual = self.inspect()
        raise self._failed("Someone else is changing the stack", f"{ATTEMPTS} updates collided with another one")

    def destroy(self, report: Report) -> str:
        if self.inspect() is None:
            return ABSENT
        self._delete(report)
        return "deleted"

    def _await_stable(self, actual: Actual | None, report: Report) -> Actual | None:
        """The stack once no operation is in progress and it can be updated; None when there is none."""
        continued = False
        for _ in range(ATTEMPTS):
            if actual is None or state_of(actual.detail) is StackState.DEAD:
                if actual:
                    report.say(f"deleting the stack, which is in {actual.detail}")
                    self._delete(report)
                return None
            if state_of(actual.detail) is StackState.STUCK and not continued:
                continued = True
                report.say(f"the stack is in {actual.detail}; continuing its rollback")
                self._client().continue_update_rollback(StackName=self._lab.name)
            elif not state_of(actual.detail).is_running:
                break
            self._await_end(report)
            actual = self.inspect()
        if actual and state_of(actual.detail) is StackState.STUCK:
            why = describe_failure(self._events().first_failure())
            raise self._failed(f"The stack stays in {actual.detail}", why)
        return actual

    def _await_end(self, report: Report) -> None:
        def ended() -> bool | None:
            return None if state_of(self._status(report)).is_running else True

        self._poll(ended, report)

    def _start(self, actual: Actual | None, report: Report) -> str:
        """Create or update the stack; whether that started, there are no updates, or the stack has changed meanwhile.

        A failed operation is rolled back, as by default: its events and the console output of instances survive that.
        """
        cloudformation = self._client()
        request = self._request(self._describe() if actual else None, report)
        try:
            (cloudformation.update_stack if actual else cloudformation.create_stack)(**request)
        except client_error() as error:
            if NO_UPDATES in str(error):
                # after a rollback the stack is what the last successful operation made
                return NO_UPDATES
            if error_code(error) == "AlreadyExistsException" or "_IN_PROGRESS state" in str(error):
                return CHANGED
            raise
        return STARTED

    def _await_ready(self, report: Report) -> str:
        events = self._events()

        def ready() -> str | None:
            status = self._status(report)
            if state_of(status) is StackState.READY:
                return status
            if state_of(status) is not StackState.PROGRESSING:
                # the rollback isn't waited for here: the next `up` waits if it has to
                raise self._failed(f"The stack ended in {status}", self._why(events, status))
            _report_events(events, report)
            return None

        return str(self._poll(ready, report))

    def _delete(self, report: Report) -> None:
        """Delete the stack; twice if a resource fails to delete, since it may have depended on another."""
        for _ in range(2):
            self._request_deletion(report)
            events = self._events()
            if self._await_deleted(events, report) == ABSENT:
                return
            why = describe_failure(events.first_failure())
            report.say(f"the deletion failed: {why}")
        raise self._failed("The stack can't be deleted", why)

    def _request_deletion(self, report: Report) -> None:
        try:
            self._client().delete_stack(StackName=self._lab.name)
        except client_error() as error:
            if "_IN_PROGRESS" not in str(error):
                raise
            # CloudFormation doesn't delete a stack during an update
            self._await_end(report)
            self._client().delete_stack(StackName=self._lab.name)

    def _await_deleted(self, events: StackEvents, report: Report) -> str:
        """How the deletion ended: ABSENT or DELETE_FAILED."""

        def ended() -> str | None:
            status = self._status(report)
            if status == "DELETE_IN_PROGRESS":
                _report_events(events, report)
            return status if status in (ABSENT, "DELETE_FAILED") else None

        return str(self._poll(ended, report))

    def _poll(self, look: Callable[[], Any], report: Report) -> Any:
        try:
            return poll_until(unless_throttled(look), self._target.polling, report.wait)
        except TimeoutError as error:
            raise self._failed("The stack isn't ready in time", f"{self._status(report)}, {error}") from error

    # failures

    def _why(self, events: StackEvents, status: str) -> str:
        """The first failure; if an instance failed to boot, with the last lines that it wrote."""
        if status == ABSENT:
            return "someone deleted it while it was being created or updated"
        failure = events.first_failure()
        instance = failure and (events.instance_without_signal(failure) or self._instance_of_group(failure))
        lines = self._target.boot_log(instance, BOOT_LINES) if instance else []
        log = [f"last lines of the boot log of {instance}:", *(f"  {line}" for line in lines)]
        return "\n".join([describe_failure(failure), *(log if lines else [])])

    def _instance_of_group(self, failure: dict[str, Any]) -> str | None:
        """Any instance of the Auto Scaling group that failed: CloudFormation doesn't name the one to blame."""
        if not (is_of_group(failure) and failure.get("PhysicalResourceId")):
            return None
        described = self._target.client("autoscaling").describe_auto_scaling_groups(
            AutoScalingGroupNames=[failure["PhysicalResourceId"]]
        )
        instances = [one["InstanceId"] for group in described["AutoScalingGroups"] for one in group["Instances"]]
        return next(iter(instances), None)

    def _failed(self, what: str, why: str) -> StepFailed:
        return StepFailed(
            what,
            where=f"stack {self._lab.name}",
            why=why,
            hint="fix the cause and run `ecsconsul up` again; it replaces a stack that can't be updated",
        )

    # requests

    def _client(self) -> Any:
        return self._target.client("cloudformation")

    def _events(self) -> StackEvents:
        return StackEvents(self._client(), self._lab.name)

    def _status(self, report: Report) -> str:
        """The stack's status, or ABSENT; a status that changes is recorded as in progress."""
        stack = self._describe()
        status = str(stack["StackStatus"]) if stack else ABSENT
        report.in_progress(f"stack {self._lab.name}: {status}" if state_of(status).is_running else "")
        return status

    def _describe(self) -> dict[str, Any] | None:
        try:
            stacks = self._client().describe_stacks(StackName=self._lab.name)["Stacks"]
        except client_error() as error:
            if "does not exist" in str(error):
                return None
            raise
        return next((stack for stack in stacks if stack["StackStatus"] != "DELETE_COMPLETE"), None)

    def _request(self, stack: Mapping[str, Any] | None, report: Report) -> dict[str, Any]:
        image = self._target.pinned_image(self._lab.consul_image, report.say)
        parameters = self._all_parameters(stack, image)
        return {
            "StackName": self._lab.name,
            "TemplateBody": self._template,
            "ResourceTypes": resource_types(self._template),
            "Parameters": as_items(parameters, key="ParameterKey", value="ParameterValue"),
            "Capabilities": ["CAPABILITY_IAM"],
            "Tags": as_items(tags_for(self._lab.name, self.desired()), key="Key", value="Value"),
        }

    def _all_parameters(self, stack: Mapping[str, Any] | None, image: str) -> dict[str, str]:
        own = {**self._lab_parameters(), "ConsulImage": image}
        return {**own, **self._target.stack_parameters(), **kept_parameters(stack)}

    def _lab_parameters(self) -> dict[str, str]:
        """The parameters that follow from the config; not those of parts that the template doesn't have."""
        known = parameter_names(self._template)
        return {name: value for name, value in lab_parameters(self._lab).items() if name in known}


class StackParametersStep(StackStep):
    """Sets parameters of the stack, and changes nothing else; part of other steps."""

    def __init__(self, lab: Lab, target: Target, parameters: Mapping[str, str]) -> None:
        super().__init__(lab, target)
        self._parameters = dict(parameters)

    def parameters(self) -> dict[str, str] | None:
        """The stack's parameters; None if there is no stack."""
        stack = self._describe()
        return None if stack is None or self.inspect() is None else parameters_of(stack)

    @cached_property
    def _desired(self) -> dict[str, Any]:
        return {"parameters": self._parameters}

    def apply(self, actual: Actual | None, report: Report) -> str:
        if actual is None or state_of(actual.detail) is StackState.DEAD:
            raise self._failed("The stack can't be updated", f"it is in {actual.detail}" if actual else "it is gone")
        return super().apply(actual, report)

    def _made_from(self, stack: Mapping[str, Any]) -> str | None:
        return self.fingerprint if self._parameters.items() <= parameters_of(stack).items() else None

    def _request(self, stack: Mapping[str, Any] | None, report: Report) -> dict[str, Any]:
        others = [name for name in parameters_of(stack or {}) if name not in self._parameters]
        return {
            "StackName": self._lab.name,
            "UsePreviousTemplate": True,
            "ResourceTypes": resource_types(self._template),
            "Parameters": [
                *({"ParameterKey": name, "UsePreviousValue": True} for name in others),
                *as_items(self._parameters, key="ParameterKey", value="ParameterValue"),
            ],
            "Capabilities": ["CAPABILITY_IAM"],
        }


def _tags_of(stack: Mapping[str, Any]) -> dict[str, str]:
    return as_mapping(stack.get("Tags"), key="Key", value="Value")


def _groups_of(stack: Mapping[str, Any], template: Template) -> dict[str, str]:
    """The Auto Scaling groups by resource: each group's name is an output that is called like the resource."""
    return {name: group for name, group in outputs_of(stack).items() if _type_of(template, name) == GROUP}


def _type_of(template: Template, resource: str) -> str:
    return str(template["Resources"].get(resource, {}).get("Type"))


def _report_events(events: StackEvents, report: Report) -> None:
    for subresource in as_subresources(events.new()):
        report.subresource(subresource)
