"""A document as it was written: values that know their place, and a mapping that notices which keys nobody took.

Nothing of a document is lost in silence: who reads a mapping through `Fields` takes each key he knows, and `close`
reports the others.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from yaml.nodes import MappingNode, SequenceNode
from yaml.nodes import Node as YamlNode

from ..config.yaml_reader import MAX_BYTES, MAX_DEPTH, Mistake, Reader, Stop, compose, join
from ..errors import LabError

# YAML 1.2's core schema, which compose files are written for: https://yaml.org/spec/1.2.2/#103-core-schema
_NULL = re.compile(r"|~|null|Null|NULL")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_KINDS = {"null": _NULL, "bool": _BOOL, "int": _INT, "float": _FLOAT}
_WORDS = {"map": "a mapping", "list": "a list", "null": "nothing"}
_TAG = "tag:yaml.org,2002:"
# compose's own: https://docs.docker.com/reference/compose-file/merge/#reset-value
_RESET, _OVERRIDE = "!reset", "!override"
MOST_SHOWN = 4000
# no number of ECS or compose is larger
MOST = 2.0**63
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Node:
    """A value, its path in the document, and its line (0 if it has none).

    `kind` is map, list, str, int, float, bool or null; `value` is a dict or list of nodes, or the text as written.
    """

    kind: str
    value: Any
    path: str
    file: str
    line: int = 0

    @property
    def says_something(self) -> bool:
        """Whether it isn't null or empty, so that something would be lost with it."""
        return self.kind not in ("null", "map", "list") or bool(self.value)

    @property
    def where(self) -> str:
        """The file and, if it's known, the line."""
        return f"{self.file}:{self.line}" if self.line else self.file

    def wrong(self, expected: str) -> LabError:
        """The error for a value of another kind."""
        got = _WORDS.get(self.kind, f"{self.shown()[:60]!r}")
        return LabError(
            f"{self.path or 'The document'} isn't valid",
            where=self.where,
            why=f"expected {expected}, got {got}",
            hint="correct it there, then import the file again",
        )

    def fields(self) -> dict[str, Node]:
        """A mapping's values. Raises LabError."""
        if self.kind != "map":
            raise self.wrong("a mapping")
        found: dict[str, Node] = self.value
        return found

    def items(self) -> list[Node]:
        """A list's values. Raises LabError."""
        if self.kind != "list":
            raise self.wrong("a list")
        found: list[Node] = self.value
        return found

    def text(self) -> str:
        """A scalar as it's written. Raises LabError."""
        if self.kind in ("map", "list", "null"):
            raise self.wrong("text")
        return str(self.value)

    def number(self) -> float:
        """A number, quoted or not. Raises LabError."""
        text = self.text().strip()
        found = float(text) if _FLOAT.fullmatch(text) else math.inf
        if abs(found) > MOST:
            raise self.wrong("a number")
        return found

    def whole(self) -> int:
        """A whole number, quoted or not. Raises LabError."""
        found = self.number()
        if not found.is_integer():
            raise self.wrong("a whole number")
        return int(found)

    def flag(self) -> bool:
        """True or false, quoted or not. Raises LabError."""
        text = self.text().lower()
        if text not in ("true", "false"):
            raise self.wrong("true or false")
        return text == "true"

    def texts(self) -> list[str]:
        """A list of scalars, or one. Raises LabError."""
        return [one.text() for one in self.items()] if self.kind == "list" else [self.text()]

    def plain(self) -> Any:
        """Python's own values; scalars other than null, true and false as text."""
        if self.kind == "map":
            return {key: one.plain() for key, one in self.value.items()}
        if self.kind == "list":
            return [one.plain() for one in self.value]
        if self.kind == "bool":
            return self.flag()
        return None if self.kind == "null" else self.value

    def shown(self) -> str:
        """The value on one line, for a comment."""
        found = self.value if self.kind not in ("map", "list", "null") else _flow(self)
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in found)
        return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 3] + "..."


def _flow(node: Node) -> str:
    if node.kind == "map":
        return "{" + ", ".join(f"{key}: {_flow(one)}" for key, one in node.value.items()) + "}"
    if node.kind == "list":
        return "[" + ", ".join(map(_flow, node.value)) + "]"
    return "null" if node.kind == "null" else str(node.value)


Lose = Callable[[Node, str], None]
NO_KEY = "ecsconsul has no key for it"


class Fields:
    """The values of a mapping, of which each is taken, or reported to `lose` with a reason."""

    def __init__(self, node: Node, lose: Lose) -> None:
        self._left = dict(node.fields())
        self._lose = lose

    def take(self, key: str) -> Node | None:
        """A value, or None if there is none or it's null."""
        found = self._left.pop(key, None)
        return None if found is None or found.kind == "null" else found

    def take_inside(self, key: str, inner: str) -> Node | None:
        """Takes a value out of a mapping that is itself taken later, or None."""
        outer = self._left.get(key)
        if outer is None or outer.kind != "map" or inner not in outer.value:
            return None
        self._left[key] = replace(outer, value={name: one for name, one in outer.value.items() if name != inner})
        found: Node = outer.value[inner]
        return None if found.kind == "null" else found

    def lose(self, keys: str, why: str) -> None:
        """Reports those of the keys (separated by spaces) that are there."""
        for key in keys.split():
            found = self._left.pop(key, None)
            if found is not None and found.says_something:
                self._lose(found, why)

    def close(self, why: str = NO_KEY) -> None:
        """Reports what nobody took."""
        for found in self._left.values():
            if found.says_something:
                self._lose(found, why)
        self._left.clear()


