"""Fixtures of the region's tests: a lab directory of their own, and moto."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ecsconsul.region.runtimes.lab_dir import LabDir


@pytest.fixture
def lab_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabDir:
    """A lab directory in the test's own state folder."""
    monkeypatch.setenv("ECSCONSUL_HOME", str(tmp_path / "state"))
    return LabDir("lab")


@pytest.fixture(scope="session")
def moto() -> Any:
    """One moto per session: it takes seconds to load, and its state is global."""
    from ecsconsul.region.instances import new_instance_id
    from ecsconsul.region.moto import Moto

    return Moto("us-east-1", new_instance_id)


@pytest.fixture(scope="module")
def api(moto: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An ApiRegion, shared by the tests of a module."""
    from tests.region.api_region import ApiRegion

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ECSCONSUL_HOME", str(tmp_path_factory.mktemp("state")))
        region = ApiRegion(moto, LabDir("lab"))
        yield region
        region.close()
