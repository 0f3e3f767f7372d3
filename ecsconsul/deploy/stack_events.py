"""Reads the events of a stack's current operation, each once, and finds the failure that caused the others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..targets.client_errors import client_error
from .step import SubResource

Event = dict[str, Any]

# how CloudFormation says that it received no success signal, or too few of them
_SIGNAL = re.compile(r"\b(resource signal|SUCCESS signal|FAILURE signal)", re.IGNORECASE)
_INSTANCE = re.compile(r"\bi-[0-9a-f]{8,17}\b")


class StackEvents:
    """The events of the operation in progress, or of the last one."""

    def __init__(self, cloudformation: Any, stack: str) -> None:
        self._cloudformation = cloudformation
        self._stack = stack
        self._known: dict[str, Event] = {}

    def new(self) -> list[Event]:
        """The events since the last call, oldest first; none when the stack has just been deleted."""
        try:
            found = list(self._until_known())[::-1]
        except client_error() as error:
            # a deleted stack has no events under its name
            if "does not exist" not in str(error):
                raise
            return []
        if found and _starts_operation(found[0]):
            # the events read so far belong to an earlier operation
            self._known.clear()
        self._known |= {event["EventId"]: event for event in found}
        return found

    def first_failure(self) -> Event | None:
        """The first resource that failed; later failures are consequences of it."""
        self.new()
        return first_failure(self._known.values())

    def instance_without_signal(self, failure: Event) -> str | None:
        """The instance that signalled a failure or sent no signal; None when the failure has another cause.

        For an Auto Scaling group, only the events of the group can name the instance.
        """
        if not _SIGNAL.search(failure["ResourceStatusReason"]):
            return None
        own = [e for e in self._known.values() if e["LogicalResourceId"] == failure["LogicalResourceId"]]
        failed = [failure, *(event for event in own if "FAILURE" in event.get("ResourceStatusReason", ""))]
        texts = [text for e in failed for text in (e["ResourceStatusReason"], e.get("PhysicalResourceId", ""))]
        return next((match.group() for match in map(_INSTANCE.search, texts) if match), None)

    def _until_known(self) -> Iterator[Event]:
        """Newest first, as CloudFormation lists them; stops before a page without new events."""
        pages = self._cloudformation.get_paginator("describe_stack_events").paginate(StackName=self._stack)
        for page in pages:
            for event in page["StackEvents"]:
                if event["EventId"] in self._known:
                    return
                yield event
                if _starts_operation(event):
                    return


def first_failure(events: Iterable[Event]) -> Event | None:
    """The first resource that failed by itself, and wasn't cancelled because another one had failed."""
    failed = [e for e in events if e["ResourceStatus"].endswith("_FAILED") and e.get("ResourceStatusReason")]
    failed = [e for e in failed if "cancelled" not in e["ResourceStatusReason"].lower()]
    return min(failed, key=lambda event: event["Timestamp"], default=None)


def describe_failure(failure: Event | None) -> str:
    """The resource that failed, with CloudFormation's reason."""
    if failure is None:
        return "CloudFormation gives no reason"
    return f"{failure['LogicalResourceId']} ({failure['ResourceType']}): {failure['ResourceStatusReason']}"


def is_of_group(failure: Event) -> bool:
    """Whether an Auto Scaling group failed."""
    return bool(failure["ResourceType"] == "AWS::AutoScaling::AutoScalingGroup")


def as_subresources(events: Sequence[Event]) -> Iterator[SubResource]:
    """The progress of the stack's resources, without the stack itself and without repeated states."""
    last: dict[str, str] = {}
    for event in events:
        name, status = event["LogicalResourceId"], event["ResourceStatus"]
        reason = event.get("ResourceStatusReason", "") if _has_useful_reason(event) else ""
        if _is_of_stack(event) or (last.get(name) == status and not reason):
            continue
        last[name] = status
        yield SubResource(name, _state(status), " ".join(filter(None, (status, event["ResourceType"], reason))))


def _state(status: str) -> Any:
    if status.endswith("_FAILED"):
        return "failed"
    return "runs" if status.endswith("_IN_PROGRESS") else "done"


def _has_useful_reason(event: Event) -> bool:
    """Whether the reason adds something to the status: a failure, or a signal that was received."""
    return bool(event["ResourceStatus"].endswith("_FAILED") or "signal" in event.get("ResourceStatusReason", ""))


def _is_of_stack(event: Event) -> bool:
    return bool(event["ResourceType"] == "AWS::CloudFormation::Stack")


def _starts_operation(event: Event) -> bool:
    """Whether CloudFormation starts to create, update or delete the stack itself."""
    first = ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS")
    return _is_of_stack(event) and event["ResourceStatus"] in first
