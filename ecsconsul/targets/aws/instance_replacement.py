"""Replaces the instances of a lab one by one, so that they boot with its new secrets: an update of its stack."""

from __future__ import annotations

import time
from typing import Any

from ...aws_tags import as_items
from ...errors import LabError
from ...polling import PollingPolicy, poll_until
from ..base import Say
from ..client_errors import unless_throttled
from ..stack_states import StackState, state_of
from .stack_info import GENERATION_PARAMETER, StackInfo, stack_info


def replace_instances(cloudformation: Any, lab: str, generation: str, polling: PollingPolicy, say: Say) -> None:
    """Update the stack until its instances have the secrets of this generation; returns at once if they have.

    Raises LabError if there is no stack, or if the update fails.
    """
    stack = _stable(cloudformation, lab, polling)
    if stack.parameters.get(GENERATION_PARAMETER) == generation:
        return
    say("replacing the instances, one by one")
    kept = {name: value for name, value in stack.parameters.items() if name != GENERATION_PARAMETER}
    cloudformation.update_stack(
        StackName=lab,
        UsePreviousTemplate=True,
        Parameters=[
            *({"ParameterKey": name, "UsePreviousValue": True} for name in kept),
            *as_items({GENERATION_PARAMETER: generation}, key="ParameterKey", value="ParameterValue"),
        ],
        Capabilities=["CAPABILITY_IAM"],
    )
    replaced = _stable(cloudformation, lab, polling)
    if replaced.parameters.get(GENERATION_PARAMETER) != generation or "ROLLBACK" in replaced.status:
        raise _failed(lab, replaced.status)


def _stable(cloudformation: Any, lab: str, polling: PollingPolicy) -> StackInfo:
    """The stack once nothing changes it."""

    def stable() -> StackInfo | None:
        found = stack_info(cloudformation, lab)
        if found is None or state_of(found.status) is StackState.DEAD:
            raise _failed(lab, found.status if found else "there is no stack")
        return None if state_of(found.status).is_running else found

    try:
        return poll_until(unless_throttled(stable), polling, time.sleep)
    except TimeoutError as error:
        raise _failed(lab, str(error)) from error


def _failed(lab: str, why: str) -> LabError:
    return LabError(
        "The instances could not be replaced",
        where=f"stack {lab}",
        why=why,
        hint="fix the cause and run `ecsconsul rotate` again: both generations are valid until it has finished",
    )
