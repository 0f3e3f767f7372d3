"""What the lab's stack says of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ecsconsul.targets.aws.stack_info import StackInfo, stack_info
from tests.targets.aws.test_preflight import make_stack

Account = Callable[[str], Any]


def test_a_stack_of_the_lab(account: Account) -> None:
    make_stack(account, "blue", InstanceCount="2")
    found = stack_info(account("cloudformation"), "blue")
    assert found == StackInfo("CREATE_COMPLETE", {"InstanceCount": "2"}, {})
    assert found.lives


def test_none_is_there_or_it_is_anothers(account: Account) -> None:
    cloudformation = account("cloudformation")
    assert stack_info(cloudformation, "blue") is None
    template = "Resources:\n  T:\n    Type: AWS::SNS::Topic\n"
    cloudformation.create_stack(StackName="blue", TemplateBody=template)
    assert stack_info(cloudformation, "blue") is None


@pytest.mark.parametrize(
    ("status", "lives"), [("ROLLBACK_COMPLETE", False), ("UPDATE_ROLLBACK_COMPLETE", True), ("CREATE_FAILED", False)]
)
def test_a_stack_whose_creation_failed_is_only_told_of(status: str, lives: bool) -> None:
    assert StackInfo(status, {}, {}).lives is lives
