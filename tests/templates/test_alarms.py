"""The template's alarms: on what they watch, and as moto's CloudFormation makes and removes them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import boto3
import pytest
from cfnlint import decode
from cfnlint.api import lint_all
from moto import mock_aws

from ecsconsul.config.scalars import LogDriver
from ecsconsul.deploy.template import stack_template
from ecsconsul.paths import templates_dir
from ecsconsul.targets.aws.alarms import names_of
from tests.moto_alarms import CloudWatchAlarm
from tests.templates.stack import LAB, REGION, Stack, tags_of

TEXT = stack_template(["alarms"])
TOPIC = "arn:aws:sns:eu-central-1:123456789012:on-call"
KEY = "arn:aws:kms:eu-central-1:123456789012:key/12345678-1234-1234-1234-123456789012"
# what follows from the numbers of servers and instances
THRESHOLDS = {"no-leader": 1, "servers-missing": 3, "instances-missing": 4, "checks-failing": 1}
# imported for moto to find
__all__ = ["CloudWatchAlarm"]


@pytest.fixture(scope="module")
def region() -> Iterator[Stack]:
    with mock_aws():
        yield Stack(TEXT)


@pytest.fixture
def stack(region: Stack) -> Iterator[Stack]:
    yield region
    region.delete()


def alarms() -> dict[str, dict[str, Any]]:
    """The alarms by what their names have after the lab's."""
    found = boto3.client("cloudwatch", region_name=REGION).describe_alarms()["MetricAlarms"]
    assert sorted(alarm["AlarmName"] for alarm in found) in ([], sorted(names_of(LAB)))
    return {alarm["AlarmName"].removeprefix(f"{LAB}-"): alarm for alarm in found}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    template, mistakes = decode.decode_str(TEXT)
    assert not mistakes
    return dict(template)


@pytest.fixture(scope="module")
def resources(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The alarms as the template has them."""
    return {name: one for name, one in document["Resources"].items() if one["Type"] == "AWS::CloudWatch::Alarm"}


def test_cfn_lint_finds_nothing() -> None:
    assert [str(match) for match in lint_all(TEXT) if not match.rule.id.startswith("I")] == []


def test_alarms_follow_the_numbers_of_servers_and_instances(stack: Stack) -> None:
    stack.create(ConsulServers=3, InstanceCount=4)
    assert {name: alarm["Threshold"] for name, alarm in alarms().items()} == THRESHOLDS
    stack.update(ConsulServers=5, InstanceCount=2)
    changed = {**THRESHOLDS, "servers-missing": 5, "instances-missing": 2}
    assert {name: alarm["Threshold"] for name, alarm in alarms().items()} == changed
    stack.delete()
    assert alarms() == {}
    # the fixture deletes a stack too
    stack.create()


@pytest.mark.parametrize("topic", ["", TOPIC])
def test_alarms_notify_the_topic_if_there_is_one(stack: Stack, topic: str) -> None:
    stack.create(**({"AlarmTopic": topic} if topic else {}))
    actions = [topic] if topic else []
    assert {(tuple(one["AlarmActions"]), tuple(one["OKActions"])) for one in alarms().values()} == {
        (tuple(actions), tuple(actions))
    }


def test_alarms_watch_what_the_leader_publishes(resources: dict[str, dict[str, Any]]) -> None:
    script = (templates_dir() / "server-watch.sh").read_text()
    published = set(re.findall(r"\(metric (\w+) ", script))
    assert {one["Properties"]["MetricName"] for one in resources.values()} == published
    for one in resources.values():
        assert f"--namespace {one['Properties']['Namespace']} " in script
        assert one["Properties"]["Dimensions"] == [{"Name": "Lab", "Value": {"Ref": "LabName"}}]
        assert "Name=Lab,Value=$LAB" in script
        assert tags_of(one["Properties"])["ecsconsul:lab"] == {"Ref": "LabName"}


def test_silence_is_an_alarm_only_where_nobody_leads(resources: dict[str, dict[str, Any]]) -> None:
    treated = {name: one["Properties"]["TreatMissingData"] for name, one in resources.items()}
    assert treated.pop("NoLeaderAlarm") == "breaching"
    assert set(treated.values()) == {"ignore"}


def test_alarms_come_after_the_first_metrics_and_last_several_minutes(resources: dict[str, dict[str, Any]]) -> None:
    for one in resources.values():
        assert one["DependsOn"] == "EcsInstances"
        assert one["Properties"]["Period"] * one["Properties"]["EvaluationPeriods"] >= 180


# ---------------------------------------------------------------- logs


def test_log_group_has_the_retention_and_the_key_of_the_config(stack: Stack, document: dict[str, Any]) -> None:
    stack.create(LogRetentionDays=30)
    (group,) = stack.logs.describe_log_groups()["logGroups"]
    # moto keeps the text
    assert int(group["retentionInDays"]) == 30
    assert "kmsKeyId" not in group
    condition, given, otherwise = document["Resources"]["LogGroup"]["Properties"]["KmsKeyId"]["Fn::If"]
    assert (condition, given, otherwise) == ("HasLogKey", {"Fn::Sub": "${LogKmsKey}"}, {"Ref": "AWS::NoValue"})


def test_another_retention_replaces_nothing(stack: Stack) -> None:
    stack.create()
    before = [instance["InstanceId"] for instance in stack.running()]
    stack.logs.create_log_stream(logGroupName=f"/ecsconsul/{LAB}", logStreamName="kept")
    stack.update(LogRetentionDays=30, LogKmsKey=KEY)
    assert [instance["InstanceId"] for instance in stack.running()] == before
    assert stack.logs.describe_log_streams(logGroupName=f"/ecsconsul/{LAB}")["logStreams"]
    stack.delete()
    assert stack.logs.describe_log_groups()["logGroups"] == []
    stack.create()


def test_instances_have_every_log_driver_that_a_config_may_name() -> None:
    (listed,) = re.findall(r"ECS_AVAILABLE_LOGGING_DRIVERS=(.*)", (templates_dir() / "ecs-instance.sh").read_text())
    assert json.loads(listed) == sorted(get_args(LogDriver))
