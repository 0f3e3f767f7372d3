"""CloudFormation's drift detection, by answers as AWS documents them; boto3's stubber checks each against its model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from ecsconsul.errors import LabError
from ecsconsul.targets.aws.stack_drift_detection import detect
from ecsconsul.targets.base import ResourceDrift

ID = "b78ac9b0-dec1-11e7-a451-503a3example"
TIME = "2026-11-29T12:00:00Z"
FILTER = ["MODIFIED", "DELETED"]


@pytest.fixture
def stubbed() -> Iterator[tuple[Any, Stubber]]:
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
    client = boto3.client("cloudformation", region_name="us-east-1", **keys)
    with Stubber(client) as stubber:
        yield client, stubber


def status(state: str, **more: str) -> dict[str, Any]:
    return {"StackId": "s", "StackDriftDetectionId": ID, "DetectionStatus": state, "Timestamp": TIME, **more}


def started(stubber: Stubber, *states: dict[str, Any]) -> None:
    stubber.add_response("detect_stack_drift", {"StackDriftDetectionId": ID}, {"StackName": "blue"})
    for state in states:
        stubber.add_response("describe_stack_drift_detection_status", state, {"StackDriftDetectionId": ID})


def resource(name: str, state: str, *differences: tuple[str, str, str]) -> dict[str, Any]:
    return {
        "StackId": "s",
        "LogicalResourceId": name,
        "ResourceType": "AWS::EC2::SecurityGroup",
        "StackResourceDriftStatus": state,
        "Timestamp": TIME,
        "PropertyDifferences": [
            {"PropertyPath": path, "ExpectedValue": old, "ActualValue": new, "DifferenceType": "NOT_EQUAL"}
            for path, old, new in differences
        ],
    }


def test_waits_for_the_detection_and_reads_all_pages(stubbed: tuple[Any, Stubber]) -> None:
    client, stubber = stubbed
    started(stubber, status("DETECTION_IN_PROGRESS"), status("DETECTION_COMPLETE"))
    request = {"StackName": "blue", "StackResourceDriftStatusFilters": FILTER}
    first = resource("Group", "MODIFIED", ("/MaxSize", "2", "5"), ("/Tags/0/Value", "a", "null"))
    page = {"StackResourceDrifts": [first], "NextToken": "more"}
    stubber.add_response("describe_stack_resource_drifts", page, request)
    last = {"StackResourceDrifts": [resource("LogGroup", "DELETED")]}
    stubber.add_response("describe_stack_resource_drifts", last, {**request, "NextToken": "more"})
    waits: list[float] = []
    assert detect(client, "blue", waits.append) == [
        ResourceDrift("Group", "MaxSize", "2", "5"),
        ResourceDrift("Group", "Tags.0.Value", "a", None),
        ResourceDrift("LogGroup", "", "there", None),
    ]
    assert len(waits) == 1
    stubber.assert_no_pending_responses()


def test_a_failed_detection_says_why(stubbed: tuple[Any, Stubber]) -> None:
    client, stubber = stubbed
    started(stubber, status("DETECTION_FAILED", DetectionStatusReason="no rights"))
    stubber.add_response("describe_stack_resource_drifts", {"StackResourceDrifts": []})
    with pytest.raises(LabError, match="no rights"):
        detect(client, "blue", lambda _: None)


def test_a_missing_permission_is_our_error(stubbed: tuple[Any, Stubber]) -> None:
    client, stubber = stubbed
    stubber.add_client_error("detect_stack_drift", "AccessDenied", "not authorized")
    with pytest.raises(LabError, match="not authorized") as raised:
        detect(client, "blue", lambda _: None)
    assert "policies" in raised.value.hint


def test_a_detection_that_never_ends_is_given_up(stubbed: tuple[Any, Stubber]) -> None:
    client, stubber = stubbed
    started(stubber, *[status("DETECTION_IN_PROGRESS")] * 150)
    with pytest.raises(LabError, match="isn't ready in time"):
        detect(client, "blue", lambda _: None)
