"""The time of short commands, compared with an interpreter that only imports what they need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.lab import running, write_three_services
from benchmarks.measure import ECSCONSUL, Result, compare_commands

ROUNDS = 15


def measure(folder: Path) -> Iterator[Result]:
    yield compare_commands("--help", [ECSCONSUL, "--help"], "click", 1.3, ROUNDS)
    with running(write_three_services(folder, "commands")) as lab:
        yield compare_commands("dig weather", lab.argv("dig", "weather"), "click, yaml, dns.resolver", 1.25, ROUNDS)
        yield compare_commands("no-op up", lab.argv("up"), "boto3, click, rich", 2.3, ROUNDS)
