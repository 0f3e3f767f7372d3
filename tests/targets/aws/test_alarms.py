"""The lab's alarms in CloudWatch, made by the template's stack in moto's account."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ecsconsul.aws_tags import LAB_TAG
from ecsconsul.config.lab import Lab
from ecsconsul.targets.aws.alarms import KINDS, in_alarm, names_of
from ecsconsul.targets.aws.target import AwsTarget
from tests.targets.aws.conftest import lab_of

Account = Callable[[str], Any]


def put(cloudwatch: Any, name: str, lab: str, state: str = "") -> None:
    cloudwatch.put_metric_alarm(
        AlarmName=name, AlarmDescription="what it means", Namespace="ecsconsul", MetricName="Servers", Period=60,
        EvaluationPeriods=1, Threshold=1, ComparisonOperator="LessThanThreshold", Statistic="Maximum",
        Tags=[{"Key": LAB_TAG, "Value": lab}],
    )  # fmt: skip
    if state:
        cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason="test")


def test_raised_alarms_of_the_lab_are_found(account: Account) -> None:
    cloudwatch = account("cloudwatch")
    put(cloudwatch, "blue-no-leader", "blue", "ALARM")
    put(cloudwatch, "blue-checks-failing", "blue", "OK")
    put(cloudwatch, "blue-servers-missing", "blue")
    put(cloudwatch, "blue-green-no-leader", "blue-green", "ALARM")
    (found,) = in_alarm(account, "blue") or ()
    assert (found.name, found.text) == ("blue-no-leader", "what it means")
    assert found.since.startswith("20")


@pytest.mark.parametrize("code", ["AccessDenied", "UnknownOperationException"])
def test_who_may_not_ask_gets_no_answer(code: str) -> None:
    class Refusing:
        def describe_alarms(self, **_: Any) -> Any:
            raise ClientError({"Error": {"Code": code, "Message": "no"}}, "DescribeAlarms")

    assert in_alarm(lambda service: Refusing(), "blue") is None


def test_alarms_are_leftovers_if_they_are_the_labs(account: Account, tmp_path: Path) -> None:
    target = AwsTarget(lab_of(tmp_path))
    put(account("cloudwatch"), "blue-no-leader", "blue")
    put(account("cloudwatch"), "blue-checks-failing", "somebody")
    assert target.leftovers() == ["alarm blue-no-leader"]


def test_names_fit_the_template() -> None:
    assert "alarms" in AwsTarget(Lab(name="blue")).template_parts
    assert names_of("blue") == [f"blue-{kind}" for kind in KINDS]
