"""A task is passing when its instance's Registrator lists all its services."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ecsconsul.region.registrators import Registrators
from tests.region.fakes import FakeContainers, ec2_instance

WEB = SimpleNamespace(id="host:web:80")
OTHER = SimpleNamespace(id="host:other:81")


class KnownServices:
    """A Registrator that has these services of each container, all of them listed as passing."""

    ended = SimpleNamespace(is_set=lambda: False)

    def __init__(self, known: tuple[Any, ...] | None) -> None:
        self._known = known

    def services(self, _: str) -> tuple[Any, ...] | None:
        return self._known

    def is_listed(self, _: str) -> bool:
        return self._known is not None


def registrators(known: tuple[Any, ...] | None) -> Registrators:
    return Registrators(FakeContainers().engine, _running={"i-1": KnownServices(known)})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("known", "passing"),
    [((WEB,), True), ((WEB, OTHER), True), ((OTHER,), False), ((), False), (None, False)],
    ids=["its own", "more than its own", "others", "none, as Docker shows an exiting one", "not inspected yet"],
)
def test_task_passes_when_all_its_services_are_listed(
    tmp_path: Path, known: tuple[Any, ...] | None, passing: bool
) -> None:
    expected = {"container": {WEB.id}}
    assert registrators(known).is_passing(ec2_instance(tmp_path), expected) is passing


def test_task_without_services_passes_without_a_registrator(tmp_path: Path) -> None:
    assert Registrators(FakeContainers().engine).is_passing(ec2_instance(tmp_path), {})
