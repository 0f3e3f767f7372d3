"""Resolving a template with its parameters."""

from __future__ import annotations

from typing import Any

import pytest

from ecsconsul.deploy.template_reader import read_template
from ecsconsul.deploy.template_values import references, resources_of

TEMPLATE = """
Parameters:
  Name: {Type: String, Default: blue}
  Port: {Type: Number, Default: 8080}
  Subnets: {Type: 'List<AWS::EC2::Subnet::Id>'}
  Ami: {Type: 'AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>', Default: /aws/ami}
Mappings:
  Peers: {'1': {Count: 0}, '8080': {Count: 2}}
Conditions:
  Is80: !Equals [!Ref Port, 80]
  Is8080: !Equals [!Ref Port, 8080]
  Not80: !Not [!Condition Is80]
  Both: !And [!Condition Not80, !Condition Is8080]
  Any: !Or [!Condition Is80, !Equals [!Ref AWS::Region, x]]
  Surely: !Or [!Condition Is8080, !Equals [!Ref AWS::Region, x]]
  InRegion: !Equals [!Ref AWS::Region, us-east-1]
  NotInRegion: !Not [!Condition InRegion]
  Circle: !Not [!Condition Circle]
Resources:
  A:
    Type: T
    Properties:
      P: %s
"""


def value(text: str, **parameters: str) -> Any:
    given = {"Subnets": "subnet-1,subnet-2", **parameters}
    return resources_of(read_template(TEMPLATE % text), given)["A"].properties.get("P", "absent")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("!Ref Name", "blue"),
        ("!Ref Port", "8080"),
        ("!Ref Subnets", ["subnet-1", "subnet-2"]),
        ("!Ref Other", {"Ref": "Other"}),
        ("!Ref AWS::Region", {"Ref": "AWS::Region"}),
        ("!Ref AWS::NoValue", "absent"),
        ("[!Ref AWS::NoValue, a]", ["a"]),
        ("!Sub 'x-${Name}:${Port}'", "x-blue:8080"),
        ("!Sub '${Name} ${AWS::Region} ${!Name}'", {"Fn::Sub": "blue ${AWS::Region} ${!Name}"}),
        ("!Sub '${!Name} ${Name}'", "${!Name} blue"),
        ("!Sub ['${a} ${b}', {a: !Ref Name, b: !GetAtt X.Arn}]",
         {"Fn::Sub": ["blue ${b}", {"b": {"Fn::GetAtt": ["X", "Arn"]}}]}),
        ("!If [Is80, a, b]", "b"),
        ("!If [Not80, a, b]", "a"),
        ("!If [Both, a, b]", "a"),
        ("!If [Surely, a, b]", "a"),
        ("!If [Is80, a, !Ref AWS::NoValue]", "absent"),
        ("!If [Any, !Ref Name, b]", {"Fn::If": ["Any", "blue", "b"]}),
        ("!If [NotInRegion, a, b]", {"Fn::If": ["NotInRegion", "a", "b"]}),
        ("!If [Circle, a, b]", {"Fn::If": ["Circle", "a", "b"]}),
        ("!If [Unknown, a, b]", {"Fn::If": ["Unknown", "a", "b"]}),
        ("!FindInMap [Peers, !Ref Port, Count]", "2"),
        ("!FindInMap [Peers, !Ref AWS::Region, Count]", {"Fn::FindInMap": ["Peers", {"Ref": "AWS::Region"}, "Count"]}),
        ("!Join ['-', [!Ref Name, x]]", {"Fn::Join": ["-", ["blue", "x"]]}),
        ("{Fn::Base64: !Sub '${Name}'}", {"Fn::Base64": "blue"}),
        ("{Fn::GetAtt: X.Arn}", {"Fn::GetAtt": ["X", "Arn"]}),
    ],
)  # fmt: skip
def test_functions_are_resolved_as_far_as_parameters_allow(text: str, expected: Any) -> None:
    assert value(text) == expected


def test_given_parameters_replace_defaults() -> None:
    assert value("!Ref Name", Name="green") == "green"
    assert value("!If [Is80, a, b]", Port="80") == "a"
    assert value("!Ref Ami", Ami="ami-1") == "ami-1"


def test_lists_are_read_as_emulators_describe_them() -> None:
    assert value("!Ref Subnets", Subnets="['subnet-1', 'subnet-2']") == ["subnet-1", "subnet-2"]


@pytest.mark.parametrize(("condition", "exists"), [("Is80", False), ("Is8080", True), ("InRegion", True)])
def test_resource_exists_unless_its_condition_fails(condition: str, exists: bool) -> None:
    text = TEMPLATE % "x" + f"    Condition: {condition}\n"
    assert ("A" in resources_of(read_template(text), {})) is exists


@pytest.mark.parametrize(
    "text",
    [
        "Resources: {A: x}",
        "Resources: {A: {Properties: [1], DependsOn: [B], Type: {x: y}}}",
        "{Parameters: [1], Conditions: x, Mappings: y, Resources: {A: {Condition: [1], Properties: {P: !If x}}}}",
        "{Conditions: {C: !And x, D: {a: b, c: d}}, Resources: {A: {Condition: C}, B: {Condition: D}}}",
    ],
)
def test_strange_templates_are_no_error(text: str) -> None:
    resources_of(read_template(text), {})


def test_references_are_found_in_every_form() -> None:
    found = {
        "a": [{"Ref": "A"}, {"Fn::GetAtt": ["B", "Arn"]}],
        "b": {"Fn::Sub": ["${C} ${D.Id} ${!E}", {"C": {"Ref": "F"}}]},
    }
    assert list(references(found)) == [("A", ""), ("B", "Arn"), ("C", ""), ("D", "Id"), ("F", "")]
