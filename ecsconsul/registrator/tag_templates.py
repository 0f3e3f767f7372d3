"""Templates in tags: `host-{{.Config.Hostname}}`, as fayrus/registrator has them.

The language is the part of Go's text/template that such tags use: fields of the container, texts and numbers, pipes,
parentheses, and functions (https://pkg.go.dev/text/template). There is no `httpGet`, and there are no regular
expressions: whoever starts a container must not be able to make the Registrator send requests or compute for minutes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

_ACTION = re.compile(r"\{\{-?(.*?)-?\}\}", re.DOTALL)
_TOKEN = re.compile(r"""\s*(?:"(?:[^"\\]|\\.)*"|`[^`]*`|-?[0-9]+|[.\w]+|[|()])""")


class TemplateInvalid(ValueError):
    """A template can't be carried out; the text says why."""


def render(template: str, container: Mapping[str, Any]) -> str:
    """The template with each action replaced by its value; `container` is what the fields are looked up in.

    Raises TemplateInvalid.
    """
    if "{{" not in template:
        return template
    text = _ACTION.sub(lambda action: _printed(_Pipeline(action[1], container).value()), template)
    if "{{" in _ACTION.sub("", template):
        raise TemplateInvalid("an action is not closed by }}")
    return text


class _Pipeline:
    """One action, parsed and evaluated from left to right."""

    def __init__(self, source: str, container: Mapping[str, Any]) -> None:
        self._tokens = list(_tokens(source))
        self._container = container

    def value(self) -> Any:
        found = self._pipe()
        if self._tokens:
            raise TemplateInvalid(f"{self._tokens[0]!r} is not expected")
        return found

    def _pipe(self) -> Any:
        value = self._command(())
        while self._tokens and self._tokens[0] == "|":
            self._tokens.pop(0)
            # as in Go, the value before the pipe is the last argument
            value = self._command((value,))
        return value

    def _command(self, last: tuple[Any, ...]) -> Any:
        if not self._tokens or self._tokens[0] in "|)":
            raise TemplateInvalid("an action is empty")
        first = self._tokens[0]
        if re.match(r"\w", first) and not first[0].isdigit():
            self._tokens.pop(0)
            return _call(first, [*self._operands(), *last])
        operands = list(self._operands())
        if len(operands) != 1 or last:
            raise TemplateInvalid(f"{first!r} is not a function")
        return operands[0]

    def _operands(self) -> Iterator[Any]:
        while self._tokens and self._tokens[0] not in "|)":
            yield self._operand()

    def _operand(self) -> Any:
        token = self._tokens.pop(0)
        if token == "(":
            value = self._pipe()
            if not self._tokens or self._tokens.pop(0) != ")":
                raise TemplateInvalid("a parenthesis is not closed")
            return value
        if token[0] in '"`':
            return _unquoted(token)
        if token[0] in "-0123456789":
            return int(token)
        if token.startswith("."):
            return _field(self._container, token)
        raise TemplateInvalid(f"{token!r} is not expected; texts are quoted")


def _unquoted(token: str) -> str:
    if token[0] == "`":
        return token[1:-1]
    try:
        return str(json.loads(token))
    except ValueError as error:
        raise TemplateInvalid(f"the text {token} can't be read: {error}") from error


def _tokens(source: str) -> Iterator[str]:
    at = 0
    while source[at:].strip():
        match = _TOKEN.match(source, at)
        if match is None:
            raise TemplateInvalid(f"{source[at:].strip()[:20]!r} can't be read")
        at = match.end()
        yield match[0].strip()


def _field(container: Mapping[str, Any], path: str) -> Any:
    value: Any = container
    for name in filter(None, path.split(".")):
        if not isinstance(value, Mapping) or name not in value:
            raise TemplateInvalid(f"the container has no {path}")
        value = value[name]
    return value


def _call(name: str, arguments: Sequence[Any]) -> Any:
    if name not in FUNCTIONS:
        raise TemplateInvalid(f"there is no function {name!r}; there are {', '.join(sorted(FUNCTIONS))}")
    try:
        return FUNCTIONS[name](*arguments)
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise TemplateInvalid(f"{name}: {error}") from error


def _printed(value: Any) -> str:
    """A value as Go prints it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, int)):
        return str(value)
    if isinstance(value, Sequence):
        return f"[{' '.join(map(_printed, value))}]"
    return f"map[{' '.join(f'{key}:{_printed(value[key])}' for key in sorted(value))}]"


def _slice(text: str, first: int, last: int | None = None) -> str:
    return text if max(first, last or 0) > len(text) else text[first:] if (last or first) < first else text[first:last]


def _element(number: int, items: Sequence[str]) -> str:
    """An element; a negative number counts from the end, and one too many means the outermost."""
    return items[max(number, -len(items)) if number < 0 else min(number, len(items) - 1)]


def _index(items: Any, *keys: Any) -> Any:
    for key in keys:
        items = items.get(key, "") if isinstance(items, Mapping) else items[key]
    return items


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "index": _index,
    "join": lambda separator, items: separator.join(items),
    "mIndex": lambda key, items: items.get(key, ""),
    "replace": lambda number, old, new, text: text.replace(old, new, number),
    "sIndex": _element,
    "split": lambda separator, text: text.split(separator),
    "splitIndex": lambda number, separator, text: _element(number, text.split(separator)),
    "strSlice": _slice,
    "toLower": lambda text: text.lower(),
    "toUpper": lambda text: text.upper(),
}
