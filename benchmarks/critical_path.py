"""`up` in an account that takes a thirtieth of AWS's time, compared with its longest path."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Result, Seconds, median, spread
from ecsconsul.deploy import executor
from tests.deploy.slow_account import all_but_consul, lab_of, slow_account
from tests.deploy.world import Runtime, SilentObserver

SCALE = 1 / 30
ROUNDS = 3
LIMIT = 1.15


def measure(folder: Path) -> Iterator[Result]:
    world = Runtime()
    try:
        # the first one loads what AWS's API is played by
        _up(world, folder, SCALE / 100)
        found = [_up(world, folder, SCALE) for _ in range(ROUNDS)]
    finally:
        world.close()
    ours, longest = [seconds for seconds, _ in found], found[0][1]
    yield Result("up, slow account", median(ours), "its longest path", longest, LIMIT, remark=spread(ours))


def _up(world: Runtime, folder: Path, scale: float) -> tuple[Seconds, Seconds]:
    account = slow_account(world, scale)
    steps = all_but_consul(lab_of(3, folder), account)
    begun = time.perf_counter()
    executor.up(steps, SilentObserver())
    return time.perf_counter() - begun, account.longest_path
