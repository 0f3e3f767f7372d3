"""The events of a stack, as CloudFormation's: for the stack and for each resource."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.region.api_region import ApiRegion

NAME = "with-events"


def template(**more: Any) -> str:
    topic = {"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": {"Ref": "Queue"}}}
    return json.dumps({"Resources": {"Topic": topic, "Queue": {"Type": "AWS::SQS::Queue"}, **more}})


def events(cloudformation: Any, name: str = NAME) -> list[tuple[str, str]]:
    """Resource and status of each event, oldest first."""
    pages = cloudformation.get_paginator("describe_stack_events").paginate(StackName=name)
    found = [event for page in pages for event in page["StackEvents"]]
    assert [one["Timestamp"] for one in found] == sorted((one["Timestamp"] for one in found), reverse=True)
    assert len({one["EventId"] for one in found}) == len(found)
    return [(one["LogicalResourceId"], one["ResourceStatus"]) for one in reversed(found)]


@pytest.fixture
def cloudformation(api: ApiRegion) -> Any:
    return api.client("cloudformation")


def made(name: str) -> list[tuple[str, str]]:
    return [(name, "CREATE_IN_PROGRESS"), (name, "CREATE_IN_PROGRESS"), (name, "CREATE_COMPLETE")]


def test_each_change_of_a_resource_has_its_events(cloudformation: Any) -> None:
    stack = cloudformation.create_stack(StackName=NAME, TemplateBody=template())["StackId"]
    cloudformation.get_waiter("stack_create_complete").wait(StackName=NAME, WaiterConfig={"Delay": 1})
    begun = [(NAME, "CREATE_IN_PROGRESS"), *made("Queue"), *made("Topic"), (NAME, "CREATE_COMPLETE")]
    assert events(cloudformation) == begun
    newest = cloudformation.describe_stack_events(StackName=NAME)["StackEvents"][1]
    assert newest["PhysicalResourceId"].endswith(NAME + "-Topic-" + newest["PhysicalResourceId"].rpartition("-")[2])
    assert newest["ResourceType"] == "AWS::SNS::Topic"

    changed = {"Type": "AWS::SQS::Queue", "Properties": {"VisibilityTimeout": 60}}
    cloudformation.update_stack(StackName=NAME, TemplateBody=template(Queue=changed, Other={"Type": "AWS::SQS::Queue"}))
    update = events(cloudformation)[len(begun) :]
    assert update[0] == (NAME, "UPDATE_IN_PROGRESS")
    assert update[-1] == (NAME, "UPDATE_COMPLETE")
    assert [one for one in update if one[0] == "Queue"] == [
        ("Queue", "UPDATE_IN_PROGRESS"),
        ("Queue", "UPDATE_COMPLETE"),
    ]
    assert [one for one in update if one[0] == "Other"] == made("Other")

    cloudformation.update_stack(StackName=NAME, TemplateBody=template(Queue=changed))
    assert events(cloudformation)[-3:-1] == [("Other", "DELETE_IN_PROGRESS"), ("Other", "DELETE_COMPLETE")]
    cloudformation.delete_stack(StackName=NAME)
    gone = events(cloudformation, stack)[-6:]
    assert (gone[0], gone[-1]) == ((NAME, "DELETE_IN_PROGRESS"), (NAME, "DELETE_COMPLETE"))
    assert {name for name, _ in gone} == {NAME, "Topic", "Queue"}


def test_exported_output_comes_after_the_stack_begins(cloudformation: Any) -> None:
    body = json.loads(template())
    body["Outputs"] = {"Arn": {"Value": {"Ref": "Topic"}, "Export": {"Name": "the-topic"}}}
    cloudformation.create_stack(StackName="exports", TemplateBody=json.dumps(body))
    assert events(cloudformation, "exports")[0] == ("exports", "CREATE_IN_PROGRESS")
    cloudformation.delete_stack(StackName="exports")
