"""Queries a live provider with a timeout, and remembers outages.

The weather and stock-price folders are separate build contexts, so both have a copy of this file; a test keeps the
copies identical.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

MAX_BYTES = 1_000_000
# Yahoo returns 429 to the user agents of HTTP libraries, so this one looks like a browser's.
USER_AGENT = "Mozilla/5.0 (compatible; ecsconsul-lab/1.0)"


class ProviderAway(Exception):
    """The provider is unreachable, or its answer is invalid; the text says which."""


class UnknownName(LookupError):
    """The provider doesn't know the city or symbol; the text is for the user."""


class Outage:
    """Remembers for `seconds` that a provider is down, so that only one request waits for it in that time.

    `clock` gives monotonic seconds. Safe to share between threads.
    """

    def __init__(self, clock: Callable[[], float], seconds: float = 60.0) -> None:
        self._clock = clock
        self._seconds = seconds
        self._until: float | None = None
        self._lock = threading.Lock()

    def may_try(self) -> bool:
        """Whether this request may query the provider; after an outage, only one request does."""
        with self._lock:
            now = self._clock()
            if self._until is None:
                return True
            if now < self._until:
                return False
            self._until = now + self._seconds
            return True

    def began(self) -> None:
        """The provider is down."""
        with self._lock:
            self._until = self._clock() + self._seconds

    def ended(self) -> None:
        """The provider answered."""
        with self._lock:
            self._until = None


def within(seconds: float, call: Callable[[], T]) -> T:
    """Returns the result of `call`, or raises ProviderAway after `seconds`.

    A socket's timeout bounds neither a slow name lookup nor an answer that drips in, so the call
    runs in its own daemon thread, which is abandoned after the timeout.
    """
    done: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put((call(), None))
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits, which raises it
            done.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = done.get(timeout=seconds)
    except queue.Empty:
        raise ProviderAway(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


def get_json(url: str, *, seconds: float) -> tuple[int, Any]:
    """The HTTP status and JSON document of `url`. Raises ProviderAway without a valid answer."""
    # Imported here to start faster: demo data needs no HTTP client.
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    request = Request(url, headers={"User-Agent": USER_AGENT, "Accept": "application/json"})
    try:
        with urlopen(request, timeout=seconds) as response:
            status, body = response.status, response.read(MAX_BYTES)
    except HTTPError as error:
        with error:
            status, body = error.code, error.read(MAX_BYTES)
    except (OSError, HTTPException) as error:
        raise ProviderAway(str(getattr(error, "reason", error)) or type(error).__name__) from error
    try:
        return status, json.loads(body)
    except ValueError:
        raise ProviderAway(f"HTTP {status} without JSON") from None
