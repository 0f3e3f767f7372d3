"""The evaluator against the examples of AWS's documentation."""

from __future__ import annotations

from typing import Any

import pytest

from tests.iam_evaluator import Request, is_allowed


def policy(effect: str = "Allow", action: Any = "s3:Get*", resource: Any = "arn:aws:s3:::b/*", **more: Any) -> Any:
    statement = {"Effect": effect, "Action": action, "Resource": resource}
    return {"Statement": [{**statement, **({"Condition": more["condition"]} if more else {})}]}


GET = Request("s3:GetObject", "arn:aws:s3:::b/key/with/slashes")


def test_nothing_is_allowed_by_default() -> None:
    assert not is_allowed(GET, [])
    assert is_allowed(GET, [policy()])
    assert not is_allowed(Request("s3:PutObject", GET.resource), [policy()])
    assert not is_allowed(Request(GET.action, "arn:aws:s3:::other/key"), [policy()])


def test_actions_ignore_case_and_resources_do_not() -> None:
    assert is_allowed(Request("S3:getobject", GET.resource), [policy()])
    assert not is_allowed(Request(GET.action, "arn:aws:s3:::B/key"), [policy()])


def test_deny_wins() -> None:
    assert not is_allowed(GET, [policy(), policy("Deny", "s3:*", "*")])


def test_boundary_and_policy_both_have_to_allow() -> None:
    everything = policy(action="*", resource="*")
    assert is_allowed(GET, [everything], policy())
    assert not is_allowed(Request("iam:CreateUser"), [everything], policy())
    assert not is_allowed(GET, [], everything)
    assert not is_allowed(GET, [everything], policy("Deny"))


def test_wildcards_do_not_cross_an_arns_colons() -> None:
    wide = policy(action="sns:*", resource="arn:aws:sns:*:1:topic")
    assert is_allowed(Request("sns:Publish", "arn:aws:sns:eu-west-1:1:topic"), [wide])
    assert not is_allowed(Request("sns:Publish", "arn:aws:sns:eu-west-1:2:x:1:topic"), [wide])


@pytest.mark.parametrize(
    ("condition", "context", "expected"),
    [
        ({"StringEquals": {"k": "v"}}, {"k": "v"}, True),
        ({"StringEquals": {"k": "v"}}, {"K": "v"}, True),
        ({"StringEquals": {"k": "v"}}, {"k": "V"}, False),
        ({"StringEquals": {"k": "v"}}, {}, False),
        ({"StringEquals": {"k": ["v", "w"]}}, {"k": "w"}, True),
        ({"StringEquals": {"k": "v", "l": "w"}}, {"k": "v"}, False),
        ({"StringEqualsIfExists": {"k": "v"}}, {}, True),
        ({"StringEqualsIfExists": {"k": "v"}}, {"k": "w"}, False),
        ({"StringLike": {"k": "a*c?"}}, {"k": "abbcd"}, True),
        ({"StringEquals": {"k": "a*"}}, {"k": "ab"}, False),
        ({"StringEquals": {"k": "${aws:userid}"}}, {"k": "me", "aws:userid": "me"}, True),
        ({"StringEquals": {"k": "${aws:userid}"}}, {"k": "${aws:userid}"}, False),
        ({"Bool": {"k": "true"}}, {"k": "True"}, True),
        ({"Bool": {"k": "true"}}, {}, False),
        ({"BoolIfExists": {"k": "true"}}, {"k": "false"}, False),
        ({"Null": {"k": "true"}}, {}, True),
        ({"Null": {"k": "true"}}, {"k": "v"}, False),
        ({"Null": {"k": "false"}}, {"k": "v"}, True),
        ({"ForAnyValue:StringEquals": {"k": "v"}}, {"k": ["v", "x"]}, True),
        ({"ForAnyValue:StringEquals": {"k": "v"}}, {}, False),
        ({"ForAllValues:StringEquals": {"k": ["v", "w"]}}, {"k": ["v", "w", "v"]}, True),
        ({"ForAllValues:StringEquals": {"k": ["v", "w"]}}, {"k": ["v", "x"]}, False),
        ({"ForAllValues:StringEquals": {"k": "v"}}, {}, True),
        ({"ArnLike": {"k": "arn:aws:ecs:*:1:*"}}, {"k": "arn:aws:ecs:eu-west-1:1:task/a"}, True),
        ({"ArnLike": {"k": "arn:aws:ecs:*:1:*"}}, {"k": "arn:aws:ecs:eu-west-1:2:task/a"}, False),
    ],
)
def test_conditions(condition: Any, context: Any, expected: bool) -> None:
    assert is_allowed(Request(GET.action, GET.resource, context), [policy(condition=condition)]) is expected


def test_unknown_operator_and_element_are_errors() -> None:
    with pytest.raises(KeyError):
        is_allowed(Request(GET.action, GET.resource, {"k": "1"}), [policy(condition={"NumericEquals": {"k": "1"}})])
    with pytest.raises(AssertionError):
        is_allowed(GET, [{"Statement": [{"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}]}])
