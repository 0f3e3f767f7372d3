"""Reads the log files of a service's tasks, one file per task."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .runtimes.lab_dir import LabDir

FOLLOW_DELAY = 0.2
# Large files are read backwards, in blocks of this many bytes.
BLOCK_SIZE = 65536

Line = tuple[str, str]
"""The first eight digits of a task's ID, and a line of its log."""


def last_lines(lab_dir: LabDir, service: str, lines: int, task: str | None = None) -> list[Line]:
    """The last lines of each of a service's tasks (or of one), oldest task first."""
    paths = [path for path in _files(lab_dir, service) if task is None or path.stem.startswith(task)]
    return [(path.stem[:8], text) for path in paths for text in tail(path, lines)]


def follow(lab_dir: LabDir, service: str, lines: int) -> Iterator[Line]:
    """The last lines, and then each new line, forever."""
    offsets: dict[Path, int] = {}
    for path in _files(lab_dir, service):
        offsets[path] = path.stat().st_size
        yield from ((path.stem[:8], text) for text in tail(path, lines))
    while True:
        for path in _files(lab_dir, service):
            with path.open("rb") as log:
                log.seek(offsets.get(path, 0))
                complete = log.read()
                complete = complete[: complete.rfind(b"\n") + 1]
            offsets[path] = offsets.get(path, 0) + len(complete)
            yield from ((path.stem[:8], text) for text in complete.decode(errors="replace").splitlines())
        time.sleep(FOLLOW_DELAY)


def tail(path: Path, lines: int, block_size: int = BLOCK_SIZE) -> list[str]:
    """The last lines of a file; none when it does not exist."""
    try:
        with path.open("rb") as log:
            return _last(log, lines, block_size) if lines else []
    except FileNotFoundError:
        return []


def _last(log: BinaryIO, lines: int, block_size: int) -> list[str]:
    """Read blocks backwards until they contain enough lines."""
    start, read = log.seek(0, os.SEEK_END), b""
    while start and read.count(b"\n") <= lines:
        size = min(block_size, start)
        start = log.seek(start - size)
        read = log.read(size) + read
    return read.decode(errors="replace").splitlines()[-lines:]


def _files(lab_dir: LabDir, service: str) -> list[Path]:
    return sorted(lab_dir.service_logs(service).glob("*.log"), key=lambda path: path.stat().st_mtime)
