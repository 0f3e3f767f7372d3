"""Decides who may read the dashboard: a browser with a cookie that it got for a token which works once.

Every program of this machine can connect to loopback, whichever user runs it, and so can every web page in the user's
browser. Hence
- a request's Host must be this server's own, so that a name that an attacker points to 127.0.0.1 gets nothing,
- Origin and Sec-Fetch-Site, which browsers set and pages can't, must be this page's own,
- without the cookie there is nothing but a refusal. The cookie is HttpOnly and SameSite=Strict, and belongs to a path
  that nobody else knows: cookies don't know ports, and other servers on 127.0.0.1 must not get it.
https://developer.mozilla.org/en-US/docs/Web/HTTP/Guides/Cookies, https://www.w3.org/TR/fetch-metadata/
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from enum import Enum
from http.cookies import CookieError, SimpleCookie

COOKIE = "ecsconsul"
ENTRANCE = "/open/"
# 256 bits
SECRET_BYTES = 32


class Decision(Enum):
    """What to do with a request."""

    SERVE = "serve"
    # the token was right: give it the cookie
    ADMIT = "admit"
    REFUSE = "refuse"


class Access:
    """The secrets of one dashboard on one port; safe to share between threads."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._lock = threading.Lock()
        self._token = secrets.token_urlsafe(SECRET_BYTES)
        self._cookie = secrets.token_urlsafe(SECRET_BYTES)
        self.room = f"/{secrets.token_urlsafe(SECRET_BYTES)}/"

    @property
    def url(self) -> str:
        """Opens the dashboard once."""
        return f"http://127.0.0.1:{self._port}{ENTRANCE}{self._token}"

    @property
    def set_cookie(self) -> str:
        """The value of Set-Cookie for a browser that is admitted."""
        return f"{COOKIE}={self._cookie}; Path={self.room}; HttpOnly; SameSite=Strict"

    def decide(self, path: str, headers: Mapping[str, str]) -> Decision:
        """What to do with a GET of this path. A token that is right won't be the next time."""
        own = (f"127.0.0.1:{self._port}", f"localhost:{self._port}")
        host = headers.get("Host", "")
        if host not in own or headers.get("Origin", f"http://{host}") != f"http://{host}":
            return Decision.REFUSE
        if path.startswith(ENTRANCE):
            return Decision.ADMIT if self._take(path.removeprefix(ENTRANCE)) else Decision.REFUSE
        # none: typed, or from another program; older browsers don't say
        if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            return Decision.REFUSE
        known = path.startswith(self.room) and _equal(_cookie(headers.get("Cookie", "")), self._cookie)
        return Decision.SERVE if known else Decision.REFUSE

    def _take(self, token: str) -> bool:
        with self._lock:
            if not _equal(token, self._token):
                return False
            self._token = secrets.token_urlsafe(SECRET_BYTES)
            return True


def _equal(given: str, expected: str) -> bool:
    """Compared in a time that says nothing about where they differ."""
    return secrets.compare_digest(given.encode(errors="replace"), expected.encode())


def _cookie(header: str) -> str:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""
