"""Substitutes variables in a compose file as compose does, from the environment and .env.

https://docs.docker.com/reference/compose-file/interpolation/
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..errors import LabError
from .document import Node

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?+]")
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*(?:=(.*))?", re.DOTALL)
_MOST_NESTED = 20
# characters of all values that are put in: variables that hold each other would grow without end
MOST_CHARACTERS = 8 << 20


@dataclass
class Variables:
    """The variables to substitute. `used` and `unset` record each one's first place, `required` what it must be."""

    values: Mapping[str, str]
    used: dict[str, Node] = field(default_factory=dict)
    unset: dict[str, Node] = field(default_factory=dict)
    required: dict[str, str] = field(default_factory=dict)
    _characters: int = 0

    def substitute(self, node: Node) -> Node:
        """The node with variables replaced in all its scalars. Raises LabError."""
        if node.kind == "map":
            return replace(node, value={key: self.substitute(one) for key, one in node.value.items()})
        if node.kind == "list":
            return replace(node, value=[self.substitute(one) for one in node.value])
        if node.kind != "str" or "$" not in node.value:
            return node
        return replace(node, value=self.text(node.value, node))

    def text(self, text: str, node: Node, depth: int = 0) -> str:
        """A text with its variables replaced. Raises LabError."""
        if depth > _MOST_NESTED:
            raise LabError("The variables are nested too deep", where=node.where, why=node.path)
        out, at = [], 0
        while (dollar := text.find("$", at)) >= 0:
            out.append(text[at:dollar])
            value, at = self._one(text, dollar + 1, node, depth)
            out.append(value)
        return "".join([*out, text[at:]])

    def _one(self, text: str, at: int, node: Node, depth: int) -> tuple[str, int]:
        """What stands for the expression after a dollar sign, and where it ends."""
        if text.startswith("$", at):
            return "$", at + 1
        if name := _NAME.match(text, at):
            return self._value(name[0], "", "", node, depth), name.end()
        name = _NAME.match(text, at + 1) if text.startswith("{", at) else None
        if name is None:
            return "$", at
        end = _closing(text, name.end())
        operator = _OPERATOR.match(text, name.end())
        if end < 0 or not (operator or end == name.end()):
            why = f"{text[at - 1 : at + 40]!r} isn't a valid substitution"
            raise LabError(f"{node.path} isn't valid", where=node.where, why=why, hint="write $$ for a dollar sign")
        word = text[operator.end() : end] if operator else ""
        return self._value(name[0], operator[0] if operator else "", word, node, depth), end + 1

    def _value(self, name: str, operator: str, word: str, node: Node, depth: int) -> str:
        value = self.values.get(name)
        there = bool(value) if operator.startswith(":") else value is not None
        if value is not None:
            self.used.setdefault(name, node)
        if operator.endswith("+"):
            return self.text(word, node, depth + 1) if there else ""
        if there:
            self._characters += len(str(value))
            if self._characters > MOST_CHARACTERS:
                why = f"variables put in more than {MOST_CHARACTERS} characters"
                raise LabError(f"{node.path} isn't valid", where=node.where, why=why)
            return str(value)
        if operator.endswith("-"):
            return self.text(word, node, depth + 1)
        self.unset.setdefault(name, node)
        if operator.endswith("?"):
            self.required.setdefault(name, word)
        return ""


def _closing(text: str, at: int) -> int:
    """Where the brace that encloses this position closes, or -1."""
    depth = 1
    for index in range(at, len(text)):
        if text[index] == "}":
            depth -= 1
        elif text.startswith("${", index):
            depth += 1
        if depth == 0:
            return index
    return -1


def read_env(text: str, values: Mapping[str, str] | None = None) -> dict[str, str | None]:
    """The variables of a .env or env_file in compose's syntax; None for a name without a value.

    Quotes are removed, comments too, and variables are replaced unless in single quotes:
    https://docs.docker.com/compose/how-tos/environment-variables/variable-interpolation/#env-file-syntax
    """
    found: dict[str, str | None] = {}
    own: dict[str, str] = {}
    variables = Variables(ChainMap(dict(values or {}), own))
    for line in _lines(text):
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        given = match[2]
        value = found[match[1]] = None if given is None else _env_value(given.strip(), variables)
        if value is None:
            own.pop(match[1], None)
        else:
            own[match[1]] = value
    return found


def _lines(text: str) -> list[str]:
    """The lines that aren't comments; a double-quoted value may go over several."""
    found: list[list[str]] = []
    quote = ""
    for line in text.splitlines():
        if quote:
            found[-1].append(line)
            if _quoted_end(quote + line) > 0:
                quote = ""
        elif line.strip() and not line.lstrip().startswith("#"):
            found.append([line])
            quote = _open_quote(line)
    return ["\n".join(one) for one in found]


def _open_quote(line: str) -> str:
    """The quote that a line's value begins with and that doesn't close, or an empty text."""
    value = line.partition("=")[2].strip()
    return value[0] if value.startswith(("'", '"')) and _quoted_end(value) < 0 else ""


def _quoted_end(value: str) -> int:
    """Where the quote that a value begins with closes, or -1."""
    for index in range(1, len(value)):
        if value[index] == value[0] and value[index - 1] != "\\":
            return index
    return -1


def _env_value(value: str, variables: Variables) -> str:
    end = _quoted_end(value) if value[:1] in ("'", '"') else -1
    if end > 0 and value[0] == "'":
        return value[1:end]
    if end > 0:
        escapes = {"\\n": "\n", "\\t": "\t", "\\r": "\r", '\\"': '"', "\\\\": "\\"}
        value = re.sub(r'\\[ntr"\\]', lambda one: escapes[one[0]], value[1:end])
    else:
        value = re.split(r"\s#", value, maxsplit=1)[0].rstrip()
    return variables.text(value, Node("str", value, "env file", "env file"))
