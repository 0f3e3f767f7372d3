"""Skips a test whose tool is not on this machine, or fails it where the tool was promised."""

from __future__ import annotations

import os

import pytest


def require(name: str, present: bool, reason: str) -> None:
    """Skip with `reason` unless `present`; fail where ECSCONSUL_REQUIRE (names with commas) holds `name`."""
    if present:
        return
    if name in os.environ.get("ECSCONSUL_REQUIRE", "").split(","):
        pytest.fail(f"{name} is required here: {reason}")
    pytest.skip(reason)
