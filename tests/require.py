"""Skips tests whose tools are missing, or fails them if the tools are required."""

from __future__ import annotations

import os

import pytest


def require(name: str, present: bool, reason: str) -> None:
    """Skip with `reason` unless `present`; fail if ECSCONSUL_REQUIRE, a comma-separated list, contains `name`."""
    if present:
        return
    if name in os.environ.get("ECSCONSUL_REQUIRE", "").split(","):
        pytest.fail(f"{name} is required here: {reason}")
    pytest.skip(reason)
