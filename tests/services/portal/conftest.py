"""The portal's patience in its tests: its own may be over on a busy machine where nothing is lost and nobody hangs."""

from __future__ import annotations

from typing import Any

import pytest

PATIENCE = 60.0


@pytest.fixture(autouse=True)
def _patient(portal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where something is lost or hangs, a test says itself how much time there is."""
    monkeypatch.setattr(portal.discovery, "QUERY_SECONDS", (PATIENCE, PATIENCE))
    for name in ("DEADLINE", "CONNECT", "ANSWER"):
        monkeypatch.setattr(portal.client, name, PATIENCE)
