"""What the operations of ECS's API share: its errors, names and pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MAX_PER_PAGE = 100


class ApiError(Exception):
    """An AWS error: a type and a message, sent with status 400."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def last(name_or_arn: str) -> str:
    """A resource's name: the last part of an ARN, or the name itself."""
    return name_or_arn.rpartition("/")[2]


def page(request: dict[str, Any], key: str, items: Sequence[Any], size: int) -> dict[str, Any]:
    """One page of a listing; the token is the index of the first item of the next page. Raises ApiError."""
    token, size = request.get("nextToken") or "0", request.get("maxResults", size)
    if not token.isdecimal():
        raise ApiError("InvalidParameterException", "Invalid token")
    if not 1 <= size <= MAX_PER_PAGE:
        raise ApiError("InvalidParameterException", f"maxResults should be between 1 and {MAX_PER_PAGE}.")
    start = int(token)
    found: dict[str, Any] = {key: list(items[start : start + size])}
    if start + size < len(items):
        found["nextToken"] = str(start + size)
    return found


def names(request: dict[str, Any], key: str, limit: int) -> list[str]:
    """The names or ARNs' last parts that a request asks for: one or more, up to ECS's limit. Raises ApiError."""
    given: list[str] = request.get(key) or []
    if not given:
        raise ApiError("InvalidParameterException", f"{key} cannot be empty.")
    if len(given) > limit:
        raise ApiError("InvalidParameterException", f"{key} cannot have more than {limit} elements.")
    return [last(name) for name in given]
