"""Waits for answers: by polling, or from work in the background.

How often and how long to poll are data, and the caller provides the clock.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")


class PollingPolicy(NamedTuple):
    """How often to poll: `attempts` times, `delay` seconds apart."""

    delay: float
    attempts: int

    @property
    def seconds(self) -> float:
        """The longest wait, not counting the time that the polls themselves take."""
        return self.delay * self.attempts

    def at_most(self, seconds: float | None) -> PollingPolicy:
        """The same delay, with no more attempts than fit into `seconds`."""
        if seconds is None or seconds >= self.seconds:
            return self
        return PollingPolicy(self.delay, max(1, round(seconds / self.delay)))

    def lasting(self, seconds: float | None) -> PollingPolicy:
        """The same delay for that long, also if it is longer; itself for None."""
        return self if seconds is None else PollingPolicy(self.delay, 1 + math.ceil(seconds / max(self.delay, 0.01)))


def poll_until(look: Callable[[], T | None], policy: PollingPolicy, wait: Callable[[float], None]) -> T:
    """The first result of `look` that is not None.

    Calls `wait` with the delay in seconds between two attempts; it may raise to stop polling. Raises TimeoutError
    after the last attempt.
    """
    for attempt in range(policy.attempts):
        if attempt:
            wait(policy.delay)
        result = look()
        if result is not None:
            return result
    raise TimeoutError(f"timed out after {policy.delay * (policy.attempts - 1):.0f} s")


def in_background(work: Callable[[], T]) -> Future[T]:
    """Start the work in a thread; the future gets its result, or whatever it raises.

    The process doesn't wait for the thread when it exits, as it would for an executor's: a name lookup has no timeout.
    """
    from concurrent.futures import Future

    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again by the one who asks for the result
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
