"""When the parts of a log were written."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ecsconsul.region.log_times import MAX_BYTES, LogTimes, Times


def write(path: Path, text: str) -> None:
    with path.open("a") as log:
        log.write(text)


def test_what_was_not_recorded_counts_as_written_at_the_last_change(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    write(path, "abc")
    LogTimes(lambda: [path, tmp_path / "none.log"]).sample(50.0)
    write(path, "def")
    times = Times(path)
    assert times.at(3) == 50.0
    assert times.at(4) == path.stat().st_mtime
    assert (times.since(50.0), times.since(50.1)) == (0, 3)
    assert Times(tmp_path / "none.log").at(1) == 0.0


def test_entry_that_is_being_written_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("abcdef")
    (tmp_path / "a.times").write_text("10.000 3\n11.0")
    assert Times(tmp_path / "a.log").at(3) == 10.0


def test_record_is_bounded_and_stays_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    (tmp_path / "a.times").write_text("".join(f"{at}.000 {at}\n" for at in range(10_000, 20_000)))
    assert path.with_suffix(".times").stat().st_size > MAX_BYTES
    path.write_text("x" * 30_000)
    LogTimes(lambda: [path]).sample(30_000.0)
    assert path.with_suffix(".times").stat().st_size <= MAX_BYTES
    times = Times(path)
    assert [times.at(offset) for offset in (10_000, 19_999, 20_001)] == [10_000.0, 30_000.0, 30_000.0]


def test_thread_records_a_log_that_grows(tmp_path: Path, until: Callable[..., None]) -> None:
    path = tmp_path / "a.log"
    begun = time.time()
    times = LogTimes(lambda: [path])
    times.start()
    write(path, "abc")
    until(lambda: path.with_suffix(".times").exists())
    times.close()
    assert begun - 1 <= Times(path).at(3) <= time.time() + 1
