"""One command at a time changes a lab on this machine."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ecsconsul.errors import LabError
from ecsconsul.targets.aws.lock import held


def test_second_holder_is_refused(tmp_path: Path) -> None:
    one, other = tmp_path / "locks" / "one.lock", tmp_path / "locks" / "other.lock"
    with held(one, "blue"):
        with pytest.raises(LabError, match="Another command is changing this lab") as raised, held(one, "blue"):
            pass
        with held(other, "green"):
            pass
    assert str(one) in raised.value.why


def test_lock_file_is_removed(tmp_path: Path) -> None:
    with held(tmp_path / "one.lock", "blue"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_lock_is_released_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), held(tmp_path / "one.lock", "blue"):
        raise KeyboardInterrupt
    with held(tmp_path / "one.lock", "blue"):
        pass


def test_next_holder_learns_whose_process_died(tmp_path: Path) -> None:
    path = tmp_path / "one.lock"
    program = (
        "import os, sys; from pathlib import Path; from ecsconsul.targets.aws.lock import held\n"
        "with held(Path(sys.argv[1]), 'blue') as lock:\n"
        "    lock.remember('a longer name'); lock.remember('mine'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)], timeout=60).returncode == 9
    with held(path, "blue") as lock:
        assert lock.dead == "mine"
    with held(path, "blue") as lock:
        assert lock.dead == ""


def test_only_one_of_many_threads_holds_the_lock(tmp_path: Path) -> None:
    inside: list[int] = []
    together: list[int] = []
    start = threading.Barrier(8)

    def contend() -> None:
        start.wait()
        for _ in range(200):
            try:
                with held(tmp_path / "one.lock", "blue"):
                    inside.append(1)
                    together.append(len(inside))
                    inside.pop()
            except LabError:
                continue

    threads = [threading.Thread(target=contend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(together) == {1}
