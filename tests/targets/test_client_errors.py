"""AWS's error codes: what they mean, and that throttling does not end a wait."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from ecsconsul.targets.client_errors import error_code, is_throttled, unless_throttled


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "DescribeStacks")


def test_only_client_errors_have_a_code() -> None:
    assert error_code(refusal("ValidationError")) == "ValidationError"
    assert error_code(OSError("no route")) == ""


@pytest.mark.parametrize("code", ["Throttling", "ThrottlingException", "RequestLimitExceeded"])
def test_throttled_poll_sees_nothing_yet(code: str) -> None:
    def poll() -> str | None:
        raise refusal(code)

    assert is_throttled(refusal(code))
    assert unless_throttled(poll)() is None


def test_other_errors_and_answers_pass_through() -> None:
    def poll() -> str | None:
        raise refusal("AccessDenied")

    with pytest.raises(ClientError, match="AccessDenied"):
        unless_throttled(poll)()
    assert unless_throttled(lambda: "CREATE_COMPLETE")() == "CREATE_COMPLETE"
