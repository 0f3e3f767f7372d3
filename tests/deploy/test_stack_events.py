"""The events of a stack that has just been deleted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ecsconsul.deploy.stack_events import StackEvents


class Refusing:
    """A CloudFormation that refuses every request for events."""

    def __init__(self, words: str) -> None:
        self._words = words

    def get_paginator(self, name: str) -> Refusing:
        return self

    def paginate(self, **asked: Any) -> Iterator[Any]:
        raise ClientError({"Error": {"Code": "ValidationError", "Message": self._words}}, "DescribeStackEvents")


def test_deleted_stack_has_no_events() -> None:
    """The stack may be deleted between the requests for its status and for its events."""
    events = StackEvents(Refusing("Stack [blue] does not exist"), "blue")
    assert events.new() == []
    assert events.first_failure() is None


def test_other_errors_are_raised() -> None:
    with pytest.raises(ClientError, match="Rate exceeded"):
        StackEvents(Refusing("Rate exceeded"), "blue").new()