def from_yaml(data: bytes, file: str) -> Node:
    """The document of a YAML text. Raises LabError with the line."""
    try:
        root = compose(data)
        reader = Reader(root)
        found = _Yaml(reader, file).node(root, "", 1)
    except Stop as stop:
        raise _not_readable(file, stop.mistake) from None
    if reader.mistakes:
        raise _not_readable(file, min(reader.mistakes))
    return found


def _not_readable(file: str, mistake: Mistake) -> LabError:
    why = f"{mistake.path}: {mistake.message}" if mistake.path else mistake.message
    return LabError(f"{file} can't be read", where=f"{file}:{mistake.line}", why=why, hint="correct it and try again")


class _Yaml:
    """Converts YAML's nodes; merge keys are followed, duplicate keys are mistakes of the reader's."""

    def __init__(self, reader: Reader, file: str) -> None:
        self.reader = reader
        self.file = file

    def node(self, node: YamlNode, path: str, line: int, depth: int = 0) -> Node:
        if depth > MAX_DEPTH:  # an alias within itself
            raise Stop(Mistake(line, 1, path, f"nested more than {MAX_DEPTH} deep"))
        if node.tag == _RESET:
            return Node("null", _RESET, path, self.file, line)
        if isinstance(node, MappingNode):
            found = self.reader.mapping(node, path, "a mapping") or {}
            return Node("map", dict(self._values(found, path, depth)), path, self.file, line)
        if isinstance(node, SequenceNode):
            items = [self.node(one, at, self.reader.line(at), depth + 1) for at, one in self.reader.items(node, path)]
            return Node("list", items, path, self.file, line)
        if not node.tag.startswith(_TAG) and node.tag not in (_OVERRIDE, "!"):
            raise Stop(Mistake(line, 1, path, f"a value with the tag {node.tag}, which means nothing here"))
        return Node(_kind(node), node.value, path, self.file, line)

    def _values(self, found: dict[str, YamlNode], path: str, depth: int) -> Iterator[tuple[str, Node]]:
        for key, value in found.items():
            at = join(path, key)
            yield key, self.node(value, at, self.reader.line(at), depth + 1)


def _kind(node: YamlNode) -> str:
    if getattr(node, "style", None) in ("'", '"', "|", ">"):
        return "str"
    return next((kind for kind, pattern in _KINDS.items() if pattern.fullmatch(node.value)), "str")


def from_json(data: bytes, file: str) -> Node:
    """The document of a JSON text. Raises LabError with the line."""
    if len(data) > MAX_BYTES:
        raise LabError(f"{file} can't be read", where=file, why=f"the file is larger than {MAX_BYTES >> 20} MiB")
    try:
        return from_values(json.loads(data, object_pairs_hook=_object), file)
    except UnicodeDecodeError as error:
        raise LabError(f"{file} can't be read", where=file, why=f"not UTF-8: {error}") from error
    except json.JSONDecodeError as error:
        where = f"{file}:{error.lineno}"
        raise LabError(f"{file} can't be read", where=where, why=f"not JSON: {error.msg}") from error
    except ValueError as error:
        # a key that is given twice, or a number of thousands of digits
        raise LabError(f"{file} can't be read", where=file, why=str(error)) from error
    except RecursionError as error:
        raise LabError(f"{file} can't be read", where=file, why="nested too deep") from error


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises ValueError for a key that is given twice, of which one would be lost in silence."""
    found: dict[str, Any] = {}
    for key, value in members:
        if key in found:
            raise ValueError(f"the key {key!r} is given twice in one object")
        found[key] = value
    return found


def from_values(value: Any, file: str, path: str = "", depth: int = 0) -> Node:
    """The document that Python's own values make, such as an answer of AWS's. Empty and missing are told apart.

    Raises LabError if it's nested too deep, or has a text that isn't Unicode.
    """
    if depth > MAX_DEPTH:
        raise LabError(f"{file} can't be read", where=file, why=f"nested more than {MAX_DEPTH} deep")
    if isinstance(value, dict):
        found = {
            _text(key, file): from_values(one, file, join(path, str(key)), depth + 1) for key, one in value.items()
        }
        return Node("map", found, path, file)
    if isinstance(value, list | tuple):
        items = [from_values(one, file, f"{path}[{i}]", depth + 1) for i, one in enumerate(value)]
        return Node("list", items, path, file)
    if value is None:
        return Node("null", "", path, file)
    if isinstance(value, bool):
        return Node("bool", "true" if value else "false", path, file)
    kind = {int: "int", float: "float"}.get(type(value), "str")
    return Node(kind, _text(value, file), path, file)


def _text(value: Any, file: str) -> str:
    """A scalar as text. Raises LabError if it's half of a character, which JSON permits and no file can hold."""
    found = str(value)
    if _SURROGATE.search(found):
        raise LabError(f"{file} can't be read", where=file, why=f"{found[:60]!r} isn't Unicode text")
    return found
