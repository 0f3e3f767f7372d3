"""The last lines of a file, however long it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecsconsul.region import task_logs as log_files
from ecsconsul.region.task_logs import BLOCK, tail


@pytest.mark.parametrize("lines", [1, 2, 999, 1000, 3000, 5000])
@pytest.mark.parametrize("end", ["\n", ""], ids=["whole", "still being written"])
def test_the_last_lines_are_whole_and_as_many_as_asked_for(tmp_path: Path, lines: int, end: str) -> None:
    written = [f"{number} {'x' * 107}" for number in range(3000)]
    path = tmp_path / "task.log"
    path.write_text("\n".join(written) + end)
    assert path.stat().st_size > 3 * BLOCK
    assert tail(path, lines) == written[-lines:]


def test_a_letter_at_the_border_of_two_pieces_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "BLOCK", 5)
    path = tmp_path / "task.log"
    path.write_text("früh\nspät am Abend: 21 °C\nÄ\n")
    assert tail(path, 2) == ["spät am Abend: 21 °C", "Ä"]


def test_nothing_is_read_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.log").touch()
    assert tail(tmp_path / "empty.log", 5) == []
    assert tail(tmp_path / "none.log", 5) == []
    (tmp_path / "some.log").write_text("a\n")
    assert tail(tmp_path / "some.log", 0) == []
