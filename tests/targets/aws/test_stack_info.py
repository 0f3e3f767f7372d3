"""Reading the lab's stack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ecsconsul.targets.aws.stack_info import StackInfo, stack_info
from tests.targets.aws.test_preflight import make_stack

Account = Callable[[str], Any]


def test_stack_of_the_lab_is_read(account: Account) -> None:
    make_stack(account, "blue", InstanceCount="2")
    found = stack_info(account("cloudformation"), "blue")
    assert found == StackInfo("CREATE_COMPLETE", {"InstanceCount": "2"}, {})
    assert found.lives


def test_missing_or_untagged_stack_is_none(account: Account) -> None:
    cloudformation = account("cloudformation")
    assert stack_info(cloudformation, "blue") is None
    template = "Resources:\n  T:\n    Type: AWS::SNS::Topic\n"
    cloudformation.create_stack(StackName="blue", TemplateBody=template)
    assert stack_info(cloudformation, "blue") is None


@pytest.mark.parametrize(
    ("status", "lives"),
    [("ROLLBACK_COMPLETE", False), ("UPDATE_ROLLBACK_COMPLETE", True), ("REVIEW_IN_PROGRESS", False)],
)
def test_dead_stack_does_not_live(status: str, lives: bool) -> None:
    assert StackInfo(status, {}, {}).lives is lives
