"""Builds the CloudFormation template: templates/consul-lab.yaml with the boot scripts beside it included.

The file alone is a valid template, but its instances would do nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ..paths import templates_dir

_INCLUDE = re.compile(r"^( *)# include: (\S+)\n", re.MULTILINE)
_SHEBANG = re.compile(r"\A#!.*\n")
_TYPE = re.compile(r"^    Type: (\S+)$", re.MULTILINE)
# lines that are only a comment, but for the first line of a script, and empty lines
_COMMENT = re.compile(r"^ *(#(?!!).*)?\n", re.MULTILINE)


def stack_template() -> str:
    """The template as it is sent to CloudFormation: without comments, because it may have 51,200 bytes."""
    folder = templates_dir()
    text = with_scripts((folder / "consul-lab.yaml").read_text(), lambda name: (folder / name).read_text())
    return _COMMENT.sub("", text)


def resource_types(template: str) -> list[str]:
    """The types of the template's resources. A policy can only limit them if the request names them."""
    # parameters have types too, and stand before the resources
    return sorted(set(_TYPE.findall(template.partition("\nResources:\n")[2])))


def with_scripts(template: str, read: Callable[[str], str]) -> str:
    """The template with each line `# include: NAME` replaced by that script, indented like the line.

    The line stands inside a Fn::Sub, where `${name}` is a parameter of the template and `${!name}` a variable of the
    script: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/intrinsic-function-reference-sub.html
    """

    def script(line: re.Match[str]) -> str:
        text = _SHEBANG.sub("", read(line[2])).replace("${", "${!")
        return "".join(line[1] + each if each.strip() else each for each in text.splitlines(keepends=True))

    return _INCLUDE.sub(script, template)
