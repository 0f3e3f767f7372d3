"""The record of events, and what it tells of a past moment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ecsconsul.errors import LabError
from ecsconsul.observe.journal import BEAT_SECONDS, FILE, OLDER_FILE, Journal, past, read
from ecsconsul.observe.states import Endpoint, Event, Snapshot
from tests.observe.samples import consul, endpoint, seen


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(tmp_path: Path, clock: Clock) -> Iterator[Journal]:
    found = Journal(tmp_path, clock=clock)
    assert found.open()
    yield found
    found.close()


def entered(one: Endpoint, time: float = 0.0) -> Event:
    return Event(time, "instance-entered", "in", one.service, endpoint=one)


def left(one: Endpoint, time: float = 0.0) -> Event:
    return Event(time, "instance-left", "out", one.service, endpoint=one)


def ports(folder: Path, moment: float) -> list[int]:
    return sorted(one.port for one in past(read([folder]), moment).endpoints)


def test_a_past_moment_is_the_checkpoint_and_what_came_after(tmp_path: Path, clock: Clock, journal: Journal) -> None:
    first, second = endpoint(port=1), endpoint(port=2)
    journal.start(seen(consul=consul(first)))
    for clock.now, event in ((110.0, entered(second)), (120.0, left(first))):
        journal.record([event], seen())
    clock.now = 130.0
    journal.close()
    assert [ports(tmp_path, moment) for moment in (100.0, 109.9, 110.0, 119.9, 125.0)] == [
        [1],
        [1],
        [1, 2],
        [1, 2],
        [2],
    ]


def test_status_changes_are_applied(tmp_path: Path, clock: Clock, journal: Journal) -> None:
    journal.start(seen())
    clock.now = 110.0
    now = endpoint("critical")
    journal.record([Event(110.0, "instance-changed", "bad", "weather", endpoint=now)], seen(consul=consul(now)))
    assert past(read([tmp_path]), 105.0).endpoints == (endpoint(),)
    assert past(read([tmp_path]), 111.0).endpoints == (now,)


@pytest.mark.parametrize(("moment", "why"), [(99.0, "the record begins at"), (200.0, "there is no later one")])
def test_moments_outside_the_record_are_refused(tmp_path: Path, journal: Journal, moment: float, why: str) -> None:
    journal.start(seen())
    with pytest.raises(LabError) as refused:
        past(read([tmp_path]), moment)
    assert why in refused.value.why


def test_nothing_at_all_is_recorded(tmp_path: Path) -> None:
    with pytest.raises(LabError) as refused:
        past(read([tmp_path / "absent"]), 1.0)
    assert refused.value.why == "nothing has been recorded"


def test_a_gap_between_two_runs_is_refused(tmp_path: Path, clock: Clock, journal: Journal) -> None:
    journal.start(seen())
    clock.now = 110.0
    journal.close()
    clock.now = 150.0
    again = Journal(tmp_path, clock=clock)
    assert again.open()
    again.start(seen())
    with pytest.raises(LabError) as refused:
        past(read([tmp_path]), 130.0)
    assert "the next is of" in refused.value.why
    assert ports(tmp_path, 105.0) == ports(tmp_path, 150.0) == [32768]
    again.close()


def test_beats_tell_a_silence_from_a_recorder_that_does_not_run(tmp_path: Path, clock: Clock, journal: Journal) -> None:
    journal.start(seen())
    clock.now = 100.0 + BEAT_SECONDS / 2
    journal.beat(seen())
    assert len(list(read([tmp_path]))) == 1
    for _ in range(5):
        clock.now += BEAT_SECONDS
        journal.beat(seen())
    assert ports(tmp_path, clock.now + 1.0) == [32768]
    assert len(list(read([tmp_path]))) == 6


def test_a_time_without_consul_is_told(tmp_path: Path, clock: Clock, journal: Journal) -> None:
    journal.start(seen())
    clock.now = 110.0
    journal.record([Event(110.0, "source-lost", "gone")], seen(lost={"Consul": "refused"}))
    assert past(read([tmp_path]), 111.0).lost == "refused"
    assert past(read([tmp_path]), 105.0).lost == ""


def test_only_one_journal_writes(tmp_path: Path, journal: Journal) -> None:
    other = Journal(tmp_path)
    assert not other.open()
    journal.close()
    assert other.open()
    other.close()


def test_files_are_rotated_and_bounded_and_still_tell_the_past(tmp_path: Path, clock: Clock) -> None:
    most = 5000
    journal = Journal(tmp_path, most=most, clock=clock)
    assert journal.open()
    journal.start(seen(consul=consul()))
    here: list[Endpoint] = []
    for port in range(1, 200):
        clock.now = 100.0 + port
        here.append(endpoint(port=port))
        events = [entered(here[-1]), *([left(here.pop(0))] if len(here) > 2 else [])]
        journal.record(events, seen(consul=consul(*here)))
    assert ports(tmp_path, 290.0) == [189, 190]
    assert {path.name for path in tmp_path.iterdir()} == {FILE, OLDER_FILE}
    assert all(path.stat().st_size < 2 * most for path in tmp_path.iterdir())
    assert not Journal(tmp_path).open(), "the new file is locked too"
    journal.close()


def test_half_a_line_is_left_out(tmp_path: Path, journal: Journal) -> None:
    journal.start(seen())
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"at": 101.0, "ev')
    assert len(list(read([tmp_path]))) == 1


def test_only_its_user_can_read_it(tmp_path: Path, journal: Journal) -> None:
    journal.start(Snapshot(1.0))
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "line",
    [
        b'{"at":1.0,"x":' + b"[" * 200_000,
        b'{"at":1e300,"endpoints":[]}',
        b'{"at":-1e300,"endpoints":[]}',
        b"\0\0\xff",
        b"[]",
    ],
)
def test_what_is_no_record_is_left_out(tmp_path: Path, line: bytes) -> None:
    good = b'{"at":5.0,"endpoints":[],"start":true}\n'
    (tmp_path / FILE).write_bytes(line + b"\n" + good)
    [found] = read([tmp_path])
    assert found.at == 5.0
