"""The template with its included scripts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cfnlint import decode

from ecsconsul.deploy.template import (
    parameter_names,
    part_names,
    resource_types,
    stack_template,
    with_part,
    with_scripts,
    with_shared_scripts,
)
from ecsconsul.paths import templates_dir

SCRIPTS = {"one.sh": '#!/bin/bash\n# says\necho "$name ${name}"\n\nif true; then\n    :\nfi\n', "two.sh": "echo two\n"}


def test_included_script_is_indented_and_escaped() -> None:
    template = "a: !Sub |\n  LAB=${Lab}\n  # include: one.sh\n  # include: two.sh\nb: 1\n"
    assert with_scripts(template, SCRIPTS.__getitem__) == (
        "a: !Sub |\n  LAB=${Lab}\n"
        '  # says\n  echo "$name ${!name}"\n\n  if true; then\n      :\n  fi\n'
        "  echo two\nb: 1\n"
    )


def test_template_without_includes_is_unchanged() -> None:
    text = (templates_dir() / "boot.sh").read_text()
    assert with_scripts(text, SCRIPTS.__getitem__) == text


def test_script_that_is_included_twice_is_in_the_template_once() -> None:
    template = (
        "Mappings:\n  M: {}\nResources:\n  A: !Sub |\n    # include: one.sh\n  B: !Sub |\n    # include: one.sh\n"
    )
    found = with_shared_scripts(template + "    # include: two.sh\n", SCRIPTS.__getitem__)
    mapping = json.dumps('echo "$name ${name}"\nif true; then\n:\nfi\n')
    assert f"Mappings:\n  M: {{}}\n  Scripts:\n    onesh:\n      Text: {mapping}\n" in found
    assert "  A: !Sub |\n    @onesh\n  B: !Sub |\n    @onesh\n    # include: two.sh\n" in found


def user_data(text: str = "") -> list[str]:
    """The user data as an instance gets them, with the parameters' names."""
    template, mistakes = decode.decode_str(text or stack_template())
    assert not mistakes
    scripts = template["Mappings"]["Scripts"]
    kinds = [one["Properties"] for one in template["Resources"].values() if one["Type"] == "AWS::EC2::LaunchTemplate"]
    joined = [one["LaunchTemplateData"]["UserData"]["Fn::Base64"]["Fn::Join"] for one in kinds]
    return ["".join(_text(piece, scripts) for piece in pieces) for _, pieces in joined]


def _text(piece: Any, scripts: Mapping[str, Mapping[str, str]]) -> str:
    if isinstance(piece, str):
        return piece
    if "Fn::Sub" in piece:
        return str(piece["Fn::Sub"]).replace("${!", "${")
    return scripts[piece["Fn::FindInMap"][1]]["Text"]


def test_the_shipped_template_has_all_its_scripts() -> None:
    text = "".join(user_data())
    assert "# include:" not in stack_template()
    for script in templates_dir().glob("*.sh"):
        longest = max((line for line in script.read_text().splitlines() if "#" not in line), key=len)
        assert longest.strip() in text, script.name


def test_resource_types_are_those_of_the_resources() -> None:
    text = (
        "Parameters:\n  P:\n    Type: String\nResources:\n  A:\n    Type: AWS::B::C\n    Properties:\n      Type: X\n"
    )
    assert resource_types(text) == ["AWS::B::C"]
    assert "AWS::IAM::Role" in resource_types(stack_template())
    assert "AWS::EC2::VPC::Id" not in resource_types(stack_template())


def test_sent_template_has_no_comments_but_whole_scripts() -> None:
    lines = stack_template().splitlines()
    assert [line for line in lines if line.lstrip().startswith("#")] == []
    assert "" not in lines
    scripts = user_data()
    assert [script.splitlines()[0] for script in scripts] == ["#!/bin/bash"] * 2
    assert [line for script in scripts for line in script.splitlines()[1:] if line.startswith("#")] == []


def test_sent_template_is_within_the_limits() -> None:
    """CloudFormation: docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html; and EC2."""
    text = stack_template(part_names())
    assert len(text.encode()) <= 51_200
    assert max(len(script.encode()) for script in user_data(text)) <= 16_384


TEMPLATE = """Parameters:
  One:
    Type: String

Resources:
  A:
    Type: AWS::B::C
Outputs:
  A:
    Value: !Ref A
"""


def test_part_adds_to_the_sections_of_the_template() -> None:
    part = "# more\nParameters:\n  Two:\n    Type: Number\nResources:\n  # why\n  D:\n    Type: AWS::E::F\n"
    found = with_part(TEMPLATE, part)
    assert found.index("  One:") < found.index("  Two:") < found.index("Resources:") < found.index("  A:")
    assert found.index("Type: AWS::B::C") < found.index("  D:\n    Type: AWS::E::F\n\nOutputs:")
    assert (parameter_names(found), resource_types(found)) == ({"One", "Two"}, ["AWS::B::C", "AWS::E::F"])
