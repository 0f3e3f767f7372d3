"""Reads YAML into nodes that know their line, and collects every mistake.

PyYAML never constructs values from the nodes, so an alias costs no more than what's read of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import msgspec
import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

try:
    from yaml import CSafeLoader as _FastestLoader
except ImportError:  # PyYAML was built without libyaml
    from yaml import SafeLoader as _FastestLoader  # type: ignore[assignment]

MAX_BYTES = 1 << 20
MAX_DEPTH = 100  # libyaml's composer recurses in C and overflows the stack at about 20,000
_TOO_DEEP = f"nested more than {MAX_DEPTH} deep"
MAX_VALUES = 100_000  # aliases can expand a small file to a huge one
MAX_CHARACTERS = 8 << 20  # of all values, for the same reason

MISSING: Final = object()
"""What `Reader` methods return for an invalid value."""

_TAG = "tag:yaml.org,2002:"
_WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})")


class Mistake(NamedTuple):
    """A mistake in the config. Line and column start at 1; `path` is like services.weather.count."""

    line: int
    column: int
    path: str
    message: str


class Stop(Exception):
    """A mistake that ends reading."""

    def __init__(self, mistake: Mistake) -> None:
        super().__init__(mistake.message)
        self.mistake = mistake


class _Loader(_FastestLoader):
    depth = 0

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=current_node.start_mark)

    def ascend_resolver(self) -> None:
        self.depth -= 1


def compose(data: bytes) -> Node:
    """The root node of one YAML document.

    Raises:
        Stop: not UTF-8, too large, not YAML, or empty.
    """
    if len(data) > MAX_BYTES:
        raise Stop(Mistake(1, 1, "", f"the file is larger than {MAX_BYTES >> 20} MiB"))
    try:
        text = data.decode("utf-8-sig")
        node = yaml.compose(text, Loader=_Loader)
    except UnicodeDecodeError as error:
        line, column = _position(data[: error.start].decode("latin-1"))
        raise Stop(Mistake(line, column, "", f"not UTF-8: byte 0x{data[error.start]:02x}")) from None
    except yaml.YAMLError as error:
        raise Stop(_syntax(error, text)) from None
    if node is None:
        raise Stop(Mistake(1, 1, "", "the file is empty"))
    return node


class Reader:
    """Reads values from nodes, and records each invalid one in `mistakes` with the line of its key."""

    def __init__(self, root: Node) -> None:
        self.mistakes: list[Mistake] = []
        self._keys: dict[str, Node] = {"": root}
        self._left = MAX_VALUES
        self._characters_left = MAX_CHARACTERS

    def wrong(self, path: str, message: str, node: Node | None = None) -> None:
        """Records a mistake at a node, by default at the key of `path`."""
        self.mistakes.append(Mistake(*_at(node or self._keys[path]), path, message))

    def __contains__(self, path: str) -> bool:
        """Whether the config has this path."""
        return path in self._keys

    def line(self, path: str) -> int:
        """The line, from 1, of a path's key."""
        return _at(self._keys[path])[0]

    def mapping(self, node: Node, path: str, wanted: str) -> dict[str, Node] | None:
        """The values of a mapping by key; None if the node isn't a mapping.

        Follows merge keys (<<). A duplicate key is a mistake.
        """
        if not isinstance(node, MappingNode):
            self.wrong(path, f"expected {wanted}, got {shown(node)}")
            return None
        found: dict[str, Node] = {}
        for own in self._merged(node, path):
            fresh: dict[str, Node] = {}
            for key, value in own.value:
                self._weigh(value)
                if key.tag != f"{_TAG}merge" and (name := self._key(key, path, fresh)) is not None:
                    fresh[name] = key
                    if name not in found:
                        self._keys[join(path, name)] = key
                        found[name] = value
        return found

    def items(self, node: SequenceNode, path: str) -> Iterator[tuple[str, Node]]:
        """The path and node of each item in a list."""
        for index, item in enumerate(node.value):
            self._count(item)
            self._weigh(item)
            self._keys[f"{path}[{index}]"] = item
            yield f"{path}[{index}]", item

    def leaf(self, node: Node, wanted: Any, path: str) -> Any:
        """The value of a scalar, validated against a type with msgspec constraints; MISSING if it's invalid."""
        value = _plain(node)
        return value if self.fits(value, wanted, path, shown(node)) else MISSING

    def fits(self, value: object, wanted: Any, path: str, got: str) -> bool:
        """Whether a value is valid for a type and printable; if not, records a mistake that shows `got`."""
        if isinstance(value, str) and not value.isprintable():
            # a pattern's $ would accept a trailing newline
            self.wrong(path, f"an invisible or unprintable character in {got}")
            return False
        try:
            msgspec.convert(value, wanted)
        except msgspec.ValidationError:
            self.wrong(path, f"expected {expected(wanted)}, got {got}{_meant(value, wanted)}")
            return False
        return True

    def text(self, node: Node, path: str) -> Any:
        """A scalar as it's written, so that 1.10 stays 1.10; booleans become true and false."""
        kind = _kind(node)
        if kind not in ("str", "int", "float", "bool", "timestamp"):
            hint = '; write "" for an empty value' if kind == "null" else ""
            self.wrong(path, f"expected text, a number or true/false, got {shown(node)}{hint}")
            return MISSING
        if kind == "bool":
            return "true" if _plain(node) else "false"
        if re.search("[\0\ud800-\udfff]", node.value):
            self.wrong(path, "contains a character that environment variables can't hold")
            return MISSING
        return node.value

    def unknown(self, found: dict[str, Node], keys: Iterable[str], path: str, also: dict[str, str]) -> set[str]:
        """Records unknown keys, and returns the keys they were probably meant to be.

        `also` maps other tools' words to our keys.
        """
        keys, meant = list(keys), set()
        also = {word: key for word, key in also.items() if key in keys}
        for name in found.keys() - set(keys):
            guess = closest(name, keys, also)
            meant.add(guess)
            hint = f"did you mean {guess}?" if guess else f"known keys: {', '.join(keys)}"
            self.wrong(join(path, name), f"unknown key; {hint}")
        return meant

    def _merged(self, node: MappingNode, path: str) -> Iterator[MappingNode]:
        """The mapping and those merged into it, by precedence and each once: aliases can form a loop."""
        waiting, seen = [node], set()
        while waiting:
            mapping = waiting.pop()
            if id(mapping) in seen:
                continue
            seen.add(id(mapping))
            self._count(mapping)
            yield mapping
            waiting += reversed([m for key, value in mapping.value for m in self._to_merge(key, value, path)])

    def _to_merge(self, key: Node, value: Node, path: str) -> list[MappingNode]:
        if key.tag != f"{_TAG}merge":
            return []
        merged = value.value if isinstance(value, SequenceNode) else [value]
        if all(isinstance(one, MappingNode) for one in merged):
            return list(merged)
        self.wrong(path, f"<< merges mappings, not {shown(value)}", key)
        return []

    def _key(self, key: Node, path: str, taken: dict[str, Node]) -> str | None:
        self._count(key)
        if _kind(key) != "str":
            hint = f'; write "{key.value}"' if _kind(key) in ("int", "float", "timestamp") else ""
            self.wrong(path, f"a key must be text, got {shown(key)}{hint}", key)
            return None
        name = str(key.value)
        if name in taken:
            self.wrong(join(path, name), f"given twice, first on line {_at(taken[name])[0]}", key)
            return None
        return name

    def _count(self, node: Node) -> None:
        self._left -= 1
        if self._left < 0:
            message = f"more than {MAX_VALUES} values, counting each use of an alias"
            raise Stop(Mistake(*_at(node), "", message))

    def _weigh(self, node: Node) -> None:
        self._characters_left -= len(node.value) if isinstance(node, ScalarNode) else 0
        if self._characters_left < 0:
            message = f"more than {MAX_CHARACTERS} characters, counting each use of an alias"
            raise Stop(Mistake(*_at(node), "", message))


