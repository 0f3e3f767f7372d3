"""Templates in tags: `host-{{.Config.Hostname}}`, as fayrus/registrator has them.

The language is the part of Go's text/template that such tags use: fields of the container, texts and numbers, pipes,
parentheses, and functions (https://pkg.go.dev/text/template). There is no `httpGet`, and there are no regular
expressions: whoever starts a container must not be able to make the Registrator send requests or compute for minutes.
For the same reason, everything here is bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

# characters of a template and of each text that it makes, and parentheses within each other
MOST, MOST_NESTED = 1 << 13, 50
_TOKEN = re.compile(r"""\s*(?:"(?:[^"\\]|\\.)*"|`[^`]*`|-?[0-9]+|[.\w]+|[|()])""")


class TemplateInvalid(ValueError):
    """A template can't be carried out; the text says why."""


def render(template: str, container: Mapping[str, Any]) -> str:
    """The template with each action replaced by its value; `container` is what the fields are looked up in.

    Raises TemplateInvalid.
    """
    if "{{" not in template:
        return template
    text, rest = "", _bounded(template)
    while "{{" in rest:
        before, _, rest = rest.partition("{{")
        action, closed, rest = rest.partition("}}")
        if not closed:
            raise TemplateInvalid("an action is not closed by }}")
        value = _Pipeline(action.removeprefix("-").removesuffix("-"), container).value()
        text = _bounded(text + before + _printed(value))
    return _bounded(text + rest)


class _Pipeline:
    """One action, parsed and evaluated from left to right."""

    def __init__(self, source: str, container: Mapping[str, Any]) -> None:
        self._tokens = list(_tokens(source))
        self._container = container
        self._nested = 0

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
            self._nested += 1
            if self._nested > MOST_NESTED:
                raise TemplateInvalid(f"more than {MOST_NESTED} parentheses are nested")
            value = self._pipe()
            self._nested -= 1
            if not self._tokens or self._tokens.pop(0) != ")":
                raise TemplateInvalid("a parenthesis is not closed")
            return value
        if token[0] in '"`':
            return _unquoted(token)
        if token[0] in "-0123456789":
            return _number(token)
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


def _number(token: str) -> int:
    try:
        return int(token)
    except ValueError as error:
        # Python doesn't read numbers of thousands of digits
        raise TemplateInvalid(f"the number {token[:20]}... can't be read") from error


def _tokens(source: str) -> Iterator[str]:
    source, at = source.rstrip(), 0
    while at < len(source):
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
    for argument in arguments:
        if isinstance(argument, str):
            _bounded(argument)
    try:
        return FUNCTIONS[name](*arguments)
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
        raise TemplateInvalid(f"{name}: {error}") from error


def _bounded(text: str) -> str:
    """The text, unless it is too long."""
    _require_bounded(len(text))
    return text


def _require_bounded(length: int) -> None:
    if length > MOST:
        raise TemplateInvalid(f"a text is longer than {MOST} characters")


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


def _replaced(number: int, old: str, new: str, text: str) -> str:
    times = text.count(old) if number < 0 else min(number, text.count(old))
    _require_bounded(len(text) + times * (len(new) - len(old)))
    return text.replace(old, new, number)


def _joined(separator: str, items: Sequence[str]) -> str:
    _require_bounded(sum(map(len, items)) + len(items) * len(separator))
    return separator.join(items)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "index": _index,
    "join": _joined,
    "mIndex": lambda key, items: items.get(key, ""),
    "replace": _replaced,
    "sIndex": _element,
    "split": lambda separator, text: text.split(separator),
    "splitIndex": lambda number, separator, text: _element(number, text.split(separator)),
    "strSlice": _slice,
    "toLower": lambda text: text.lower(),
    "toUpper": lambda text: text.upper(),
}
