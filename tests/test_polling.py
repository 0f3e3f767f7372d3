"""Waiting: how often it looks, how long it pauses, and how it ends."""

from __future__ import annotations

import pytest

from ecsconsul.polling import wait_until
from ecsconsul.targets.base import PollingPolicy


class Clock:
    """Counts the seconds that are asked for, instead of letting them pass."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)


def test_what_is_there_at_once_costs_no_pause() -> None:
    clock = Clock()
    assert wait_until(lambda: "ready", PollingPolicy(delay=5, attempts=1), clock.pause) == "ready"
    assert clock.pauses == []


def test_it_looks_again_until_there_is_an_answer() -> None:
    clock = Clock()
    answers = iter([None, None, "ready"])
    assert wait_until(lambda: next(answers), PollingPolicy(delay=0.5, attempts=9), clock.pause) == "ready"
    assert clock.pauses == [0.5, 0.5]


@pytest.mark.parametrize("answer", ["", 0, False, ()])
def test_any_answer_but_none_ends_it(answer: object) -> None:
    assert wait_until(lambda: answer, PollingPolicy(delay=1, attempts=1), Clock().pause) == answer


def test_patience_ends_and_does_not_pause_after_the_last_look() -> None:
    clock = Clock()
    looks: list[None] = []
    with pytest.raises(TimeoutError, match="1 s"):
        wait_until(lambda: looks.append(None), PollingPolicy(delay=0.5, attempts=3), clock.pause)
    assert len(looks) == 3
    assert clock.pauses == [0.5, 0.5]


def test_a_pause_that_raises_ends_it() -> None:
    class Stop(Exception):
        pass

    def pause(seconds: float) -> None:
        raise Stop

    with pytest.raises(Stop):
        wait_until(lambda: None, PollingPolicy(delay=1, attempts=3), pause)
