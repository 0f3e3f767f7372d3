"""Reads the files into which a service's tasks write, one for each task."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .runtimes.lab_dir import LabDir

FOLLOW_PAUSE = 0.2
# a large file is read from its end on, in pieces of so many bytes
PIECE = 65536

Line = tuple[str, str]
"""The first digits of a task's id, and the text."""


def last_lines(home: LabDir, service: str, lines: int, task: str | None = None) -> list[Line]:
    """The last lines of each of a service's tasks (or of one), the task that began first first."""
    paths = [path for path in _files(home, service) if task is None or path.stem.startswith(task)]
    return [(path.stem[:8], text) for path in paths for text in tail(path, lines)]


def follow(home: LabDir, service: str, lines: int) -> Iterator[Line]:
    """The last lines, and then each new one; ends only with the caller."""
    places: dict[Path, int] = {}
    for path in _files(home, service):
        places[path] = path.stat().st_size
        yield from ((path.stem[:8], text) for text in tail(path, lines))
    while True:
        for path in _files(home, service):
            with path.open("rb") as log:
                log.seek(places.get(path, 0))
                whole = log.read()
                whole = whole[: whole.rfind(b"\n") + 1]
            places[path] = places.get(path, 0) + len(whole)
            yield from ((path.stem[:8], text) for text in whole.decode(errors="replace").splitlines())
        time.sleep(FOLLOW_PAUSE)


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a file; none of one that is not there."""
    try:
        with path.open("rb") as log:
            return _last(log, lines) if lines else []
    except FileNotFoundError:
        return []


def _last(log: BinaryIO, lines: int) -> list[str]:
    """Back from the end, until what was read begins before the first of them."""
    start, read = log.seek(0, os.SEEK_END), b""
    while start and read.count(b"\n") <= lines:
        size = min(PIECE, start)
        start = log.seek(start - size)
        read = log.read(size) + read
    return read.decode(errors="replace").splitlines()[-lines:]


def _files(home: LabDir, service: str) -> list[Path]:
    return sorted(home.service_logs(service).glob("*.log"), key=lambda path: path.stat().st_mtime)
