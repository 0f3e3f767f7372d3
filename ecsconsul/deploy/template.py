"""Builds the CloudFormation template: templates/consul-lab.yaml with its boot scripts, and parts where asked for.

A part (templates/parts/NAME.yaml) adds parameters, resources and so on to the sections of the template. The file alone
is a valid template, but its instances would do nothing. A script that several instances include is in it once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable

from ..paths import templates_dir

_INCLUDE = re.compile(r"^( *)# include: (\S+)\n", re.MULTILINE)
_SHEBANG = re.compile(r"\A#!.*\n")
_TYPE = re.compile(r"^    Type: (\S+)$", re.MULTILINE)
_PARAMETER = re.compile(r"^  (\w+):$", re.MULTILINE)
# lines that are only a comment, but for the first line of a script, and empty lines
_COMMENT = re.compile(r"^ *(#(?!!).*)?\n", re.MULTILINE)
_SECTION = re.compile(r"^(\w+):\n((?:[ #].*\n|\n)*)", re.MULTILINE)
_USER_DATA = re.compile(r"^( *)Fn::Base64: !Sub \|\n((?:\1 .*\n)+)", re.MULTILINE)
# a parameter of the template
_VARIABLE = re.compile(r"\$\{(?!!)")
# where a script goes that the mapping Scripts has
_SHARED = re.compile(r"^ *@(\w+)\n", re.MULTILINE)


def stack_template(parts: Iterable[str] = ()) -> str:
    """The template as it is sent to CloudFormation: without comments, because it may have 51,200 bytes."""
    folder = templates_dir()
    text = (folder / "consul-lab.yaml").read_text()
    for part in parts:
        text = with_part(text, (folder / "parts" / f"{part}.yaml").read_text())
    text = with_shared_scripts(text, lambda name: (folder / name).read_text())
    text = with_scripts(text, lambda name: (folder / name).read_text())
    return _USER_DATA.sub(_in_one_line, _COMMENT.sub("", text))


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


def with_shared_scripts(template: str, read: Callable[[str], str]) -> str:
    """The template with each script that it includes more than once in its mapping Scripts.

    It is inserted as it is, so it can't refer to the template's parameters.
    """
    included = [name for _, name in _INCLUDE.findall(template)]
    shared = sorted({name for name in included if included.count(name) > 1})
    entries = ""
    for name in shared:
        key = re.sub(r"\W", "", name)
        text = json.dumps(_unindented(_COMMENT.sub("", _SHEBANG.sub("", read(name)))))
        template = re.sub(rf"^( *)# include: {re.escape(name)}\n", rf"\1@{key}\n", template, flags=re.MULTILINE)
        entries += f"    {key}:\n      Text: {text}\n"
    return with_part(template, f"Mappings:\n  Scripts:\n{entries}") if shared else template


def with_scripts(template: str, read: Callable[[str], str]) -> str:
    """The template with each line `# include: NAME` replaced by that script, indented like the line.

    The line stands inside a Fn::Sub, where `${name}` is a parameter of the template and `${!name}` a variable of the
    script: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/intrinsic-function-reference-sub.html
    """

    def script(line: re.Match[str]) -> str:
        text = _SHEBANG.sub("", read(line[2])).replace("${", "${!")
        return "".join(line[1] + each if each.strip() else each for each in text.splitlines(keepends=True))

    return _INCLUDE.sub(script, template)


def _in_one_line(user_data: re.Match[str]) -> str:
    """User data as quoted strings. The indentation of its lines would be a sixth of the template.

    User data may have 16 KB, so the lines lose their own indentation too; the scripts' here-documents don't need it.
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-add-user-data.html
    """
    # every second piece is the name of a shared script
    pieces = enumerate(_SHARED.split(user_data[2]))
    texts = [
        f"!FindInMap [Scripts, {one}, Text]" if at % 2 else _literal(_unindented(one)) for at, one in pieces if one
    ]
    joined = texts[0] if len(texts) == 1 else f'!Join ["", [{", ".join(texts)}]]'
    return f"{user_data[1]}Fn::Base64: {joined}\n"


def _literal(text: str) -> str:
    """A script as a value of the template."""
    return f"!Sub {json.dumps(text)}" if _VARIABLE.search(text) else json.dumps(text.replace("${!", "${"))


def _unindented(text: str) -> str:
    return "".join(line.lstrip(" ") for line in text.splitlines(keepends=True))


if __name__ == "__main__":
    import sys

    sys.stdout.write(stack_template(sys.argv[1:]))
