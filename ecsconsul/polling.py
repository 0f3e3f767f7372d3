"""Waiting as data and one function: how long between two looks, how many, and what ends it early."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .targets.base import PollingPolicy

T = TypeVar("T")
Pause = Callable[[float], None]


def wait_until(look: Callable[[], T | None], patience: PollingPolicy, pause: Pause) -> T:
    """The first answer of `look` that is not None.

    `pause` is called with seconds between two looks; it may raise to end the waiting. Raises TimeoutError after
    the last look.
    """
    for attempt in range(patience.attempts):
        if attempt:
            pause(patience.delay)
        found = look()
        if found is not None:
            return found
    raise TimeoutError(f"not after {patience.delay * (patience.attempts - 1):.0f} s")
