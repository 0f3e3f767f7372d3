"""How far the Registrator of a task's machine is with it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ecsconsul.region.registrators import WatchedRegistration
from tests.region.fakes import machine

WEB = SimpleNamespace(id="host:web:80")
OTHER = SimpleNamespace(id="host:other:81")


class Watches:
    """The Registrator of every machine; it knows these services of each container, all of them listed as passing."""

    def __init__(self, known: tuple[Any, ...] | None) -> None:
        self._known = known

    def of(self, _: object) -> Watches:
        return self

    def services(self, _: str) -> tuple[Any, ...] | None:
        return self._known

    def is_listed(self, _: str) -> bool:
        return self._known is not None


@pytest.mark.parametrize(
    ("known", "entered"),
    [((WEB,), True), ((WEB, OTHER), True), ((OTHER,), False), ((), False), (None, False)],
    ids=["its own", "and more", "others", "none, as Docker says of a dying one", "not looked at yet"],
)
def test_a_task_has_entered_when_all_its_services_are_listed(
    tmp_path: Path, known: tuple[Any, ...] | None, entered: bool
) -> None:
    registration = WatchedRegistration(Watches(known), machine(tmp_path))  # type: ignore[arg-type]
    state = SimpleNamespace(runtime_id="c1")
    assert registration.enter([(WEB, state)]) is entered  # type: ignore[list-item]


def test_one_without_services_has_nothing_to_wait_for(tmp_path: Path) -> None:
    assert WatchedRegistration(Watches(None), machine(tmp_path)).enter([])  # type: ignore[arg-type]
