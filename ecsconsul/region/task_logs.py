"""Reads the log files of a service's tasks, one file per container."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from .log_times import Times
from .runtimes.lab_dir import LabDir

FOLLOW_DELAY = 0.2
# Large files are read backwards, in blocks of this many bytes.
BLOCK_SIZE = 65536


class Line(NamedTuple):
    """The first eight digits of a task's ID, a line of its log, and when that was written (seconds since the epoch)."""

    task: str
    text: str
    at: float


def last_lines(
    lab_dir: LabDir, service: str, lines: int, task: str | None = None, since: float | None = None
) -> list[Line]:
    """The last lines of each of a service's tasks (or of one), oldest task first; none from before `since`."""
    paths = [path for path in _files(lab_dir, service) if task is None or path.stem.startswith(task)]
    return [line for path in paths for line in _last_lines(path, lines, since)]


def follow(lab_dir: LabDir, service: str, lines: int, since: float | None = None) -> Iterator[Line]:
    """The last lines, and then each new line, forever."""
    offsets: dict[Path, int] = {}
    for path in _files(lab_dir, service):
        offsets[path] = path.stat().st_size
        yield from _last_lines(path, lines, since)
    while True:
        for path in _files(lab_dir, service):
            with path.open("rb") as log:
                log.seek(offsets.get(path, 0))
                complete = log.read()
                complete = complete[: complete.rfind(b"\n") + 1]
            offsets[path] = offsets.get(path, 0) + len(complete)
            now = time.time()
            yield from (Line(path.stem[:8], text, now) for text in complete.decode(errors="replace").splitlines())
        time.sleep(FOLLOW_DELAY)


def _last_lines(path: Path, lines: int, since: float | None) -> list[Line]:
    times = Times(path)
    found = _tail(path, lines, BLOCK_SIZE, times.since(since) if since is not None else 0)
    stamped = [Line(path.stem[:8], text, times.at(end)) for text, end in found]
    return [line for line in stamped if since is None or line.at >= since]


def tail(path: Path, lines: int, block_size: int = BLOCK_SIZE) -> list[str]:
    """The last lines of a file; none when it does not exist."""
    return [text for text, _ in _tail(path, lines, block_size, 0)]


def _tail(path: Path, lines: int, block_size: int, first: int) -> list[tuple[str, int]]:
    """The last lines of a file from an offset on, each with the offset of its end."""
    try:
        with path.open("rb") as log:
            return _last(log, lines, block_size, first) if lines else []
    except FileNotFoundError:
        return []


def _last(log: BinaryIO, lines: int, block_size: int, first: int) -> list[tuple[str, int]]:
    """Read blocks backwards until they contain enough lines."""
    start, read = log.seek(0, os.SEEK_END), b""
    while start > first and read.count(b"\n") <= lines:
        size = min(block_size, start - first)
        start = log.seek(start - size)
        read = log.read(size) + read
    found = []
    for raw in read.splitlines(keepends=True):
        start += len(raw)
        # as str.splitlines has it, which knows more ends of a line
        found += [(text, start) for text in raw.decode(errors="replace").splitlines()]
    return found[-lines:]


def _files(lab_dir: LabDir, service: str) -> list[Path]:
    return sorted(lab_dir.service_logs(service).glob("*.log"), key=lambda path: path.stat().st_mtime)
