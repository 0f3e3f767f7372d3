"""Durations that Consul accepts; test_rules.py covers the checks themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecsconsul.registrator.checks import MOST_COMMAND, CheckUnusable, Endpoint, check_of, duration_seconds
from ecsconsul.registrator.metadata import Metadata


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10),
        ("500ms", 0.5),
        ("1h30m", 5400),
        ("1.5m", 90),
        (".5s", 0.5),
        ("1.s", 1),
        ("+2s", 2),
        ("3us", 3e-6),
        ("3µs", 3e-6),
        ("1ns", 1e-9),
        ("2562047h", 2562047 * 3600),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "0",
        "0s",
        "-1s",
        "s",
        ".s",
        "1d",
        "10 s",
        " 10s",
        "10s\n",
        "1e3s",
        "1S",
        "٣s",
        "0.1ns",
        "2562048h",
        "9" * 400 + "s",
    ],
)
def test_durations_that_consul_refuses(text: str) -> None:
    assert duration_seconds(text) is None


@given(st.text(alphabet="0123456789.+-nuµmsh ", max_size=12))
def test_durations_are_positive(text: str) -> None:
    seconds = duration_seconds(text)
    assert seconds is None or 0 < seconds < 2**63 / 1e9


@pytest.mark.parametrize(
    ("address", "text"), [("10.0.0.5", "10.0.0.5:80"), ("fd00::1", "[fd00::1]:80"), ("", "localhost:80")]
)
def test_endpoint(address: str, text: str) -> None:
    assert str(Endpoint(address, 80)) == text


@pytest.mark.parametrize("key", ["check_cmd", "check_script"])
def test_command_is_bounded(key: str) -> None:
    """Splitting one of 160,000 characters takes half a second."""
    long = Metadata({key: "{{" * (MOST_COMMAND // 2)}, frozenset())
    check, _ = check_of(long, Endpoint("127.0.0.1", 80), "80/tcp")
    assert check
    assert check.args == ("{{" * (MOST_COMMAND // 2),)
    longer = Metadata({key: "{{" * 80_000}, frozenset())
    with pytest.raises(CheckUnusable, match=f"{key} is longer than {MOST_COMMAND} characters"):
        check_of(longer, Endpoint("127.0.0.1", 80), "80/tcp")
