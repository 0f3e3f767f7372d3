"""Waits out an AWS that is asked too often: while something is waited for, that is no reason to give up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html, which botocore has tried by then
_TOO_OFTEN = frozenset({"Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException"})


def unless_throttled(look: Callable[[], T | None]) -> Callable[[], T | None]:
    """The same look, which sees nothing yet when AWS says that it is asked too often."""

    def patient() -> T | None:
        from botocore.exceptions import ClientError

        try:
            return look()
        except ClientError as error:
            if not is_throttled(error):
                raise
            return None

    return patient


def is_throttled(error: Exception) -> bool:
    """Whether a client's error says that it was asked too often."""
    return error_code(error) in _TOO_OFTEN


def error_code(error: Exception) -> str:
    """AWS's code of a client's error; empty when it has none."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
