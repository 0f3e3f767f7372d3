"""How `up` and `status` scale: a lab with 100 services beside one with 3.

The services have no tasks, so the figures show the work per service and not the machine's load.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.lab import BenchLab, running, write_lab
from benchmarks.measure import Result, in_turn, median, spread, timed

MANY, FEW = 100, 3
ROUNDS = 5


def measure(folder: Path) -> Iterator[Result]:
    source = folder / "idle"
    source.mkdir()
    (source / "Dockerfile").write_text('FROM python:3.12-slim\nCOPY . .\nCMD ["python"]\n')
    with ExitStack() as stack:
        many, few = (stack.enter_context(running(_write_idle_lab(folder, source, count))) for count in (MANY, FEW))
        yield _compare("up", many, few, 2.0)
        yield _compare("status", many, few, 1.5)


def _write_idle_lab(folder: Path, source: Path, count: int) -> BenchLab:
    return write_lab(folder, f"idle{count}", {f"idle-{n}": {"path": str(source), "count": 0} for n in range(count)})


def _compare(verb: str, many: BenchLab, few: BenchLab, limit: float) -> Result:
    ours, peer = in_turn(lambda: timed(many.argv(verb)), lambda: timed(few.argv(verb)), ROUNDS)
    name = f"{verb}, {MANY} services"
    return Result(name, median(ours), f"the same with {FEW} services", median(peer), limit, remark=spread(ours))
