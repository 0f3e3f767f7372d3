"""A fake CloudFormation with one stack, which takes time, fails on demand, and refuses what AWS refuses."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from botocore.exceptions import ClientError

BEGAN = datetime(2024, 1, 1, tzinfo=timezone.utc)
STACK = "AWS::CloudFormation::Stack"
INSTANCE, GROUP = "AWS::EC2::Instance", "AWS::AutoScaling::AutoScalingGroup"
# as many events as CloudFormation gives in a page
PAGE = 100


@dataclass(frozen=True)
class Scene:
    """A status of the stack (None when it is deleted) and the events that lead to it."""

    status: str | None
    events: tuple[dict[str, Any], ...] = ()


def happened(resource: str, status: str, reason: str = "", kind: str = INSTANCE, **more: str) -> dict[str, Any]:
    """An event without its id and time."""
    found = {"LogicalResourceId": resource, "ResourceType": kind, "ResourceStatus": status, **more}
    return {**found, "ResourceStatusReason": reason} if reason else found


CREATED = (
    Scene("CREATE_IN_PROGRESS", (happened("blue", "CREATE_IN_PROGRESS", "User Initiated", STACK),)),
    Scene("CREATE_IN_PROGRESS", (happened("Server", "CREATE_IN_PROGRESS"),)),
    Scene("CREATE_IN_PROGRESS", (happened("Server", "CREATE_COMPLETE"),)),
    Scene("CREATE_COMPLETE", (happened("blue", "CREATE_COMPLETE", kind=STACK),)),
)
UPDATED = (
    Scene("UPDATE_IN_PROGRESS", (happened("blue", "UPDATE_IN_PROGRESS", "User Initiated", STACK),)),
    Scene("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", (happened("Server", "UPDATE_COMPLETE"),)),
    Scene("UPDATE_COMPLETE", (happened("blue", "UPDATE_COMPLETE", kind=STACK),)),
)
DELETED = (
    Scene("DELETE_IN_PROGRESS", (happened("blue", "DELETE_IN_PROGRESS", "User Initiated", STACK),)),
    Scene("DELETE_IN_PROGRESS", (happened("Server", "DELETE_COMPLETE"),)),
    Scene(None),
)
ROLLED_ON = (Scene("UPDATE_ROLLBACK_IN_PROGRESS"), Scene("UPDATE_ROLLBACK_COMPLETE"))


def not_created(*failures: dict[str, Any]) -> tuple[Scene, ...]:
    """A creation with these failures, then rolled back."""
    return (
        CREATED[0],
        Scene("ROLLBACK_IN_PROGRESS", (*failures, happened("blue", "ROLLBACK_IN_PROGRESS", "failed to create", STACK))),
        Scene("ROLLBACK_COMPLETE", (happened("blue", "ROLLBACK_COMPLETE", kind=STACK),)),
    )


@dataclass
class CloudFormation:
    """The part of a boto3 client that the stack step uses.

    Each look at a stack that changes takes it one scene further.
    `plays` are what the next operations of a name become, and the usual course when there is none.
    """

    tags: list[dict[str, str]] = field(default_factory=list)
    parameters: list[dict[str, str]] = field(default_factory=list)
    status: str | None = None
    template: str = "Resources: {}"
    plays: dict[str, list[tuple[Scene, ...]]] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    # what happens just before an operation is taken, for instance that another one begins it
    before: dict[str, Callable[[], None]] = field(default_factory=dict)
    refusing: list[str] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    _scenes: list[Scene] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def begin(self, operation: str, usual: tuple[Scene, ...]) -> None:
        """The story of an operation begins, by whomever."""
        self._scenes = list(self.plays[operation].pop(0) if self.plays.get(operation) else usual)
        self._next()

    # the operations

    def create_stack(self, **request: Any) -> None:
        self._ask("create_stack")
        if self.status:
            raise refusal("AlreadyExistsException", f"Stack [{request['StackName']}] already exists")
        self.events.clear()
        self.tags, self.parameters = request["Tags"], request["Parameters"]
        self.begin("create_stack", CREATED)

    def update_stack(self, **request: Any) -> None:
        self._ask("update_stack")
        if self.status and self.status.endswith(("_IN_PROGRESS", "_FAILED")):
            raise refusal("ValidationError", f"Stack:arn is in {self.status} state and can not be updated.")
        tags, parameters = request.get("Tags", self.tags), self._updated(request["Parameters"])
        if self.tags == tags and all(one in parameters for one in self.parameters):
            raise refusal("ValidationError", "No updates are to be performed.")
        self.tags, self.parameters = tags, parameters
        self.begin("update_stack", UPDATED)

    def _updated(self, parameters: list[dict[str, Any]]) -> list[dict[str, str]]:
        known = {one["ParameterKey"]: one for one in self.parameters}
        return [known[one["ParameterKey"]] if one.get("UsePreviousValue") else one for one in parameters]

    def delete_stack(self, **_: Any) -> None:
        self._ask("delete_stack")
        if self.status and self.status.startswith("UPDATE") and self.status.endswith("_IN_PROGRESS"):
            raise refusal("ValidationError", f"Stack [blue] cannot be deleted while in status {self.status}")
        if self.status:
            self.begin("delete_stack", DELETED)

    def continue_update_rollback(self, **_: Any) -> None:
        self._ask("continue_update_rollback")
        self.begin("continue_update_rollback", ROLLED_ON)

    def describe_stacks(self, **_: Any) -> dict[str, Any]:
        self._ask("describe_stacks")
        if self.status is None:
            raise refusal("ValidationError", "Stack with id blue does not exist")
        answer = {"StackName": "blue", "StackStatus": self.status, "Tags": self.tags, "Parameters": self.parameters}
        self._next()
        return {"Stacks": [answer]}

    def get_template(self, TemplateStage: str, **_: Any) -> dict[str, str]:
        assert TemplateStage == "Original"
        self._ask("get_template")
        return {"TemplateBody": self.template}

    def get_paginator(self, operation: str) -> CloudFormation:
        assert operation == "describe_stack_events"
        return self

    def paginate(self, **_: Any) -> Iterator[dict[str, Any]]:
        newest_first = self.events[::-1]
        for start in range(0, max(1, len(newest_first)), PAGE):
            self._ask("describe_stack_events")
            yield {"StackEvents": newest_first[start : start + PAGE]}

    # its time

    def _ask(self, operation: str) -> None:
        self.requests[operation] += 1
        if operation in self.before:
            self.before.pop(operation)()
        if operation in self.refusing:
            self.refusing.remove(operation)
            raise refusal("Throttling", "Rate exceeded")

    def _next(self) -> None:
        if self._scenes:
            scene = self._scenes.pop(0)
            self.status = scene.status
            for event in scene.events:
                number = next(self._numbers)
                self.events.append({**event, "EventId": str(number), "Timestamp": BEGAN + timedelta(seconds=number)})


def refusal(code: str, message: str) -> ClientError:
    """An error as boto3 raises it."""
    return ClientError({"Error": {"Code": code, "Message": message}}, "Operation")
