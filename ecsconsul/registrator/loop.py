"""One thread that does what it is told, one job after the other, now or later; what the jobs are is others' business.

What only its jobs touch needs no lock.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import threading
import time
from collections.abc import Callable

Job = Callable[[], None]


class Loop:
    """`post` and `later` may be called by any thread."""

    def __init__(self, name: str) -> None:
        self._inbox: queue.SimpleQueue[tuple[float, Job] | None] = queue.SimpleQueue()
        self._due: list[tuple[float, int, Job]] = []
        self._number = itertools.count()
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def post(self, job: Job) -> None:
        """Do it as soon as what was told before is done."""
        self._inbox.put((0.0, job))

    def later(self, seconds: float, job: Job) -> None:
        """Do it after so many seconds."""
        self._inbox.put((time.monotonic() + seconds, job))

    def stop(self, seconds: float) -> None:
        """End after what is being done; wait for it for so long."""
        self._inbox.put(None)
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self.ended.set()

    def _work(self) -> None:
        while self._take_in():
            while self._due and self._due[0][0] <= time.monotonic():
                heapq.heappop(self._due)[2]()

    def _take_in(self) -> bool:
        """Heed all that was told by now, before what is due: one told later may be due earlier. False at the end."""
        try:
            told = [self._inbox.get(timeout=self._patience())]
        except queue.Empty:
            return True
        # nobody else takes anything out
        told += [self._inbox.get_nowait() for _ in range(self._inbox.qsize())]
        for one in told:
            if one is None:
                return False
            moment, job = one
            if moment:
                heapq.heappush(self._due, (moment, next(self._number), job))
            else:
                job()
        return True

    def _patience(self) -> float | None:
        return max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
