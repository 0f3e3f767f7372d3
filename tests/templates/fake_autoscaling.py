"""Auto Scaling and CloudWatch Logs behind the VPC's AWS API, as far as instances call them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.templates.stack import LAB
from tests.templates.vpc import Answer, Cloud, Request

HOOK = "leave"


@dataclass
class AutoScaling:
    """Lets instances leave as their hook demands, and notes what they call; `on_complete` looks at one that leaves."""

    cloud: Cloud
    on_complete: Callable[[str], None] = lambda instance: None
    calls: list[tuple[str, str]] = field(default_factory=list)
    completed: list[str] = field(default_factory=list)
    unhealthy: list[str] = field(default_factory=list)

    def terminate(self, *instances: str) -> None:
        """They wait for their hook."""
        for one in instances:
            self.cloud.instances[one].target = "Terminated"

    def __call__(self, request: Request) -> Answer:
        form = request.form
        action, instance = form["Action"], form["InstanceId"]
        assert instance == request.instance.id
        self.calls.append((action, instance))
        if action == "SetInstanceHealth":
            assert (form["HealthStatus"], form["ShouldRespectGracePeriod"]) == ("Unhealthy", "false")
            self.unhealthy.append(instance)
        elif (error := self._lifecycle(action, form, request)) is not None:
            return error
        return Answer(200, f"<{action}Response><{action}Result/></{action}Response>")

    def _lifecycle(self, action: str, form: dict[str, str], request: Request) -> Answer | None:
        group = request.instance.tags["aws:autoscaling:groupName"]
        assert (form["LifecycleHookName"], form["AutoScalingGroupName"]) == (HOOK, group)
        if request.instance.target != "Terminated" or form["InstanceId"] in self.completed:
            why = "No active Lifecycle Action found"
            body = f"<ErrorResponse><Error><Code>ValidationError</Code><Message>{why}</Message></Error></ErrorResponse>"
            return Answer(400, body)
        if action == "CompleteLifecycleAction":
            assert form["LifecycleActionResult"] == "CONTINUE"
            self.on_complete(form["InstanceId"])
            self.completed.append(form["InstanceId"])
        return None


@dataclass
class Logs:
    """The lab's log group."""

    streams: dict[str, list[str]] = field(default_factory=dict)

    def __call__(self, request: Request) -> Answer:
        given = json.loads(request.body)
        assert given["logGroupName"] == f"/ecsconsul/{LAB}"
        name = given["logStreamName"]
        if request.operation == "CreateLogStream":
            if name in self.streams:
                return _json(400, {"__type": "ResourceAlreadyExistsException", "message": "it exists"})
            self.streams[name] = []
        else:
            self.streams[name] += [event["message"] for event in given["logEvents"]]
        return _json(200, {})


def _json(status: int, document: dict[str, object]) -> Answer:
    return Answer(status, json.dumps(document), "application/x-amz-json-1.1")
