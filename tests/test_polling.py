"""Polling: how many attempts it makes, how long it waits between them, and how it ends; work in the background."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from ecsconsul.polling import PollingPolicy, in_background, poll_until

SECONDS = 60.0


class Clock:
    """Records the waits instead of letting time pass."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)


def test_first_answer_needs_no_wait() -> None:
    clock = Clock()
    assert poll_until(lambda: "ready", PollingPolicy(delay=5, attempts=1), clock.wait) == "ready"
    assert clock.waits == []


def test_polls_until_there_is_an_answer() -> None:
    clock = Clock()
    answers = iter([None, None, "ready"])
    assert poll_until(lambda: next(answers), PollingPolicy(delay=0.5, attempts=9), clock.wait) == "ready"
    assert clock.waits == [0.5, 0.5]


@pytest.mark.parametrize("answer", ["", 0, False, ()])
def test_any_answer_but_none_ends_polling(answer: object) -> None:
    assert poll_until(lambda: answer, PollingPolicy(delay=1, attempts=1), Clock().wait) == answer


def test_times_out_without_waiting_after_the_last_attempt() -> None:
    clock = Clock()
    attempts: list[None] = []
    with pytest.raises(TimeoutError, match="timed out after 1 s"):
        poll_until(lambda: attempts.append(None), PollingPolicy(delay=0.5, attempts=3), clock.wait)
    assert len(attempts) == 3
    assert clock.waits == [0.5, 0.5]


def test_error_while_waiting_ends_polling() -> None:
    class Stop(Exception):
        pass

    def wait(seconds: float) -> None:
        raise Stop

    with pytest.raises(Stop):
        poll_until(lambda: None, PollingPolicy(delay=1, attempts=3), wait)


def test_policy_in_seconds() -> None:
    assert PollingPolicy(delay=0.5, attempts=120).seconds == 60.0


def test_policy_is_limited_to_fewer_seconds() -> None:
    policy = PollingPolicy(delay=2.0, attempts=900)
    assert policy.at_most(180.0) == PollingPolicy(2.0, 90)
    assert policy.at_most(1.0) == PollingPolicy(2.0, 1)
    assert policy.at_most(None) is policy
    assert policy.at_most(10_000) is policy


def test_result_is_had_once_the_work_is_done() -> None:
    go = threading.Event()
    future = in_background(lambda: go.wait(SECONDS))
    assert not future.done()
    go.set()
    assert future.result(SECONDS) is True


@pytest.mark.parametrize("error", [ValueError("wrong"), KeyboardInterrupt()])
def test_whatever_it_raises_is_raised_again(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        in_background(fail).result(SECONDS)
    assert caught.value is error


def test_exit_does_not_wait_for_it() -> None:
    program = "import threading; from ecsconsul.polling import in_background; in_background(threading.Event().wait)"
    assert subprocess.run([sys.executable, "-c", program], timeout=SECONDS).returncode == 0
