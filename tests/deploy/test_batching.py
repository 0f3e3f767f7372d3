"""Concurrent requests share a batch, and none gets a response from before it was made."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

import pytest

from ecsconsul.deploy.batching import Batcher, in_chunks

PATIENCE = 60.0


class Asked:
    """Responds to each name with the name and the number of the request; the first request waits for `go_on`."""

    def __init__(self) -> None:
        self.requests: list[list[str]] = []
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.error: Exception | None = None

    def __call__(self, names: list[str]) -> dict[str, str]:
        self.requests.append(names)
        self.begun.set()
        assert self.go_on.wait(PATIENCE)
        if self.error:
            raise self.error
        return {name: f"{name} {len(self.requests)}" for name in names if name != "absent"}


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as pool:
        yield pool


def crowd(pool: ThreadPoolExecutor, batcher: Batcher[str], asked: Asked, names: list[str]) -> list[Future[str | None]]:
    """Requests the names while a request for `first` is in flight."""
    first = pool.submit(batcher.get, "first")
    assert asked.begun.wait(PATIENCE)
    others = [pool.submit(batcher.get, name) for name in names]
    while len(batcher._waiting) < len(names):
        threading.Event().wait(0.001)
    asked.go_on.set()
    wait([first, *others], PATIENCE)
    return [first, *others]


def test_single_request_is_sent_at_once(asked: Asked) -> None:
    asked.go_on.set()
    batcher = Batcher(asked, 10)
    assert (batcher.get("a"), batcher.get("a"), batcher.get("absent")) == ("a 1", "a 2", None)


def test_requests_during_a_batch_share_the_next_one(pool: ThreadPoolExecutor, asked: Asked) -> None:
    names = [f"n{number}" for number in range(25)]
    found = crowd(pool, Batcher(asked, 10), asked, [*names, "n3"])
    assert [len(request) for request in asked.requests] == [1, 10, 10, 5]
    assert found[0].result() == "first 1"
    assert {future.result() for future in found[1:11]} <= {f"{name} {n}" for name in names for n in (2, 3, 4)}


def test_error_is_raised_in_every_waiting_thread(pool: ThreadPoolExecutor, asked: Asked) -> None:
    asked.error = OSError("no network")
    for future in crowd(pool, Batcher(asked, 10), asked, ["a", "b"]):
        with pytest.raises(OSError, match="no network"):
            future.result()


def test_batch_waits_once(pool: ThreadPoolExecutor, asked: Asked) -> None:
    asked.go_on.set()
    batcher = Batcher(asked, 10)
    names = [f"n{number}" for number in range(10)]
    pauses = []

    def pause() -> None:
        pauses.append(1)
        while len(batcher._waiting) < len(names):
            threading.Event().wait(0.001)

    wait([pool.submit(batcher.get, name, pause) for name in names], PATIENCE)
    assert (len(pauses), [len(request) for request in asked.requests]) == (1, [10])


def test_interrupted_leader_is_replaced(pool: ThreadPoolExecutor, asked: Asked) -> None:
    asked.go_on.set()
    batcher = Batcher(asked, 10)
    paused, go_on = threading.Event(), threading.Event()

    def interrupted() -> None:
        paused.set()
        assert go_on.wait(PATIENCE)
        raise InterruptedError

    first = pool.submit(batcher.get, "first", interrupted)
    assert paused.wait(PATIENCE)
    second = pool.submit(batcher.get, "second")
    go_on.set()
    with pytest.raises(InterruptedError):
        first.result(PATIENCE)
    assert second.result(PATIENCE) == "second 1"
    assert asked.requests == [["second"]]


def test_chunks() -> None:
    assert in_chunks("abcde", 2) == [["a", "b"], ["c", "d"], ["e"]]
    assert in_chunks((), 2) == []
