"""Remembers when each part of a task's log was written, since a program's output has no times of its own.

Beside a log stands a file with a line for each second in which it grew: the time, and the log's size by then.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable
from pathlib import Path

log = logging.getLogger(__name__)

INTERVAL = 1.0
# A file beyond this size loses every second line: the older a line of the log is, the coarser is its time.
MAX_BYTES = 100_000


class LogTimes:
    """A thread that looks at the sizes of logs. `logs` gives those that may grow."""

    def __init__(self, logs: Callable[[], Iterable[Path]]) -> None:
        self._logs = logs
        self._sizes: dict[Path, int] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-times", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(INTERVAL):
            try:
                self.sample(time.time())
            except OSError as error:
                log.warning("the times of logs are not recorded: %s", error)

    def sample(self, now: float) -> None:
        """Record which logs have grown. Raises OSError."""
        sizes = {}
        for path in self._logs():
            with contextlib.suppress(FileNotFoundError):
                sizes[path] = path.stat().st_size
                if sizes[path] != self._sizes.get(path, 0):
                    _append(path, now, sizes[path])
        self._sizes = sizes


class Times:
    """When the parts of one log were written, as far as it was recorded; later parts when it was last changed."""

    def __init__(self, log: Path) -> None:
        entries = _entries(log)
        self._times = [at for at, _ in entries]
        self._sizes = [size for _, size in entries]
        try:
            self._changed = log.stat().st_mtime
        except FileNotFoundError:
            self._changed = 0.0

    def at(self, offset: int) -> float:
        """When the byte before this offset was written, in seconds since the epoch."""
        index = bisect_left(self._sizes, offset)
        return self._times[index] if index < len(self._times) else self._changed

    def since(self, moment: float) -> int:
        """The offset up to which everything was written before a moment."""
        index = bisect_left(self._times, moment)
        return self._sizes[index - 1] if index else 0


def _append(log: Path, now: float, size: int) -> None:
    path = log.with_suffix(".times")
    with path.open("a") as file:
        file.write(f"{now:.3f} {size}\n")
        grown = file.tell()
    if grown > MAX_BYTES:
        lines = path.read_text().splitlines(keepends=True)
        draft = path.with_suffix(".times.new")
        # the newest one stays
        draft.write_text("".join(lines[::-2][::-1]))
        draft.replace(path)


def _entries(log: Path) -> list[tuple[float, int]]:
    try:
        lines = log.with_suffix(".times").read_text().splitlines()
    except FileNotFoundError:
        return []
    pairs = [line.split() for line in lines]
    # the last line may not be written wholly
    return [(float(pair[0]), int(pair[1])) for pair in pairs if len(pair) == 2]
