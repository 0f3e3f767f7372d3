"""An asyncio event loop in a thread of its own. A callback or task that fails ends the loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

CANCEL_ATTEMPTS, CANCEL_SECONDS = 10, 0.05


class EventLoop:
    """Any thread may use `call`, `run` and `stop`; everything else belongs to the loop's own thread."""

    def __init__(self, name: str) -> None:
        self.ended = threading.Event()
        self._ending = False
        self._loop: asyncio.AbstractEventLoop
        self._tasks: set[asyncio.Task[None]] = set()  # asyncio itself keeps only weak references
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._fail)
        self._thread.start()

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function in the loop; does nothing once the loop has ended."""
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            log.debug("the event loop has ended")

    def run(self, coroutine: Coroutine[Any, Any, None], seconds: float) -> bool:
        """Run a coroutine in the loop; False if it takes longer than `seconds`, and then it goes on."""
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # the loop has ended
            coroutine.close()
            return False
        try:
            future.result(seconds)
        except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
            return False
        return True

    def stop(self, seconds: float) -> None:
        """Cancel all tasks and end; waits up to this long."""
        self.call(self._loop.stop)
        self._thread.join(seconds)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine as a task."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._finish)

    def later(self, seconds: float, function: Callable[..., object], *arguments: object) -> None:
        """Call a function after so many seconds."""
        self._loop.call_later(seconds, function, *arguments)

    def in_thread(self, executor: Executor, function: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
        """Run a blocking function in one of the executor's threads."""
        return self._loop.run_in_executor(executor, function, *arguments)

    def _run(self) -> None:
        try:
            self._loop.run_forever()
            self._ending = True
            self._loop.run_until_complete(_cancel_tasks())
        finally:
            self._loop.close()
            self.ended.set()

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._fail(self._loop, {"message": "task failed", "exception": error})

    def _fail(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        log.critical("internal error: %s", context["message"], exc_info=context.get("exception"))
        # once it is ending, the loop only waits for its tasks
        if not self._ending:
            loop.stop()


async def _cancel_tasks() -> None:
    """Cancel until all tasks have ended: before Python 3.12 `wait_for` may swallow a cancellation."""
    for _ in range(CANCEL_ATTEMPTS):
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=CANCEL_SECONDS)
