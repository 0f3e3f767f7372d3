"""The event loop's thread: calls, coroutines, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from ecsconsul.registrator.event_loop import EventLoop

TIMEOUT = 60.0


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    started = EventLoop("test")
    started.start()
    yield started
    started.stop(TIMEOUT)
    assert started.ended.is_set()


def test_calls_run_in_order_and_delayed_ones_when_due(loop: EventLoop) -> None:
    order: list[object] = []
    done = threading.Event()
    for number in range(3):
        loop.call(order.append, number)
    began = time.monotonic()
    # In the order of their times, which a stall between two of the calls doesn't change.
    loop.call(loop.later, 0.0, order.append, "soon")
    loop.call(loop.later, 0.03, order.append, "later")
    loop.call(loop.later, 0.06, done.set)
    assert done.wait(TIMEOUT)
    assert time.monotonic() - began >= 0.06
    assert order == [0, 1, 2, "soon", "later"]


def test_everything_runs_in_one_thread_that_is_not_the_callers(loop: EventLoop) -> None:
    threads, done = set(), threading.Event()

    async def task() -> None:
        threads.add(threading.current_thread())
        done.set()

    loop.call(lambda: threads.add(threading.current_thread()))
    loop.call(lambda: loop.spawn(task()))
    assert done.wait(TIMEOUT)
    assert len(threads) == 1
    assert threading.current_thread() not in threads


def test_run_waits_for_a_coroutine_but_not_for_long(loop: EventLoop) -> None:
    finished, may_finish = threading.Event(), asyncio.Event()

    async def work() -> None:
        with ThreadPoolExecutor(1) as executor:
            assert await loop.in_thread(executor, lambda: 1) == 1

    async def slow() -> None:
        await may_finish.wait()
        finished.set()

    assert loop.run(work(), TIMEOUT)
    assert not loop.run(slow(), 0.0)
    loop.call(may_finish.set)
    assert finished.wait(TIMEOUT), "it goes on"


def test_stop_cancels_tasks_and_ends_waiting_callers() -> None:
    loop = EventLoop("test")
    loop.start()
    running = threading.Event()

    async def forever() -> None:
        running.set()
        await asyncio.sleep(TIMEOUT)

    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(loop.run, forever(), TIMEOUT)
        assert running.wait(TIMEOUT)
        loop.stop(TIMEOUT)
        assert waiting.result(TIMEOUT) is False
    assert loop.ended.is_set()
    assert not loop.run(forever(), TIMEOUT)
    loop.call(running.clear)
    assert running.is_set(), "an ended loop calls nothing"


@pytest.mark.parametrize("kind", ["call", "task"])
def test_failure_ends_the_loop(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    loop = EventLoop("test")
    loop.start()

    async def fail() -> None:
        raise ZeroDivisionError

    def fail_now() -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.CRITICAL):
        loop.call(fail_now if kind == "call" else lambda: loop.spawn(fail()))
        assert loop.ended.wait(TIMEOUT)
    loop.stop(TIMEOUT)
    assert "ZeroDivisionError" in caplog.text


def test_task_that_swallows_a_cancellation_is_cancelled_again() -> None:
    """Before Python 3.12 `asyncio.wait_for` may do so."""
    loop = EventLoop("test")
    loop.start()
    running = threading.Event()

    async def stubborn() -> None:
        running.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(TIMEOUT)
        await asyncio.sleep(TIMEOUT)

    loop.call(lambda: loop.spawn(stubborn()))
    assert running.wait(TIMEOUT)
    loop.stop(TIMEOUT)
    assert loop.ended.is_set()
