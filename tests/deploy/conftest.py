"""The worlds in which each step is tried, empty at the begin of each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.world import FakeTarget, RecordingReport, Runtime


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one look brings along stays fresh, however slow the machine of the tests is."""
    monkeypatch.setattr("ecsconsul.deploy.service_poller.FRESH", 60.0)


@pytest.fixture(scope="module")
def one_world() -> Iterator[Runtime]:
    """For no longer than a module: others play AWS in this process as well, and moto forgets what was there before."""
    world = Runtime()
    yield world
    world.close()


@pytest.fixture
def world(one_world: Runtime) -> Runtime:
    one_world.reset()
    return one_world


@pytest.fixture(params=["plain", "region"])
def target(world: Runtime, request: pytest.FixtureRequest) -> FakeTarget:
    """Both worlds, one after the other."""
    return FakeTarget(world.endpoint(request.param))


@pytest.fixture
def region(world: Runtime) -> FakeTarget:
    """The world that has ECS services that run."""
    return FakeTarget(world.endpoint("region"))


@pytest.fixture
def report() -> RecordingReport:
    return RecordingReport()