def shown(node: Node) -> str:
    """A node as error messages show it."""
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return "a list"
    kind, text = _kind(node), node.value if len(node.value) <= 60 else node.value[:57] + "..."
    if kind == "null":
        return "nothing"
    if kind == "str":
        return f'the text "{_printable(text)}"'
    if kind == "int" and not _WHOLE_NUMBER.fullmatch(node.value):
        return f"{text} (a number in YAML notation; write plain digits)"
    if kind == "bool" and text.lower() not in ("true", "false"):
        return f'{text}, which YAML reads as {str(_plain(node)).lower()}; quote it ("{text}") to make it text'
    return str(text) if kind else f"a value with the tag {_printable(node.tag)}"


def expected(wanted: Any) -> str:
    """Describes a type by its constraints."""
    schema = _constraints(wanted)
    if "enum" in schema:
        return "one of " + ", ".join(str(value) for value in schema["enum"])
    if schema["type"] == "integer":
        lowest, highest = schema.get("minimum"), schema.get("maximum")
        return f"a whole number from {lowest} to {highest}" if highest else f"a whole number, {lowest} or more"
    if schema["type"] == "boolean":
        return "true or false"
    return str(schema.get("patternErrorMessage", "text"))


def closest(name: str, known: Iterable[str], also: dict[str, str] | None = None) -> str:
    """The known name that was probably meant, or an empty string; `also` maps other tools' words to ours."""
    import difflib

    lowered = name.lower()
    near = difflib.get_close_matches(lowered, [*known, *(also or {})], n=1)
    return (also or {}).get(near[0], near[0]) if near else ""


