"""What the lab's stack says of itself: what it was made with, and what came of it. Making it is the steps' work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...aws_tags import LAB_TAG, as_mapping


@dataclass(frozen=True)
class StackInfo:
    """A stack of the lab."""

    status: str
    parameters: dict[str, str]
    outputs: dict[str, str]

    @property
    def lives(self) -> bool:
        """Whether it has instances, or is about to: one whose creation failed is only told of."""
        return self.status not in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED")


def stack_info(cloudformation: Any, lab: str) -> StackInfo | None:
    """The lab's stack; None when there is none, or someone else's has its name."""
    from botocore.exceptions import ClientError

    try:
        found = cloudformation.describe_stacks(StackName=lab)["Stacks"]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    for stack in found:
        tags = as_mapping(stack.get("Tags"), key="Key", value="Value")
        if stack["StackStatus"] != "DELETE_COMPLETE" and tags.get(LAB_TAG) == lab:
            return StackInfo(
                stack["StackStatus"],
                as_mapping(stack.get("Parameters"), key="ParameterKey", value="ParameterValue"),
                as_mapping(stack.get("Outputs"), key="OutputKey", value="OutputValue"),
            )
    return None
