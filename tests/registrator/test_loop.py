"""One thread does what it is told, in order, or when the time has come."""

from __future__ import annotations

import threading

from ecsconsul.registrator.loop import Loop

TIMEOUT = 60.0


def test_jobs_are_done_in_order_and_late_ones_in_theirs() -> None:
    loop, done, end = Loop("test"), [], threading.Event()
    for number in range(3):
        loop.post(lambda number=number: done.append(number))
    loop.later(0.06, end.set)
    loop.later(0.03, lambda: done.append("later"))
    loop.later(0.0, lambda: done.append("soon"))
    loop.start()
    assert end.wait(TIMEOUT)
    loop.stop(TIMEOUT)
    assert done == [0, 1, 2, "soon", "later"]
    assert loop.ended.is_set()


def test_one_that_starts_late_keeps_the_order_of_what_is_due() -> None:
    loop, done, end = Loop("test"), [], threading.Event()
    loop.later(0.02, lambda: done.append("second"))
    loop.later(0.01, lambda: done.append("first"))
    loop.later(0.03, end.set)
    assert not end.wait(0.1), "nobody works yet, and all is overdue"
    loop.start()
    assert end.wait(TIMEOUT)
    loop.stop(TIMEOUT)
    assert done == ["first", "second"]


def test_all_is_done_by_one_thread_that_is_not_the_callers() -> None:
    loop, seen, end = Loop("test"), set(), threading.Event()
    loop.start()
    for _ in range(5):
        loop.post(lambda: seen.add(threading.current_thread()))
    loop.post(end.set)
    assert end.wait(TIMEOUT)
    loop.stop(TIMEOUT)
    assert len(seen) == 1
    assert threading.current_thread() not in seen


def test_a_loop_that_breaks_says_that_it_has_ended() -> None:
    loop, broken = Loop("test"), []
    before, threading.excepthook = threading.excepthook, lambda told: broken.append(told.exc_type)
    try:
        loop.post(lambda: 1 / 0)  # type: ignore[arg-type,return-value]
        loop.start()
        assert loop.ended.wait(TIMEOUT)
        loop.stop(TIMEOUT)
    finally:
        threading.excepthook = before
    assert broken == [ZeroDivisionError]
