"""A missing tool skips its tests, or fails them if it is required."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def require() -> Any:
    spec = importlib.util.spec_from_file_location("_require", Path(__file__).with_name("require.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.require


@pytest.mark.parametrize(
    ("required", "outcome"),
    [
        ("", pytest.skip.Exception),
        ("docker", pytest.skip.Exception),
        ("docker,browser", pytest.fail.Exception),
    ],
)
def test_missing_tool_skips_or_fails(
    require: Any, monkeypatch: pytest.MonkeyPatch, required: str, outcome: Any
) -> None:
    monkeypatch.setenv("ECSCONSUL_REQUIRE", required)
    with pytest.raises(outcome, match="no chromium"):
        require("browser", False, "no chromium")
    require("browser", True, "no chromium")
