"""The regions on which steps are tested, empty at the start of each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.world import FakeTarget, RecordingReport, Runtime


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep prefetched descriptions fresh on a slow machine."""
    monkeypatch.setattr("ecsconsul.deploy.service_poller.FRESH", 60.0)


@pytest.fixture(scope="module")
def one_world() -> Iterator[Runtime]:
    """One per module: other tests use moto in this process as well, which resets its state."""
    world = Runtime()
    yield world
    world.close()


@pytest.fixture
def world(one_world: Runtime) -> Runtime:
    one_world.reset()
    return one_world


@pytest.fixture(params=["plain", "region"])
def target(world: Runtime, request: pytest.FixtureRequest) -> FakeTarget:
    """A target on moto, then one on the local region."""
    return FakeTarget(world.endpoint(request.param))


@pytest.fixture
def region(world: Runtime) -> FakeTarget:
    """A target on the local region, which runs ECS services."""
    return FakeTarget(world.endpoint("region"))


@pytest.fixture
def report() -> RecordingReport:
    return RecordingReport()
