"""Times two things in turn and compares their medians; what is timed is the other modules' business."""

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
    """The medians of what is ours and of its peer, and what ours may be: so many times the peer's, seconds or MiB."""

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
    def holds(self) -> bool:
        return (self.ratio if self.unit == "times" else self.ours) <= self.limit


def run(argv: Sequence[str]) -> str:
    """What a command prints. Raises RuntimeError with its words when it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)} exited with {done.returncode}:\n{done.stderr}")
    return done.stdout


def timed(argv: Sequence[str]) -> Seconds:
    """The wall time of a command, its interpreter's start included."""
    begun = time.perf_counter()
    run(argv)
    return time.perf_counter() - begun


def in_turn(
    ours: Callable[[], Seconds], peer: Callable[[], Seconds], rounds: int, *, warm_up: bool = True
) -> tuple[list[Seconds], list[Seconds]]:
    """`rounds` times the one and the other, so that a busy moment of the machine meets both.

    The first of each is not counted when it only warms the page cache up.
    """
    if warm_up:
        ours(), peer()
    pairs = [(ours(), peer()) for _ in range(rounds)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def median(samples: Sequence[Seconds]) -> Seconds:
    return statistics.median(samples)


def compare_commands(name: str, argv: Sequence[str], imports: str, limit: float, rounds: int) -> Result:
    """A command beside an interpreter that does nothing but those imports."""
    code = f"import {imports}"
    ours, peer = in_turn(lambda: timed(argv), lambda: timed([PYTHON, "-c", code]), rounds)
    return Result(name, median(ours), f"python -c '{code}'", median(peer), limit, remark=spread(ours))


def spread(samples: Sequence[Seconds]) -> str:
    """How far the samples lie apart, for whoever doubts a median."""
    return f"{min(samples):.3f}..{max(samples):.3f} s, n={len(samples)}"