def _meant(value: object, wanted: Any) -> str:
    """A hint for a value that's almost valid."""
    schema = _constraints(wanted)
    if isinstance(value, str) and (guess := closest(value, map(str, schema.get("enum", ())))):
        return f"; did you mean {guess}?"
    if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value) and schema.get("type") == "integer":
        return "; remove the quotes"
    if type(value) is int and schema.get("type") == "string":
        nearly = [text for text in (f"{value}", f"{value}s") if re.search(schema.get("pattern", ""), text)]
        return f'; did you mean "{nearly[0]}"?' if nearly else ""
    return ""


def _constraints(wanted: Any) -> dict[str, Any]:
    """The JSON Schema of a scalar type, without null."""
    schema = msgspec.json.schema(wanted)
    return next((one for one in schema.get("anyOf", ()) if one.get("type") != "null"), schema)


def _plain(node: Node) -> Any:
    """The Python value of a scalar; other nodes are returned as they are, which no scalar type accepts."""
    kind = _kind(node)
    if kind == "str":
        return node.value
    if kind == "int" and _WHOLE_NUMBER.fullmatch(node.value):
        return int(node.value)
    if kind == "bool":
        return node.value.lower() in ("true", "yes", "on")
    return None if kind == "null" else node


def _kind(node: Node) -> str:
    """str, int, float, bool, null or timestamp; empty for other tags and non-scalars."""
    kind = node.tag.removeprefix(_TAG)
    kind = {"merge": "str", "value": "str"}.get(kind, kind)
    known = ("str", "int", "float", "bool", "null", "timestamp")
    return kind if isinstance(node, ScalarNode) and kind in known else ""


def _syntax(error: yaml.YAMLError, text: str) -> Mistake:
    """A YAML syntax error in the parser's words, or clearer ones for common causes."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:  # a ReaderError has an offset in characters or bytes instead of a line
        bad = yaml.reader.Reader.NON_PRINTABLE.search(text)
        line, column = _position(text[: bad.start()] if bad else "")
        return Mistake(line, column, "", "a control character, which YAML does not allow")
    words = ": ".join(part for part in (getattr(error, "context", ""), getattr(error, "problem", "")) if part)
    line_text = (text.splitlines() or [""])[min(mark.line, text.count("\n"), len(text.splitlines()) - 1)]
    if "maximum nesting depth" in words:  # libyaml's own limit for what it reads ahead
        words = _TOO_DEEP
    if re.match(r" *\t", line_text):
        words = "a tab in the indentation; YAML indents with spaces"
    return Mistake(mark.line + 1, mark.column + 1, "", words)


def _at(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _position(before: str) -> tuple[int, int]:
    """The line and column that follow a text."""
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def join(path: str, name: str) -> str:
    """Joins services.weather and count to services.weather.count."""
    return f"{path}.{_printable(name)}" if path else _printable(name)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
