"""Keys are named, and unknown sequences are left out."""

from __future__ import annotations

import pytest

from ecsconsul.cli.terminal_keys import parse


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"q", ["q"]),
        (b"jj+", ["j", "j", "+"]),
        (b"\x1b[A\x1b[B\x1bOA", ["up", "down", "up"]),
        (b"\x1b[5~\x1b[6~", ["pageup", "pagedown"]),
        (b"\x1b[1;5Cx", ["x"]),
        (b"\x1b", ["\x1b"]),
        ("ü\xff".encode(), ["ü", "\xff"]),
        (b"\xff", []),
    ],
)
def test_keys_are_named(data: bytes, keys: list[str]) -> None:
    assert parse(data) == keys
