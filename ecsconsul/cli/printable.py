"""Replaces control characters in text from services and servers, which a terminal would interpret."""

from __future__ import annotations

from typing import Any

# C0 and C1 except tab and newline: https://www.unicode.org/charts/PDF/U0000.pdf, U0080.pdf
_CONTROLS = {code: "\ufffd" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"}


def printable(value: Any) -> Any:
    """A text, or a document of texts, with U+FFFD in place of each control character."""
    if isinstance(value, str):
        return value.translate(_CONTROLS)
    if isinstance(value, dict):
        return {key: printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [printable(item) for item in value]
    return value
