"""Assertions say what a game day must show, and nothing else can be written in them."""

from __future__ import annotations

import pytest

from ecsconsul.errors import WrongUsage
from ecsconsul.gameday.assertion import check, holds

VALUES = {"failed": 0, "retried": 7, "heal_max": 2.5, "p99_ms": None}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("failed == 0", True),
        ("failed > 0", False),
        ("failed == 0 and heal_max < 3", True),
        ("failed != 0 or retried >= 7", True),
        ("not failed", True),
        ("0 <= failed < 1 <= retried", True),
        ("0 <= failed < 1 > retried", False),
        ("p99_ms < 100", False),
        ("p99_ms >= 100", False),
    ],
)
def test_assertion_holds_or_not(text: str, expected: bool) -> None:
    assert holds(text, VALUES) is expected


@pytest.mark.parametrize(
    "text",
    ["", "failed ==", "fialed == 0", "__import__('os')", "failed.real == 0", "failed == 'x'", "failed in (0,)",
     "(lambda: 1)() == 1", "[1 for x in y]", "failed + 1 == 1", "(" * 300 + ")" * 300, "1" * 600, "a\x00b"],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(WrongUsage) as refused:
        check(text, VALUES)
    assert "failed == 0" in refused.value.hint
