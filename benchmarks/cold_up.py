"""A cold `ecsconsul up`, compared with a bare script that starts the same agents and services."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from benchmarks import bare
from benchmarks.lab import write_three_services
from benchmarks.measure import Result, Seconds, in_turn, median, spread
from ecsconsul.config.scalars import CONSUL_VERSION
from ecsconsul.consul.install import find

ROUNDS = 5
# The bare script's agents have neither TLS nor ACLs.
LIMIT = 1.6


def measure(folder: Path) -> Iterator[Result]:
    consul = find(lambda text: None, CONSUL_VERSION)
    lab = write_three_services(folder, "cold")
    attempts = count()

    def ours() -> Seconds:
        try:
            return lab.up()
        finally:
            lab.down()

    def peer() -> Seconds:
        place = folder / f"bare-{next(attempts)}"
        place.mkdir()
        try:
            return bare.seconds_to_answer(consul, place)
        finally:
            shutil.rmtree(place)

    mine, floor = in_turn(ours, peer, ROUNDS)
    yield Result("cold up", median(mine), "a bare script", median(floor), LIMIT, remark=spread(mine))
