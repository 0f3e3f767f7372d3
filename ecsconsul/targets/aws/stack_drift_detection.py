"""CloudFormation's drift detection: which properties of a stack's resources aren't as its template says.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-stack-drift.html. CloudFormation reads the
resources with the caller's permissions, and compares only the properties that the template sets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...errors import LabError
from ...polling import PollingPolicy, poll_until
from ..base import ResourceDrift
from ..client_errors import client_error, unless_throttled
from .session import refused

# a detection takes seconds for each resource: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/detect-drift-stack.html
POLICY = PollingPolicy(delay=2.0, attempts=150)
DRIFTED = ["MODIFIED", "DELETED"]


def detect(cloudformation: Any, stack: str, wait: Callable[[float], None]) -> list[ResourceDrift]:
    """Detect the drift of a stack, and wait for the result. Raises LabError."""
    where = f"stack {stack}"
    try:
        detection = cloudformation.detect_stack_drift(StackName=stack)["StackDriftDetectionId"]
        ended = poll_until(unless_throttled(lambda: _ended(cloudformation, detection)), POLICY, wait)
        # a detection that failed for some resources has found out about the others
        found = [drift for one in _drifts(cloudformation, stack) for drift in _properties(one)]
    except client_error() as error:
        raise refused("CloudFormation can't detect what others have changed", error, where=where) from error
    except TimeoutError as error:
        raise LabError("The detection of drift isn't ready in time", where=where, why=str(error)) from error
    if ended["DetectionStatus"] == "DETECTION_FAILED" and not found:
        raise LabError(
            "CloudFormation can't detect what others have changed",
            where=where,
            why=str(ended.get("DetectionStatusReason", "")),
            hint="see the stack's drift in the console",
        )
    return found


def _ended(cloudformation: Any, detection: str) -> Mapping[str, Any] | None:
    status = cloudformation.describe_stack_drift_detection_status(StackDriftDetectionId=detection)
    return None if status["DetectionStatus"] == "DETECTION_IN_PROGRESS" else status


def _drifts(cloudformation: Any, stack: str) -> Iterator[Mapping[str, Any]]:
    # boto3 has no paginator for it
    request: dict[str, Any] = {"StackName": stack, "StackResourceDriftStatusFilters": DRIFTED}
    while True:
        answer = cloudformation.describe_stack_resource_drifts(**request)
        yield from answer["StackResourceDrifts"]
        if not answer.get("NextToken"):
            return
        request["NextToken"] = answer["NextToken"]


def _properties(drift: Mapping[str, Any]) -> Iterator[ResourceDrift]:
    resource = str(drift["LogicalResourceId"])
    if drift["StackResourceDriftStatus"] == "DELETED":
        yield ResourceDrift(resource, "", "there", None)
    for one in drift.get("PropertyDifferences") or ():
        # a JSON pointer, such as /Tags/0/Value
        name = str(one["PropertyPath"]).strip("/").replace("/", ".")
        yield ResourceDrift(resource, name, _value(one["ExpectedValue"]), _value(one["ActualValue"]))


def _value(text: str) -> str | None:
    """A property's value; CloudFormation says null for one that is absent."""
    return None if text in ("null", "") else text
