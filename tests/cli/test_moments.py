"""Moments on the command line."""

from __future__ import annotations

from datetime import datetime

import pytest

from ecsconsul.cli.moments import iso, moment

NOON = datetime(2026, 11, 29, 12, 0).timestamp()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", NOON - 90),
        ("1.5h", NOON - 5400),
        ("2d", NOON - 2 * 86400),
        ("11:58", NOON - 120),
        ("11:59:58.5", NOON - 1.5),
        ("12:03:07", NOON + 187 - 86400),
        ("2026-11-29T11:00:00", NOON - 3600),
        ("2026-11-29 11:00", NOON - 3600),
        ("1970-01-01T00:00:10Z", 10.0),
        ("1970-01-01T01:00:10+01:00", 10.0),
    ],
)
def test_moments(text: str, expected: float) -> None:
    assert moment(text, NOON) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "soon", "25:00", "12:61", "10", "5w", "2026-13-01"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        moment(text, NOON)


def test_iso_is_utc() -> None:
    assert iso(10.5) == "1970-01-01T00:00:10.500+00:00"
