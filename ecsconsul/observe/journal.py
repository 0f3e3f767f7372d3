"""The record of a lab's events: JSON lines in two files of limited size, and what they tell of a past moment.

A run of the recorder begins with a checkpoint, the endpoints that Consul's catalog has at that moment. Events follow,
and further checkpoints. A beat now and then says that nothing happened, so that a silence can be told from a recorder
that was not running.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Annotated

import msgspec

from ..errors import LabError
from .states import Endpoint, Event, Snapshot

log = logging.getLogger(__name__)

FILE = "events.jsonl"
OLDER_FILE = "events.1.jsonl"
# two files, so 8 MiB at most: some 30,000 events
MOST_BYTES = 4 * 1024 * 1024
BEAT_SECONDS = 30.0
# events between two checkpoints, so that a moment is found without replaying a whole file
CHECKPOINT_EVENTS = 2000
# in the year 3058; what says a later time isn't a record
LATEST = 2.0**35


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line: an event, a checkpoint (`endpoints`), a beat (nothing else), or the `end` of a run.

    `at` is when it was written, in seconds since the epoch; `lost` why Consul didn't answer then.
    """

    at: Annotated[float, msgspec.Meta(ge=0, le=LATEST)]
    event: Event | None = None
    endpoints: tuple[Endpoint, ...] | None = None
    lost: str = ""
    start: bool = False
    end: bool = False


class Past(msgspec.Struct, frozen=True):
    """The endpoints in Consul's catalog at a past moment; with `lost`, the last ones before Consul fell silent."""

    at: float
    endpoints: tuple[Endpoint, ...]
    lost: str = ""


_encoder, _decoder = msgspec.json.Encoder(), msgspec.json.Decoder(Record)


class Journal:
    """Writes the record into a folder. Only one journal at a time may write there; the lock goes with the process."""

    def __init__(self, folder: Path, *, most: int = MOST_BYTES, clock: Callable[[], float] = time.time) -> None:
        self._path, self._older = folder / FILE, folder / OLDER_FILE
        self._most = most
        self._clock = clock
        self._file: IO[bytes] | None = None
        self._written = 0.0
        self._events = 0
        self._failure = ""

    def open(self) -> bool:
        """Begin to write; False if another journal writes there, or nobody can, which is logged."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = _open(self._path)
        except OSError as error:
            log.error("events are not recorded: %s", error)
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._file = file
        return True

    def start(self, snapshot: Snapshot) -> None:
        """Begin a run with a checkpoint."""
        self._write([self._checkpoint(snapshot, start=True)])

    def record(self, events: Sequence[Event], snapshot: Snapshot) -> None:
        """Write events; `snapshot` is what they have led to."""
        if not events:
            return
        lost = snapshot.lost.get("Consul", "")
        records = [Record(self._clock(), event, lost=lost) for event in events]
        self._events += len(events)
        if self._events >= CHECKPOINT_EVENTS:
            records.append(self._checkpoint(snapshot))
        self._write(records)
        self._rotate(snapshot)

    def beat(self, snapshot: Snapshot) -> None:
        """Say that nothing happened, if nothing was written for a while."""
        if self._clock() - self._written >= BEAT_SECONDS:
            self._write([Record(self._clock(), lost=snapshot.lost.get("Consul", ""))])

    def close(self) -> None:
        """End the run."""
        if self._file:
            self._write([Record(self._clock(), end=True)])
            self._file.close()
            self._file = None

    def _checkpoint(self, snapshot: Snapshot, *, start: bool = False) -> Record:
        self._events = 0
        lost = snapshot.lost.get("Consul", "")
        return Record(self._clock(), endpoints=snapshot.endpoints, lost=lost, start=start)

    def _write(self, records: Iterable[Record]) -> None:
        if self._file is None:
            return
        try:
            self._file.write(b"".join(_encoder.encode(record) + b"\n" for record in records))
            self._file.flush()
        except OSError as error:
            # a full disk must stop neither the lab nor whoever watches it
            if str(error) != self._failure:
                log.error("events are not recorded: %s", error)
            self._failure = str(error)
        else:
            self._failure, self._written = "", self._clock()

    def _rotate(self, snapshot: Snapshot) -> None:
        """Begin a new file once this one is large enough; the one before goes."""
        if self._file is None or self._file.tell() < self._most:
            return
        try:
            self._path.replace(self._older)
            file = _open(self._path)
        except OSError as error:
            log.error("the record of events is not rotated: %s", error)
            return
        # should another journal have been faster, both append whole lines
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._file.close()
        self._file = file
        self._write([self._checkpoint(snapshot)])


def _open(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def read(folders: Iterable[Path]) -> Iterator[Record]:
    """The records in these folders, which are given oldest first. Half a line, or what isn't a record, is left out."""
    for path in (folder / name for folder in folders for name in (OLDER_FILE, FILE)):
        with contextlib.suppress(FileNotFoundError), path.open("rb") as lines:
            for line in lines:
                with contextlib.suppress(msgspec.DecodeError, RecursionError):
                    yield _decoder.decode(line)


def past(records: Iterable[Record], moment: float) -> Past:
    """What Consul's catalog had at that moment. Raises LabError when the record does not cover it."""
    known: dict[tuple[str, str, str], Endpoint] | None = None
    last: Record | None = None
    following: Record | None = None
    first = 0.0
    for record in records:
        first = first or record.at
        if record.at > moment:
            following = record
            break
        last = record
        if record.endpoints is not None:
            known = {_key(one): one for one in record.endpoints}
        elif known is not None and record.event:
            _apply(known, record.event)
    if last is None or known is None:
        raise _uncovered(moment, first)
    if following is None and (last.end or moment - last.at > 2 * BEAT_SECONDS):
        raise _gap(moment, last.at, None)
    if following is not None and (following.start or last.end):
        raise _gap(moment, last.at, following.at)
    return Past(moment, tuple(known.values()), last.lost)


def _apply(known: dict[tuple[str, str, str], Endpoint], event: Event) -> None:
    if event.endpoint and event.kind == "instance-left":
        known.pop(_key(event.endpoint), None)
    elif event.endpoint:
        known[_key(event.endpoint)] = event.endpoint


def _key(one: Endpoint) -> tuple[str, str, str]:
    return one.service, one.node, one.id


def _uncovered(moment: float, first: float) -> LabError:
    begins = f"the record begins at {_text(first)}" if first else "nothing has been recorded"
    hint = "`ecsconsul events --since 24h` shows what is recorded"
    return LabError(f"Nothing was recorded at {_text(moment)}", why=begins, hint=hint)


def _gap(moment: float, before: float, after: float | None) -> LabError:
    until = f"and the next is of {_text(after)}" if after else "and there is no later one"
    why = f"the last entry before is of {_text(before)}, {until}"
    return LabError(f"Nothing was recorded at {_text(moment)}", why=why)


def _text(moment: float) -> str:
    return datetime.fromtimestamp(moment).astimezone().isoformat(sep=" ", timespec="seconds")
