"""The last lines of a log file of any length."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecsconsul.region.task_logs import BLOCK_SIZE, tail


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
