"""The template with its included scripts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from cfnlint import decode

from ecsconsul.deploy.template import (
    packed,
    parameter_names,
    part_names,
    resource_types,
    stack_template,
    with_part,
    with_scripts,
)
from ecsconsul.paths import templates_dir
from tests.templates.stack import unpacked

SCRIPTS = {
    "one.sh": '#!/bin/bash\n# says\necho "$name ${name}"\n\nif true; then\n    :\nfi\n',
    "two.sh": "echo two\n",
    "three.sh": "umask\n",
}
INCLUDING = """Mappings:
  M: {}
Resources:
  A:
    Fn::Base64: !Sub |
      #!/bin/bash
      LAB='${Lab}'
      # include: one.sh
      # include: two.sh
  B:
    Fn::Base64: !Sub |
      #!/bin/bash
      # include: one.sh
      # include: two.sh
      # include: three.sh
"""


def user_data(text: str = "") -> list[str]:
    """The user data as instances get them, with the names of parameters."""
    template, mistakes = decode.decode_str(text or stack_template())
    assert not mistakes
    kinds = [one["Properties"] for one in template["Resources"].values() if one["Type"] == "AWS::EC2::LaunchTemplate"]
    return [joined(one["LaunchTemplateData"]["UserData"], template) for one in kinds]


def joined(data: Any, template: Any) -> str:
    pieces = data["Fn::Base64"]["Fn::Join"][1]
    shared = template["Mappings"]["Scripts"]["Shared"]["Text"]
    return "".join(one if isinstance(one, str) else one.get("Fn::Sub", shared) for one in pieces)


def test_scripts_are_packed_and_the_first_is_there_once() -> None:
    template, _ = decode.decode_str(with_scripts(INCLUDING, SCRIPTS.__getitem__))
    one = 'echo "$name ${name}"\nif true; then\n:\nfi\n'
    first, second = (joined(template["Resources"][name], template) for name in ("A", "B"))
    assert first.startswith("#!/bin/bash\nLAB='${Lab}'\n")
    assert unpacked(first) == f"{one}echo two\n"
    assert unpacked(second) == f"{one}echo two\numask\n"
    assert template["Mappings"]["M"] == {}


def test_packed_scripts_run(tmp_path: Path) -> None:
    """With the machine's Python, as on the AMI; only their user may read them, but what they write is up to them."""
    template, _ = decode.decode_str(with_scripts(INCLUDING, SCRIPTS.__getitem__))
    program = tmp_path / "program"
    text = joined(template["Resources"]["B"], template).replace("/run/ecsconsul-boot", str(program))
    done = subprocess.run(
        ["bash", "-c", f"umask 022\n{text}"],
        capture_output=True,
        text=True,
        env={**os.environ, "name": "x"},
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("x x\ntwo\n0022\n", "")
    assert program.stat().st_mode & 0o777 == 0o600


def test_packing_gives_the_same_bytes_everywhere() -> None:
    """A change here would replace the instances of every lab at its next update."""
    assert packed("echo one\n" * 100) == ("LRx4!F+o`-Q(20rVbuTt`OyFX5I_J5L7)Ioh5#v0G~pHzXp0EAMdB`zVHOd5UC9*TLP9E`hg1")


def test_template_without_includes_is_unchanged() -> None:
    text = (templates_dir() / "boot.sh").read_text()
    assert with_scripts(text, SCRIPTS.__getitem__) == text


def test_the_shipped_template_has_all_its_scripts() -> None:
    text = "".join(map(unpacked, user_data()))
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
    assert [script.splitlines()[0] for script in user_data()] == ["#!/bin/bash"] * 2
    scripts = [unpacked(script) for script in user_data()]
    assert [line for script in scripts for line in script.splitlines() if line.startswith("#")] == []


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
