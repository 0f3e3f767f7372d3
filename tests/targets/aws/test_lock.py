"""One command at a time, on one machine."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ecsconsul.errors import LabError
from ecsconsul.targets.aws.lock import held


def test_a_second_one_is_refused_and_another_lab_is_not(tmp_path: Path) -> None:
    one, other = tmp_path / "locks" / "one.lock", tmp_path / "locks" / "other.lock"
    with held(one, "blue"):
        with pytest.raises(LabError, match="Another command is changing this lab") as raised, held(one, "blue"):
            pass
        with held(other, "green"):
            pass
    assert str(one) in raised.value.where


def test_it_leaves_no_file(tmp_path: Path) -> None:
    with held(tmp_path / "one.lock", "blue"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_it_is_let_go_of_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), held(tmp_path / "one.lock", "blue"):
        raise KeyboardInterrupt
    with held(tmp_path / "one.lock", "blue"):
        pass


def test_of_many_at_once_only_one_is_ever_in(tmp_path: Path) -> None:
    inside: list[int] = []
    together: list[int] = []
    start = threading.Barrier(8)

    def try_often() -> None:
        start.wait()
        for _ in range(200):
            try:
                with held(tmp_path / "one.lock", "blue"):
                    inside.append(1)
                    together.append(len(inside))
                    inside.pop()
            except LabError:
                continue

    threads = [threading.Thread(target=try_often) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(together) == {1}
