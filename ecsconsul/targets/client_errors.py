"""Reads the answers of boto3's clients: lists that span several pages, and AWS's error codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

# botocore has retried by the time we see one of these:
# https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
_THROTTLING = frozenset({"Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException"})


def items_of(client: Any, operation: str, key: str, **request: Any) -> list[Any]:
    """The items under `key` in all pages of an operation's answer."""
    return [item for page in client.get_paginator(operation).paginate(**request) for item in page[key]]


def client_error() -> type[Exception]:
    """boto3's ClientError. An `except` clause only calls this once something is raised, so botocore isn't imported."""
    from botocore.exceptions import ClientError

    return ClientError  # type: ignore[no-any-return]


def any_client_error() -> tuple[type[Exception], ...]:
    """Everything that boto3's clients raise, also when there is no answer; evaluated like client_error."""
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError


def error_code(error: Exception) -> str:
    """AWS's error code; empty for any other exception."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def is_throttled(error: Exception) -> bool:
    """Whether AWS rejected the request because there were too many of them."""
    return error_code(error) in _THROTTLING


def unless_throttled(poll: Callable[[], T | None]) -> Callable[[], T | None]:
    """The same poll, which returns None (nothing yet) when AWS throttles it, so that waiting goes on."""

    def patient() -> T | None:
        try:
            return poll()
        except client_error() as error:
            if not is_throttled(error):
                raise
            return None

    return patient
