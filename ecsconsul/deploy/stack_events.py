"""Reads the events of a stack's last operation, each once, and finds the first failure among them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .step import SubResource

Event = dict[str, Any]

# In these words CloudFormation says that nobody, or not enough instances, told it of a good end.
_SIGNAL = re.compile(r"\b(resource signal|SUCCESS signal|FAILURE signal)", re.IGNORECASE)
_INSTANCE = re.compile(r"\bi-[0-9a-f]{8,17}\b")


class StackEvents:
    """The events of the operation that is under way, or of the last one."""

    def __init__(self, cloudformation: Any, stack: str) -> None:
        self._cloudformation = cloudformation
        self._stack = stack
        self._known: dict[str, Event] = {}

    def fresh(self) -> list[Event]:
        """Those that came since the last look, oldest first; none of a stack that has just been deleted."""
        from botocore.exceptions import ClientError

        try:
            found = list(self._until_known())[::-1]
        except ClientError as error:
            # by its name a deleted stack tells nothing any more
            if "does not exist" not in str(error):
                raise
            return []
        if found and _begins_operation(found[0]):
            # what was read before belongs to an operation that is over
            self._known.clear()
        self._known |= {event["EventId"]: event for event in found}
        return found

    def first_failure(self) -> Event | None:
        """The first resource that failed; those that fail later are only its consequences."""
        self.fresh()
        return first_failure(self._known.values())

    def instance_without_signal(self, failure: Event) -> str | None:
        """The instance that said of itself that it failed, or was not heard of; None when the cause is another one.

        Of a group of instances it is the events that name one, or nobody does.
        """
        if not _SIGNAL.search(failure["ResourceStatusReason"]):
            return None
        mine = [e for e in self._known.values() if e["LogicalResourceId"] == failure["LogicalResourceId"]]
        said = [failure, *(event for event in mine if "FAILURE" in event.get("ResourceStatusReason", ""))]
        texts = [text for e in said for text in (e["ResourceStatusReason"], e.get("PhysicalResourceId", ""))]
        return next((match.group() for match in map(_INSTANCE.search, texts) if match), None)

    def _until_known(self) -> Iterator[Event]:
        """Newest first, as CloudFormation gives them: no page is asked for that holds nothing new."""
        pages = self._cloudformation.get_paginator("describe_stack_events").paginate(StackName=self._stack)
        for page in pages:
            for event in page["StackEvents"]:
                if event["EventId"] in self._known:
                    return
                yield event
                if _begins_operation(event):
                    return


def first_failure(events: Iterable[Event]) -> Event | None:
    """The first of an operation's resources that failed, and was not only told to stop as another one had."""
    failed = [e for e in events if e["ResourceStatus"].endswith("_FAILED") and e.get("ResourceStatusReason")]
    failed = [e for e in failed if "cancelled" not in e["ResourceStatusReason"].lower()]
    return min(failed, key=lambda event: event["Timestamp"], default=None)


def in_words(failure: Event | None) -> str:
    """A resource that failed, and AWS's reason."""
    if failure is None:
        return "CloudFormation gives no reason"
    return f"{failure['LogicalResourceId']} ({failure['ResourceType']}): {failure['ResourceStatusReason']}"


def is_of_group(failure: Event) -> bool:
    """Whether it is an Auto Scaling group that failed."""
    return bool(failure["ResourceType"] == "AWS::AutoScaling::AutoScalingGroup")


def as_parts(events: Sequence[Event]) -> Iterator[SubResource]:
    """What happened to the stack's resources; not the stack's own events, and no state twice in a row."""
    last: dict[str, str] = {}
    for event in events:
        name, status = event["LogicalResourceId"], event["ResourceStatus"]
        reason = event.get("ResourceStatusReason", "") if _tells(event) else ""
        if _is_of_stack(event) or (last.get(name) == status and not reason):
            continue
        last[name] = status
        yield SubResource(name, _state(status), " ".join(filter(None, (status, event["ResourceType"], reason))))


def _state(status: str) -> Any:
    if status.endswith("_FAILED"):
        return "failed"
    return "runs" if status.endswith("_IN_PROGRESS") else "done"


def _tells(event: Event) -> bool:
    """Whether the reason says more than the status: of a failure, or a signal that was received."""
    return bool(event["ResourceStatus"].endswith("_FAILED") or "signal" in event.get("ResourceStatusReason", ""))


def _is_of_stack(event: Event) -> bool:
    return bool(event["ResourceType"] == "AWS::CloudFormation::Stack")


def _begins_operation(event: Event) -> bool:
    """Whether it is the stack itself, and not one of its resources, that begins to be made, changed or deleted."""
    begins = ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS")
    return _is_of_stack(event) and event["ResourceStatus"] in begins
