"""Reads the lab's CloudFormation stack: its status, parameters and outputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...aws_tags import LAB_TAG, as_mapping
from ..client_errors import client_error
from ..stack_states import StackState, state_of

# what Consul demands of its clients (templates/consul-lab.yaml)
SECURITY_PARAMETER = "ConsulSecurity"
# the generation of the secrets with which its instances booted, if they were rotated
GENERATION_PARAMETER = "SecretsGeneration"


@dataclass(frozen=True)
class StackInfo:
    """A stack of the lab."""

    status: str
    parameters: dict[str, str]
    outputs: dict[str, str]
    # what the SSM parameters contained that its parameters name, when it was last updated:
    # https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_Parameter.html
    resolved: dict[str, str] = field(default_factory=dict)

    @property
    def lives(self) -> bool:
        """Whether it has instances or soon will. A dead stack, such as one whose creation failed, has none."""
        return state_of(self.status) is not StackState.DEAD

    @property
    def has_acls(self) -> bool:
        """Whether it lives and its Consul has ACLs; a stack of an earlier version hasn't."""
        return self.lives and SECURITY_PARAMETER in self.parameters


def stack_info(cloudformation: Any, lab: str) -> StackInfo | None:
    """The lab's stack; None if there is none, or if a stack of that name isn't tagged as the lab's."""
    try:
        found = cloudformation.describe_stacks(StackName=lab)["Stacks"]
    except client_error() as error:
        if "does not exist" in str(error):
            return None
        raise
    for stack in found:
        tags = as_mapping(stack.get("Tags"), key="Key", value="Value")
        if stack["StackStatus"] != "DELETE_COMPLETE" and tags.get(LAB_TAG) == lab:
            parameters = stack.get("Parameters") or []
            resolved = [one for one in parameters if one.get("ResolvedValue")]
            return StackInfo(
                stack["StackStatus"],
                as_mapping(parameters, key="ParameterKey", value="ParameterValue"),
                as_mapping(stack.get("Outputs"), key="OutputKey", value="OutputValue"),
                as_mapping(resolved, key="ParameterKey", value="ResolvedValue"),
            )
    return None
