"""The cluster query language, with the examples of AWS's documentation."""

from __future__ import annotations

import pytest

from ecsconsul.region.ecs.cluster_query import InvalidExpression, parse
from tests.region.ecs.factories import instance, task

ONE = instance(
    "i-1",
    attributes={"ecs.instance-type": "t2.small", "ecs.availability-zone": "us-east-1a", "stack": "prod", "ssd": ""},
)
TASKS = [task(group="service:production"), task(group="family:job")]


@pytest.mark.parametrize(
    "expression",
    [
        "attribute:ecs.instance-type == t2.small",
        "attribute:ecs.instance-type equals t2.small",
        "attribute:ecs.instance-type != t2.medium",
        "attribute:ecs.instance-type =~ t2.*",
        "attribute:ecs.instance-type !~ g2.*",
        "attribute:ecs.availability-zone in [us-east-1a, us-east-1b]",
        "attribute:ecs.availability-zone !in [us-east-1c]",
        "attribute:ecs.availability-zone not_in [us-east-1c]",
        "attribute:stack exists",
        "attribute:ssd exists",
        "attribute:rack !exists",
        "attribute:rack not_exists",
        "attribute:rack != x",
        "attribute:ecs.instance-type =~ t2.* and attribute:ecs.availability-zone != us-east-1d",
        "(attribute:ecs.instance-type == t2.small or attribute:ssd == x) && attribute:stack==prod",
        "not attribute:stack == test",
        "!(attribute:stack == test)",
        "attribute:stack == test or attribute:stack == 'prod' and agentConnected == true",
        'attribute:stack == "prod"',
        "task:group == service:production",
        "not(task:group == database)",
        "task:group in [database, family:job]",
        "runningTasksCount == 2",
        "runningTasksCount < 3 && runningTasksCount >= 2 && runningTasksCount <= 2 && runningTasksCount > 1",
        "ec2InstanceId in ['i-1', 'i-2']",
    ],
)
def test_expression_that_holds(expression: str) -> None:
    assert parse(expression)(ONE, TASKS) is True
    assert parse(f"not ({expression})")(ONE, TASKS) is False


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("", "1 to 2000 characters"),
        ("x" * 2001, "1 to 2000 characters"),
        ("attribute:stack", "no operator after attribute:stack"),
        ("attribute:stack ==", "an argument expected, not the end"),
        ("attribute:stack = prod", "can't be read"),
        ("attribute:stack in prod", r"\[ expected, not prod"),
        ("attribute:stack in [prod", r"\] expected, not the end"),
        ("(attribute:stack exists", r"\) expected, not the end"),
        ("attribute:stack exists attribute:x exists", "unexpected attribute:x"),
        ("attribute:stack =~ [", "an argument expected"),
        ("attribute:stack =~ '['", "isn't a regular expression"),
        ("agentVersion > 1", "agentVersion isn't a subject that the local region knows"),
        ("runningTasksCount > many", "many isn't a number"),
        ("and", "no operator|isn't a subject"),
        ("!" * 1900 + "agentConnected exists", "nested more than 50 deep"),
        ("(" * 1900, "nested more than 50 deep"),
    ],
)
def test_invalid_expression(expression: str, why: str) -> None:
    with pytest.raises(InvalidExpression, match=why):
        parse(expression)
