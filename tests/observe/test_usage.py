"""What containers use, from Docker's statistics and for `top`."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ecsconsul.observe.states import Container
from ecsconsul.observe.usage import MIB, Usage, Used, cpu_of, document, memory_of, running_containers
from tests.observe.samples import task


def sample(own: int, system: int, cpus: int = 2) -> dict[str, object]:
    return {"cpu_usage": {"total_usage": own}, "system_cpu_usage": system, "online_cpus": cpus}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (sample(0, 0), sample(50, 200), 0.5),
        (sample(100, 1000), sample(300, 1200), 2.0),
        (sample(5, 100), sample(5, 100), 0.0),
        ({"cpu_usage": {"total_usage": 0}}, sample(1, 2), 1.0),
    ],
)
def test_cpus_between_two_samples(before: dict[str, object], after: dict[str, object], expected: float) -> None:
    assert cpu_of(before, after) == expected


def test_memory_is_without_the_cache_that_can_be_dropped() -> None:
    assert memory_of({"usage": 100, "stats": {"inactive_file": 30}}) == 70
    assert memory_of({"usage": 100, "stats": {"total_inactive_file": 40}}) == 60
    assert memory_of({"usage": 10, "stats": {"inactive_file": 30}}) == 0
    assert memory_of({}) == 0


def container(**more: object) -> Container:
    [found] = task().containers
    return replace(found, runtime_id="7", **more)


def test_only_what_runs_is_measured() -> None:
    here = task(containers=(container(), container(status="STOPPED", name="side")))
    other = task(id="b" * 32, service="portal", containers=(container(),))
    assert running_containers([here, other]) == [(other, container()), (here, container())]
    assert running_containers([here, other], "weather") == [(here, container())]
    assert running_containers([task("PENDING")]) == []


def test_rows_have_limits_where_there_are_any() -> None:
    [row, gone] = document(
        [Usage(task(), container(), Used(0.25, 3 * MIB)), Usage(task(), container(cpu=0, memory=0), None)]
    )
    assert (row["cpu"], row["cpu_limit"], row["memory"], row["memory_limit"]) == (256, 100, 3.0, 200)
    assert (gone["cpu"], gone["cpu_limit"], gone["memory"], gone["memory_limit"]) == (None,) * 4
