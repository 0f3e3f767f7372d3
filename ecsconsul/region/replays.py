"""Refuses a request that somebody who has read it sends a second time: a signature in a header is used once.

AWS accepts a copy of a request for as long as its date is within 15 minutes. Here it is refused, by rules that no
client of the lab runs into. A client signs with the time to the second, so equal requests of one second have equal
signatures: two describes by a poller, or by two scripts, are nothing unusual. Therefore:

- A signature that is used again more than `GRACE` seconds after its first use is refused. No client keeps one that
  long: the SDKs sign each attempt anew.
- Within `GRACE`, a request that only reads is answered again.
- Within `GRACE`, one that may change something is accepted if it is another call, or another attempt, by the headers
  `amz-sdk-invocation-id` and `amz-sdk-request`, which all of AWS's SDKs send. boto3 does not sign these two, so for
  some seconds they tell a second call from a plain copy, but not from a copy with other headers.
- Where the key is older than the region, a request from before the region's start is refused: an earlier region of
  the lab may have served it.

Presigned URLs are not remembered: whoever signs one means it to be used until it expires.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field

from .request_auth import CLOCK_WINDOW, ReceivedRequest

GRACE = 5.0
# 70 requests a second for 15 minutes; some 20 MB.
MOST_SIGNATURES = 65536
_READS = ("Describe", "List", "Get", "BatchGet", "Filter", "Lookup", "Search", "Validate", "Head")
_ACTION = re.compile(rb"(?:^|&)Action=([A-Za-z]+)")


@dataclass
class _Use:
    first: float
    attempts: set[str] = field(default_factory=set)


class UsedSignatures:
    """The signatures of the last 15 minutes. All times are seconds since the epoch."""

    def __init__(self, since: float = 0.0, most: int = MOST_SIGNATURES) -> None:
        """`since`: requests that were signed before are refused."""
        self._since = since
        self._most = most
        self._count = 0
        self._swept = 0
        self._by_second: dict[int, dict[str, _Use]] = {}
        self._lock = threading.Lock()

    def admit(self, signature: str, signed_at: float, now: float, *, attempt: str, changes: bool) -> bool:
        """Whether a request with this signature may be answered; remembers it."""
        with self._lock:
            self._forget(now)
            if signed_at < self._since:
                return False
            second = self._by_second.setdefault(int(signed_at), {})
            use = second.get(signature)
            if use is None:
                second[signature] = _Use(now, {attempt} if changes else set())
                self._count += 1
                return True
            if now > use.first + GRACE:
                return False
            if changes and (not attempt or attempt in use.attempts):
                return False
            if changes:
                use.attempts.add(attempt)
                self._count += 1
            return True

    def _forget(self, now: float) -> None:
        """Drop what is too old to be accepted; when there is too much, the oldest can be neither kept nor accepted."""
        if int(now) == self._swept and self._count < self._most:
            return
        self._swept = int(now)
        oldest = min(self._by_second, default=0)
        while self._by_second and (oldest + CLOCK_WINDOW.total_seconds() < now - 1 or self._count >= self._most):
            if self._count >= self._most:
                self._since = max(self._since, oldest + 1)
            self._count -= sum(max(1, len(use.attempts)) for use in self._by_second.pop(oldest).values())
            oldest = min(self._by_second, default=0)


def attempt_of(request: ReceivedRequest) -> str:
    """What tells an SDK's attempts to call an operation apart; "" for a client that doesn't say."""
    call = request.headers.get("amz-sdk-invocation-id", "")
    return f"{call} {request.headers.get('amz-sdk-request', '')}" if call else ""


def may_change(request: ReceivedRequest, body: bytes) -> bool:
    """Whether a request may change something, by its operation's name where it has one and by its method where not."""
    operation = _operation(request, body)
    return not operation.startswith(_READS) if operation else request.method not in ("GET", "HEAD")


def _operation(request: ReceivedRequest, body: bytes) -> str:
    """The operation's name: in a header, in the path (the CBOR protocol), or a parameter (the query protocols)."""
    if target := request.headers.get("x-amz-target"):
        return target.rpartition(".")[2]
    if "/operation/" in request.path:
        return request.path.rpartition("/")[2]
    is_form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    found = _ACTION.search(request.query.encode()) or (_ACTION.search(body) if is_form else None)
    return found[1].decode() if found else ""
