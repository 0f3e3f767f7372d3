"""Makes what others wrote safe to show: a service's words may hold codes that a terminal would obey."""

from __future__ import annotations

from typing import Any

# C0 and C1 but for tab and newline: https://www.unicode.org/charts/PDF/U0000.pdf, U0080.pdf
_CONTROLS = {code: "\ufffd" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"}


def printable(found: Any) -> Any:
    """The text, or the document of texts, with U+FFFD for each control character."""
    if isinstance(found, str):
        return found.translate(_CONTROLS)
    if isinstance(found, dict):
        return {key: printable(value) for key, value in found.items()}
    if isinstance(found, list):
        return [printable(value) for value in found]
    return found
