"""Parses a command line as Go's flag package does; which flags there are, and what they mean, is left to settings.

The rules: `-flag` and `--flag` are the same, a value follows after `=` or as the next word, a boolean takes one
only after `=`; the first word that is no flag, or what follows `--`, ends them (https://pkg.go.dev/flag).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_DECIMAL = re.compile(r"[+-]?(?:0|[1-9][0-9_]*)")


class BadFlags(ValueError):
    """The command line cannot be parsed; the message is what Go's flag package would say."""


class HelpWanted(Exception):
    """-h or -help was given."""


@dataclass(frozen=True)
class Flag:
    """One flag; `metavar` and `help` are for people."""

    name: str
    default: str | int | bool
    help: str
    metavar: str = ""
    choices: tuple[str, ...] = ()

    @property
    def is_boolean(self) -> bool:
        return isinstance(self.default, bool)

    def value(self, text: str) -> str | int | bool:
        """The text as this flag's type. Raises BadFlags."""
        read: Callable[[str], Any] = str
        if self.is_boolean:
            read = _boolean
        elif isinstance(self.default, int):
            read = _integer
        try:
            found: str | int | bool = read(text)
        except ValueError as error:
            kind = "boolean value" if self.is_boolean else "value"
            raise BadFlags(f'invalid {kind} "{text}" for flag -{self.name}: {error}') from error
        if self.choices and found not in self.choices:
            wanted = " or ".join(f'"{choice}"' for choice in self.choices)
            raise BadFlags(f"-{self.name} must be {wanted}")
        return found


def parse(argv: Sequence[str], flags: Sequence[Flag]) -> tuple[dict[str, Any], list[str]]:
    """Every flag's value by its name, and the words after the flags. Raises BadFlags and HelpWanted."""
    known = {flag.name: flag for flag in flags}
    values: dict[str, Any] = {flag.name: flag.default for flag in flags}
    words = list(argv)
    while words and len(words[0]) > 1 and words[0].startswith("-"):
        word = words.pop(0)
        if word == "--":
            break
        name, value = _one(word, words, known)
        values[name] = value
    return values, words


def _one(word: str, following: list[str], known: Mapping[str, Flag]) -> tuple[str, str | int | bool]:
    """A flag and its value, which is taken off the words that follow when it stands there."""
    name, equals, text = word[2 if word.startswith("--") else 1 :].partition("=")
    if not name or name.startswith("-"):
        raise BadFlags(f"bad flag syntax: {word}")
    flag = known.get(name)
    if flag is None:
        if name in ("h", "help"):
            raise HelpWanted
        raise BadFlags(f"flag provided but not defined: -{name}")
    if not equals and flag.is_boolean:
        return name, True
    if not equals:
        if not following:
            raise BadFlags(f"flag needs an argument: -{name}")
        text = following.pop(0)
    return name, flag.value(text)


def usage(program: str, arguments: str, flags: Sequence[Flag]) -> str:
    """The text that -help shows."""
    lines = [f"Usage of {program}:", f"  {program} [options] {arguments}", ""]
    for flag in flags:
        lines.append(f"  -{flag.name} {flag.metavar}".rstrip())
        choices = f": {', '.join(flag.choices)}" if flag.choices else ""
        shown = "" if flag.default in ("", False) else f" (default {flag.default})"
        lines.append(f"        {flag.help}{choices}{shown}")
    return "\n".join(lines) + "\n"


def _boolean(text: str) -> bool:
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise ValueError("parse error")


def _integer(text: str) -> int:
    """As Go reads it: 0x, 0o, 0b and a leading 0 (octal) tell the base."""
    if not text.isascii() or text != text.strip():
        raise ValueError("parse error")
    try:
        return int(text) if _DECIMAL.fullmatch(text) else int(text, 0)
    except ValueError:
        pass
    try:
        return int(text, 8)  # Go's leading zero, which Python's base 0 does not take
    except ValueError:
        raise ValueError("parse error") from None
