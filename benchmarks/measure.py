"""Times two things alternately, and compares their medians."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PYTHON = sys.executable
ECSCONSUL = str(Path(PYTHON).with_name("ecsconsul"))

Seconds = float


@dataclass(frozen=True)
class Result:
    """Our median, that of a baseline, and our limit: a multiple of the baseline, seconds, or MiB."""

    name: str
    ours: Seconds
    peer_name: str
    peer: Seconds
    limit: float
    unit: Literal["times", "seconds", "MiB"] = "times"
    remark: str = ""

    @property
    def ratio(self) -> float:
        return self.ours / self.peer

    @property
    def figure(self) -> float:
        """What the limit applies to."""
        return self.ratio if self.unit == "times" else self.ours

    @property
    def holds(self) -> bool:
        return self.figure <= self.limit


def run(argv: Sequence[str]) -> str:
    """A command's stdout. Raises RuntimeError with its stderr if it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)} exited with {done.returncode}:\n{done.stderr}")
    return done.stdout


def timed(argv: Sequence[str]) -> Seconds:
    """The wall time of a command, including the start of its interpreter."""
    begun = time.perf_counter()
    run(argv)
    return time.perf_counter() - begun


def in_turn(
    ours: Callable[[], Seconds], peer: Callable[[], Seconds], rounds: int, *, warm_up: bool = True
) -> tuple[list[Seconds], list[Seconds]]:
    """Runs both alternately, `rounds` times, so that a busy moment of the machine affects both.

    With `warm_up`, the first run of each only warms the page cache.
    """
    if warm_up:
        ours(), peer()
    pairs = [(ours(), peer()) for _ in range(rounds)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def median(samples: Sequence[Seconds]) -> Seconds:
    return statistics.median(samples)


def compare_commands(name: str, argv: Sequence[str], imports: str, limit: float, rounds: int) -> Result:
    """Compares a command with an interpreter that only does these imports."""
    code = f"import {imports}"
    ours, peer = in_turn(lambda: timed(argv), lambda: timed([PYTHON, "-c", code]), rounds)
    return Result(name, median(ours), f"python -c '{code}'", median(peer), limit, remark=spread(ours))


def spread(samples: Sequence[Seconds]) -> str:
    """The range and number of the samples."""
    return f"{min(samples):.3f}..{max(samples):.3f} s, n={len(samples)}"
