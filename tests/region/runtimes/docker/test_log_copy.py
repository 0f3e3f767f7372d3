"""What a container writes, as Docker gives it to those who follow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.errors import NotFound

from ecsconsul.region.runtimes.docker.log_copy import LAST_BYTES, LogCopy, unwritten

TIMEOUT = 60.0


class Engine:
    """A Docker client for a container that has written `logged`, of which those who follow get `followed`."""

    def __init__(self, followed: list[bytes], logged: bytes | None) -> None:
        self._followed = followed
        self._logged = logged

    def logs(self, container: str, *, stream: bool, follow: bool, tail: int | str) -> Iterator[bytes]:
        if follow:
            return iter(self._followed)
        if self._logged is None:
            raise NotFound("No such container")
        return iter(self._logged.splitlines(keepends=True)[-int(tail) :])


def copied(folder: Path, followed: list[bytes], logged: bytes | None, tail: int | str = "all") -> bytes:
    engine: Any = Engine(followed, logged)
    LogCopy(engine, "c1", folder / "log", tail=tail).join(TIMEOUT)
    return (folder / "log").read_bytes()


@pytest.mark.parametrize(
    "followed",
    [
        [b"one\n", b"two\n"],
        [b"one\n", b"two\n", b"end"],
        [b"one\ntwo\ne"],
    ],
)
def test_last_line_without_a_line_break_is_copied_once(tmp_path: Path, followed: list[bytes]) -> None:
    assert copied(tmp_path, followed, b"one\ntwo\nend") == b"one\ntwo\nend"


def test_only_line_is_copied(tmp_path: Path) -> None:
    assert copied(tmp_path, [], b"end") == b"end"


@pytest.mark.parametrize("logged", [b"one\n", b"", None])
def test_nothing_is_added_to_what_is_complete(tmp_path: Path, logged: bytes | None) -> None:
    assert copied(tmp_path, [b"one\n"], logged) == b"one\n"


def test_new_output_alone_has_nothing_of_what_was_before(tmp_path: Path) -> None:
    assert copied(tmp_path, [], b"old\nend", tail=0) == b""


def test_line_that_cannot_be_compared_is_left_as_it_is() -> None:
    assert unwritten(b"x" * LAST_BYTES, b"y" * 10) == b""
