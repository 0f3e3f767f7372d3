"""Reads log files as CloudWatch Logs has their lines: as events with a time, in pages of bounded size."""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .log_times import Times

# CloudWatch's limits for one answer: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference
PAGE_BYTES, PAGE_EVENTS = 1_048_576, 10_000
_LEAST_BYTES = 4096
# a line without an end counts once nothing has been added for so long, in seconds
SETTLED = 2.0
_TERM = re.compile(r'([-?]?)("[^"]*"|\S+)')


@dataclass(frozen=True)
class Stream:
    """A log stream, and the file that has its lines."""

    name: str
    path: Path


class Event(NamedTuple):
    """A line: where it starts and ends in its file, and when it was written, in ms since the epoch."""

    stream: str
    start: int
    end: int
    timestamp: int
    text: str

    @property
    def id(self) -> str:
        """The same for the same line, however often it is read."""
        return f"{zlib.crc32(self.stream.encode()):010d}{self.start:046d}"


class Page(NamedTuple):
    """Events, oldest first; the offsets at which the next page begins; and whether there is more already."""

    events: list[Event]
    offsets: dict[str, int]
    more: bool


def merged(
    streams: Sequence[Stream], offsets: Mapping[str, int], first: int, limit: int, page_bytes: int = PAGE_BYTES
) -> Page:
    """The next events of all streams together. A stream without an offset begins at the time `first`, in ms."""
    budget = max(page_bytes // max(len(streams), 1), _LEAST_BYTES)
    found: list[Event] = []
    begun: dict[str, int] = {}
    horizon: int | None = None
    for stream in streams:
        begun[stream.name] = offsets[stream.name] if stream.name in offsets else first_offset(stream, first)
        events, is_all = forward(stream, begun[stream.name], budget)
        found += events
        if not is_all:
            # later events of other streams may come after ones that this stream still has
            horizon = min(filter(None, (horizon, events[-1].timestamp)))
    found.sort(key=lambda event: (event.timestamp, event.stream, event.start))
    taken = [event for event in found if horizon is None or event.timestamp <= horizon][:limit]
    ends = {event.stream: event.end for event in taken}
    return Page(taken, begun | ends, horizon is not None or len(taken) < len(found))


def first_offset(stream: Stream, first: int) -> int:
    """Where to begin for events since a time, in ms: nothing before is as new."""
    return Times(stream.path).since(first / 1000) if first else 0


def forward(stream: Stream, offset: int, budget: int) -> tuple[list[Event], bool]:
    """The events from an offset on, within that many bytes, and whether these are all there are now."""
    try:
        with stream.path.open("rb") as log:
            log.seek(offset)
            found = log.read(budget)
            is_all = not log.read(1)
    except FileNotFoundError:
        return [], True
    complete = found.rfind(b"\n") + 1
    if not complete and not is_all:
        complete = len(found)
    if is_all and complete < len(found) and time.time() - stream.path.stat().st_mtime > SETTLED:
        complete = len(found)
    return _events(stream, offset, found[:complete]), is_all


def backward(stream: Stream, end: int, limit: int, budget: int = PAGE_BYTES) -> list[Event]:
    """The last events before an offset, within that many bytes."""
    begin = max(0, end - budget)
    try:
        with stream.path.open("rb") as log:
            log.seek(begin)
            found = log.read(end - begin)
    except FileNotFoundError:
        return []
    if begin:
        # the first line isn't whole
        skipped = found.find(b"\n") + 1
        begin, found = begin + skipped, found[skipped:]
    return _events(stream, begin, found)[-limit:]


def _events(stream: Stream, offset: int, content: bytes) -> list[Event]:
    times, events = Times(stream.path), []
    for line in content.splitlines(keepends=True) if content else ():
        end = offset + len(line)
        text = line.decode(errors="replace").rstrip("\r\n")
        events.append(Event(stream.name, offset, end, int(times.at(end) * 1000), text))
        offset = end
    return events


def matcher(pattern: str) -> Callable[[str], bool]:
    """The test that a filter pattern of terms stands for. Raises ValueError for JSON and space-delimited patterns.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
    """
    if pattern.strip().startswith(("{", "[", "%")):
        raise ValueError("the local region supports filter patterns of terms only")
    terms = [(sign, term.strip('"')) for sign, term in _TERM.findall(pattern)]
    required = [term for sign, term in terms if not sign]
    optional = [term for sign, term in terms if sign == "?"]
    excluded = [term for sign, term in terms if sign == "-"]

    def matches(text: str) -> bool:
        if any(term in text for term in excluded) or not all(term in text for term in required):
            return False
        return not optional or bool(required) or any(term in text for term in optional)

    return matches
