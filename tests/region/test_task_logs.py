"""The last lines of a log file of any length."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecsconsul.region.log_times import LogTimes
from ecsconsul.region.runtimes.lab_dir import LabDir
from ecsconsul.region.task_logs import BLOCK_SIZE, last_lines, tail


@pytest.mark.parametrize("lines", [1, 2, 999, 1000, 3000, 5000])
@pytest.mark.parametrize("end", ["\n", ""], ids=["complete", "still being written"])
def test_last_lines_are_complete(tmp_path: Path, lines: int, end: str) -> None:
    written = [f"{number} {'x' * 107}" for number in range(3000)]
    path = tmp_path / "task.log"
    path.write_text("\n".join(written) + end)
    assert path.stat().st_size > 3 * BLOCK_SIZE
    assert tail(path, lines) == written[-lines:]


def test_character_that_spans_two_blocks_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "task.log"
    path.write_text("früh\nspät am Abend: 21 °C\nÄ\n")
    assert tail(path, 2, block_size=5) == ["spät am Abend: 21 °C", "Ä"]


def test_empty_and_missing_files_have_no_lines(tmp_path: Path) -> None:
    (tmp_path / "empty.log").touch()
    assert tail(tmp_path / "empty.log", 5) == []
    assert tail(tmp_path / "none.log", 5) == []
    (tmp_path / "some.log").write_text("a\n")
    assert tail(tmp_path / "some.log", 0) == []


def test_lines_since_a_time_are_those_of_the_seconds_after_it(lab_dir: LabDir) -> None:
    path = lab_dir.task_log("web", "1" * 32)
    path.parent.mkdir(parents=True)
    times = LogTimes(lambda: [path])
    for at, text in ((100.0, "a\nb\n"), (101.0, ""), (102.0, "c\n"), (103.0, "d\n")):
        with path.open("a") as log:
            log.write(text)
        times.sample(at)
    found = last_lines(lab_dir, "web", 100)
    assert [(line.text, line.at) for line in found] == [("a", 100.0), ("b", 100.0), ("c", 102.0), ("d", 103.0)]
    assert {line.task for line in found} == {"11111111"}

    def since(moment: float, lines: int = 100) -> list[str]:
        return [line.text for line in last_lines(lab_dir, "web", lines, since=moment)]

    assert since(0) == ["a", "b", "c", "d"]
    assert since(100.5) == ["c", "d"]
    assert since(103.0) == ["d"]
    assert since(103.5) == []
    assert since(100.5, lines=1) == ["d"]
