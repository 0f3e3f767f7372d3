"""Builds the CloudFormation template: templates/consul-lab.yaml with its boot scripts, and parts where asked for.

A part (templates/parts/NAME.yaml) adds parameters, resources and so on to the sections of the template. The file alone
is a valid template, but its instances would do nothing.

A template may have 51,200 bytes, and user data 16 KB, so scripts are packed: without comments and indentation, by
bzip2, which packs the same text to the same bytes on every machine. User data that differed would replace instances.
The AMI has Python, in which cloud-init and dnf are written.
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-add-user-data.html
"""

from __future__ import annotations

import base64
import bz2
import json
import re
from collections.abc import Callable, Iterable

from ..paths import templates_dir

_SHEBANG = re.compile(r"\A#!.*\n")
_TYPE = re.compile(r"^    Type: (\S+)$", re.MULTILINE)
_PARAMETER = re.compile(r"^  (\w+):$", re.MULTILINE)
# lines that are only a comment, but for the first line of a script, and empty lines
_COMMENT = re.compile(r"^ *(#(?!!).*)?\n", re.MULTILINE)
_DESCRIPTION = re.compile(r"^    Description: .*\n", re.MULTILINE)
_SECTION = re.compile(r"^(\w+):\n((?:[ #].*\n|\n)*)", re.MULTILINE)
_USER_DATA = re.compile(
    r"^( *)Fn::Base64: !Sub \|\n(?P<settings>(?:\1(?! *# include: ) .*\n)+)(?P<includes>(?:\1 +# include: \S+\n)+)",
    re.MULTILINE,
)
_INCLUDE = re.compile(r"# include: (\S+)")
_PROGRAM = "/run/ecsconsul-boot"
# in a subshell, whose umask the script doesn't get
_UNPACK = (
    "unpack() ( umask 077; python3 -c 'import base64, bz2, sys; "
    "sys.stdout.buffer.write(bz2.decompress(base64.b85decode(sys.stdin.read().strip())))' "
    f">>{_PROGRAM}; )\nrm -f {_PROGRAM}\n"
)


def stack_template(parts: Iterable[str] = ()) -> str:
    """The template as it is sent to CloudFormation."""
    folder = templates_dir()
    text = (folder / "consul-lab.yaml").read_text()
    for part in parts:
        text = with_part(text, (folder / "parts" / f"{part}.yaml").read_text())
    text = _COMMENT.sub("", with_scripts(text, lambda name: (folder / name).read_text()))
    before, heading, outputs = text.partition("\nOutputs:\n")
    return f"{before}{heading}{_DESCRIPTION.sub('', outputs)}"


def part_names() -> list[str]:
    """The names of all parts."""
    return sorted(path.stem for path in (templates_dir() / "parts").glob("*.yaml"))


def resource_types(template: str) -> list[str]:
    """The types of the template's resources. A policy can only limit them if the request names them."""
    # parameters have types too, and stand before the resources
    return sorted(set(_TYPE.findall(template.partition("\nResources:\n")[2])))


def parameter_names(template: str) -> set[str]:
    """The names of the template's parameters."""
    return set(_PARAMETER.findall(dict(_SECTION.findall(template))["Parameters"]))


def with_part(template: str, part: str) -> str:
    """The template with what each section of the part has added to the same section."""
    for name, body in _SECTION.findall(part):
        found = next(match for match in _SECTION.finditer(template) if match[1] == name)
        template = f"{template[: found.end()].rstrip()}\n{body.rstrip()}\n\n{template[found.end() :]}"
    return template


def with_scripts(template: str, read: Callable[[str], str]) -> str:
    """The template with the scripts that its user data include. The first of them is the same for all instances.

    The lines before them are the text of a Fn::Sub, which puts in the template's parameters; scripts have none.
    """
    first = [_INCLUDE.findall(match["includes"])[0] for match in _USER_DATA.finditer(template)]
    if not first:
        return template
    shared = packed(read(first[0]))
    template = _USER_DATA.sub(lambda match: _user_data(match, read), template)
    return with_part(template, f"Mappings:\n  Scripts:\n    Shared:\n      Text: {json.dumps(shared)}\n")


def packed(*scripts: str) -> str:
    """Scripts as one text without quotes, backslashes and line ends."""
    plain = (_unindented(_COMMENT.sub("", _SHEBANG.sub("", script))) for script in scripts)
    return base64.b85encode(bz2.compress("".join(plain).encode())).decode()


def _user_data(found: re.Match[str], read: Callable[[str], str]) -> str:
    settings = f"{_unindented(found['settings'])}{_UNPACK}unpack <<'END'\n"
    own = packed(*map(read, _INCLUDE.findall(found["includes"])[1:]))
    rest = json.dumps(f"\nEND\nunpack <<'END'\n{own}\nEND\n. {_PROGRAM}\n")
    pieces = f"!Sub {json.dumps(settings)}, !FindInMap [Scripts, Shared, Text], {rest}"
    return f'{found[1]}Fn::Base64: !Join ["", [{pieces}]]\n'


def _unindented(text: str) -> str:
    """Lines without their indentation, which the scripts' here-documents don't need either."""
    return "".join(line.lstrip(" ") for line in text.splitlines(keepends=True))


if __name__ == "__main__":
    import sys

    sys.stdout.write(stack_template(sys.argv[1:]))
