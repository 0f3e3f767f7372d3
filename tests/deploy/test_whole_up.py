"""How long `up` takes in a slow account, and how many requests it makes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecsconsul.deploy import executor
from tests.deploy.slow_account import SlowAccount, all_but_consul, lab_of, slow_account
from tests.deploy.world import Runtime, SilentObserver


@pytest.fixture
def slow_world(world: Runtime) -> Iterator[Runtime]:
    yield world
    world.start_seconds = 0.0


def waits(world: Runtime, scale: float, path: Path) -> float:
    """How long `up` waits, in longest paths, without its own work."""
    at_work = seconds(slow_account(world, scale / 100), path)
    account = slow_account(world, scale)
    return (seconds(account, path) - at_work) / account.longest_path


def seconds(account: SlowAccount, path: Path) -> float:
    begun = time.monotonic()
    executor.up(all_but_consul(lab_of(3, path), account), SilentObserver())
    return time.monotonic() - begun


def test_up_takes_the_longest_path(slow_world: Runtime, tmp_path: Path) -> None:
    """The limit is the benchmark's; a busy machine may need more than one try."""
    assert any(waits(slow_world, 0.02, tmp_path) <= 1.2 for _ in range(3))


def cost(world: Runtime, services: int, path: Path) -> dict[str, float]:
    """The requests of an `up`, per service."""
    account = slow_account(world, scale=0.005)
    executor.up(all_but_consul(lab_of(services, path), account), SilentObserver())
    return {name: count / services for name, count in account.counted().items()}


def test_requests_per_service_do_not_grow(slow_world: Runtime, tmp_path: Path) -> None:
    few, many = cost(slow_world, 3, tmp_path), cost(slow_world, 50, tmp_path)
    assert few.keys() == many.keys()
    assert {name for name in few if many[name] > few[name]} == set()
    assert many["DescribeServices"] < 3
