"""Reading what a container writes, from a file that grows."""

from __future__ import annotations

from pathlib import Path

from ecsconsul.region import task_output
from ecsconsul.region.task_output import TaskLog


def test_lines_come_once_and_when_they_are_complete(tmp_path: Path) -> None:
    path = tmp_path / "task.log"
    log = TaskLog(path)
    assert log.read() == []
    with path.open("ab", buffering=0) as file:
        file.write(b"one\r\ntwo\nthr")
        assert log.read() == ["one", "two"]
        assert log.read() == []
        file.write(b"ee\n\n\xff last")
        assert log.read() == ["three", ""]
    assert (log.rest(), log.rest()) == ("\ufffd last", "")


def test_one_read_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "task.log"
    path.write_bytes(b"0123456\n" * task_output.READ_BYTES)
    log = TaskLog(path)
    sizes = []
    while lines := log.read():
        sizes.append(len(lines))
    assert sum(sizes) == task_output.READ_BYTES
    assert max(sizes) <= task_output.READ_BYTES / 8


def test_line_without_end_comes_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "task.log"
    path.write_bytes(b"x" * (3 * task_output.READ_BYTES + 5))
    log = TaskLog(path)
    found = []
    while lines := log.read():
        found += lines
    assert "".join([*found, log.rest()]) == "x" * (3 * task_output.READ_BYTES + 5)
    assert max(map(len, found)) <= 2 * task_output.READ_BYTES
