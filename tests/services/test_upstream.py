"""The part that weather and stock-price share: time limits, and the memory of an outage."""

from __future__ import annotations

import threading
from typing import Any

import pytest


def test_both_copies_are_identical(world: Any) -> None:
    one, other = (world.SERVICES / name / "upstream.py" for name in ("weather", "stock-price"))
    assert one.read_bytes() == other.read_bytes()


def test_slow_call_times_out(weather: Any) -> None:
    release = threading.Event()
    with pytest.raises(weather.upstream.ProviderAway, match=r"within 0\.05 s"):
        weather.upstream.within(0.05, release.wait)
    release.set()


def test_results_and_errors_are_passed_on(weather: Any) -> None:
    assert weather.upstream.within(60, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        weather.upstream.within(60, lambda: 1 / 0)


def test_only_one_request_per_minute_retries_after_an_outage(weather: Any, clock: Any) -> None:
    outage = weather.upstream.Outage(clock, 60)
    assert [outage.may_try() for _ in range(3)] == [True, True, True]
    outage.began()
    assert not outage.may_try()
    clock.now += 60
    barrier = threading.Barrier(8)
    answers: list[bool] = []

    def ask() -> None:
        barrier.wait(60)
        answers.append(outage.may_try())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(answers) == [False] * 7 + [True]
    outage.ended()
    assert [outage.may_try() for _ in range(2)] == [True, True]
