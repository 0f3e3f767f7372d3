"""What the tests of the local region share: a lab's home of their own, and waiting that ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecsconsul.region.runtimes.lab_dir import LabDir

PATIENCE = 60.0


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabDir:
    """The home of a lab, in a folder that is the test's own."""
    monkeypatch.setenv("ECSCONSUL_HOME", str(tmp_path / "home"))
    return LabDir("lab")


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """Waits until something is true, and fails when it does not become so in time."""

    def wait(true: Callable[[], object], seconds: float = PATIENCE) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "not within the time that it may take"
            time.sleep(0.005)

    return wait


@pytest.fixture(scope="session")
def moto() -> Any:
    """The one moto of the session: it takes seconds to load, and its state is the process's anyway."""
    from ecsconsul.region.instances import new_instance_id
    from ecsconsul.region.moto import Moto

    return Moto("us-east-1", new_instance_id)
