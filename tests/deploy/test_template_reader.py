"""Reading templates as CloudFormation returns them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest

from ecsconsul.deploy.template import stack_template
from ecsconsul.deploy.template_reader import TemplateUnreadable, read_template


def resource(properties: str) -> Any:
    return read_template(f"Resources:\n  A:\n    Type: T\n    Properties:\n      P: {properties}\n")["Resources"]["A"][
        "Properties"
    ]["P"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("!Ref X", {"Ref": "X"}),
        ("!GetAtt X.Arn", {"Fn::GetAtt": ["X", "Arn"]}),
        ("!GetAtt [X, Arn]", {"Fn::GetAtt": ["X", "Arn"]}),
        ("!GetAtt X.Outputs.Y", {"Fn::GetAtt": ["X", "Outputs.Y"]}),
        ("!If [C, !Ref X, !Ref AWS::NoValue]", {"Fn::If": ["C", {"Ref": "X"}, {"Ref": "AWS::NoValue"}]}),
        ("{Fn::Sub: '${X}'}", {"Fn::Sub": "${X}"}),
        ("{Fn::Base64: !Sub 'a'}", {"Fn::Base64": {"Fn::Sub": "a"}}),
        ("!Condition C", {"Condition": "C"}),
        ("2012-10-17", "2012-10-17"),
        ("8080", "8080"),
        ("true", "true"),
        ("", ""),
    ],
)
def test_functions_have_their_long_form_and_scalars_are_texts(text: str, value: Any) -> None:
    assert resource(text) == value


def test_json_is_read_as_boto3_parses_it() -> None:
    template = {"Resources": {"A": {"Type": "T", "Properties": {"N": 1, "B": True, "L": [None, 1.5]}}}}
    expected = {"Resources": {"A": {"Type": "T", "Properties": {"N": "1", "B": "true", "L": ["", "1.5"]}}}}
    assert read_template(OrderedDict(template)) == expected


def test_the_shipped_template_is_read() -> None:
    found = read_template(stack_template())
    assert found["Resources"]["ConsulPeers"]["DependsOn"] == "ConsulServer"
    assert found["AWSTemplateFormatVersion"] == "2010-09-09"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "just a text",
        "Resources: [1]",
        "Parameters: {}",
        "Resources: {A: [}",
        "{not: json, but}: [",
        "Resources: &a {A: *a}",
        "Resources: {A: &a {x: y}, B: *a}",
        "Resources: !!python/object/apply:os.system ['true']",
        "Resources: " + "[" * 20_000,
        "%\x00",
    ],
)
def test_anything_else_is_unreadable(text: str) -> None:
    with pytest.raises(TemplateUnreadable):
        read_template(text)
