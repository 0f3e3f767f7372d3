"""Batches the requests of steps that run side by side, up to the limits of the ECS API."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

# The most that one request takes: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Operations.html
DESCRIBE_SERVICES_MAX = 10
DELETE_TASK_DEFINITIONS_MAX = 10
LIST_SERVICES_MAX = 100
# DescribeTasks and DescribeContainerInstances
DESCRIBE_TASKS_MAX = 100


@dataclass(eq=False)
class _Request(Generic[T]):
    """What one thread requests, and its response."""

    name: str
    done: bool = False
    response: T | None = None
    error: BaseException | None = None

    def result(self) -> T | None:
        if self.error:
            raise self.error
        return self.response


class Batcher(Generic[T]):
    """Collects the requests that arrive while a batch is in flight, and sends them together in the next one.

    One of the waiting threads leads the batch: it sends for all of them, `limit` names at a time. No thread waits
    longer than one batch takes, and none gets a response from before its own request.
    """

    def __init__(self, send: Callable[[list[str]], Mapping[str, T]], limit: int) -> None:
        self._send = send
        self._limit = limit
        self._turn = threading.Condition()
        self._has_leader = False
        self._waiting: list[_Request[T]] = []

    def get(self, name: str, before: Callable[[], None] | None = None) -> T | None:
        """The response for a name; None when there is none.

        The leader calls its `before` first, so that a delay is waited for once and not by every thread. Raises what
        sending or `before` raises; after an error in `before`, another thread leads.
        """
        request: _Request[T] = _Request(name)
        with self._turn:
            self._waiting.append(request)
            self._turn.wait_for(lambda: request.done or not self._has_leader)
            if request.done:
                return request.result()
            self._has_leader = True
        try:
            if before:
                before()
            self._send_all()
        finally:
            with self._turn:
                self._has_leader = False
                self._waiting = [one for one in self._waiting if one is not request]
                self._turn.notify_all()
        return request.result()

    def _send_all(self) -> None:
        with self._turn:
            batch, self._waiting = self._waiting, []
        names = list(dict.fromkeys(request.name for request in batch))
        for chunk in in_chunks(names, self._limit):
            self._send_chunk([request for request in batch if request.name in chunk], chunk)

    def _send_chunk(self, requests: list[_Request[T]], names: list[str]) -> None:
        try:
            responses = self._send(names)
            for request in requests:
                request.response = responses.get(request.name)
        except BaseException as error:  # noqa: BLE001 - raised again in each thread that made a request
            for request in requests:
                request.error = error
        for request in requests:
            request.done = True


def in_chunks(items: Iterable[str], size: int) -> list[list[str]]:
    """The items in their order, `size` at a time."""
    every = list(items)
    return [every[start : start + size] for start in range(0, len(every), size)]
