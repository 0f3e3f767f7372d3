"""Removes from text of services and servers what a terminal would interpret: colours and other control sequences."""

from __future__ import annotations

import re
from typing import IO, Any

# C0 and C1 except tab and newline: https://www.unicode.org/charts/PDF/U0000.pdf, U0080.pdf
_CONTROLS = {code: "\ufffd" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"}
# a whole sequence that begins with an escape, such as a colour (CSI) or a title (OSC):
# https://ecma-international.org/publications-and-standards/standards/ecma-48/
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])")
_COLOUR = re.compile(r"(\x1b\[[0-9;:]*m)")
RESET = "\x1b[0m"


def printable(value: Any) -> Any:
    """A text, or a document of texts, without control sequences and with U+FFFD for each other control character."""
    if isinstance(value, str):
        return _SEQUENCE.sub("", value).translate(_CONTROLS)
    if isinstance(value, dict):
        return {key: printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [printable(item) for item in value]
    return value


def in_colour(text: str) -> str:
    """A line as `printable` has it, but with its own colours, which end with it."""
    parts = _COLOUR.split(text)
    shown = "".join(part if number % 2 else printable(part) for number, part in enumerate(parts))
    return f"{shown}{RESET}" if len(parts) > 1 else shown


def as_written(text: str, stream: IO[str]) -> str:
    """A text for a stream: unchanged for a file or a program, with nothing but its colours for a terminal."""
    return "\n".join(map(in_colour, text.split("\n"))) if stream.isatty() else text
