"""Parses a command line the way Go's flag package does (https://pkg.go.dev/flag).

`-flag` and `--flag` are the same. A value follows after `=` or as the next argument; a boolean takes one only after
`=`. The first argument that isn't a flag, or `--`, ends the flags.
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
    """The command line can't be parsed; the message is the one Go's flag package gives."""


class HelpRequested(Exception):
    """-h or -help was given."""


@dataclass(frozen=True)
class Flag:
    """One flag; `metavar` and `help` appear in the usage text."""

    name: str
    default: str | int | bool
    help: str
    metavar: str = ""
    choices: tuple[str, ...] = ()

    @property
    def is_boolean(self) -> bool:
        return isinstance(self.default, bool)

    def value(self, text: str) -> str | int | bool:
        """The text converted to this flag's type. Raises BadFlags."""
        convert = _CONVERTERS[type(self.default)]
        try:
            value: str | int | bool = convert(text)
        except ValueError as error:
            kind = "boolean value" if self.is_boolean else "value"
            raise BadFlags(f'invalid {kind} "{text}" for flag -{self.name}: {error}') from error
        if self.choices and value not in self.choices:
            expected = " or ".join(f'"{choice}"' for choice in self.choices)
            raise BadFlags(f"-{self.name} must be {expected}")
        return value


def parse(argv: Sequence[str], flags: Sequence[Flag]) -> tuple[dict[str, Any], list[str]]:
    """Every flag's value by name, and the arguments after the flags. Raises BadFlags and HelpRequested."""
    known = {flag.name: flag for flag in flags}
    values: dict[str, Any] = {flag.name: flag.default for flag in flags}
    arguments = list(argv)
    while arguments and len(arguments[0]) > 1 and arguments[0].startswith("-"):
        argument = arguments.pop(0)
        if argument == "--":
            break
        name, value = _parse_one(argument, arguments, known)
        values[name] = value
    return values, arguments


def _parse_one(argument: str, following: list[str], known: Mapping[str, Flag]) -> tuple[str, str | int | bool]:
    """A flag's name and value; a value given as the next argument is removed from `following`."""
    name, equals, text = argument[2 if argument.startswith("--") else 1 :].partition("=")
    if not name or name.startswith("-"):
        raise BadFlags(f"bad flag syntax: {argument}")
    flag = known.get(name)
    if flag is None:
        if name in ("h", "help"):
            raise HelpRequested
        raise BadFlags(f"flag provided but not defined: -{name}")
    if not equals and flag.is_boolean:
        return name, True
    if not equals:
        if not following:
            raise BadFlags(f"flag needs an argument: -{name}")
        text = following.pop(0)
    return name, flag.value(text)


def usage(program: str, arguments: str, flags: Sequence[Flag]) -> str:
    """The text of -help."""
    lines = [f"Usage of {program}:", f"  {program} [options] {arguments}", ""]
    for flag in flags:
        lines.append(f"  -{flag.name} {flag.metavar}".rstrip())
        choices = f": {', '.join(flag.choices)}" if flag.choices else ""
        default = "" if flag.default in ("", False) else f" (default {flag.default})"
        lines.append(f"        {flag.help}{choices}{default}")
    return "\n".join(lines) + "\n"


def _boolean(text: str) -> bool:
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise ValueError("parse error")


def _integer(text: str) -> int:
    """Go's syntax: the prefix 0x, 0o, 0b or 0 (octal) gives the base."""
    if not text.isascii() or text != text.strip():
        raise ValueError("parse error")
    try:
        return int(text) if _DECIMAL.fullmatch(text) else int(text, 0)
    except ValueError:
        pass
    try:
        return int(text, 8)  # a leading zero, which Python's base 0 rejects
    except ValueError:
        raise ValueError("parse error") from None


_CONVERTERS: dict[type, Callable[[str], Any]] = {bool: _boolean, int: _integer, str: str}
