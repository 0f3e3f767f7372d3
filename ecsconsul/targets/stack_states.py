"""Folds CloudFormation's many stack states into the few that the lab acts on."""

from __future__ import annotations

from enum import Enum


class StackState(Enum):
    """What a stack's status means for the next step."""

    READY = "the last operation succeeded"
    PROGRESSING = "an operation is running and has not failed"
    REVERTING = "a rollback or a deletion is running"
    REVERTED = "the last operation failed, and the stack can be updated again"
    STUCK = "a rollback failed, and must be continued before anything else"
    DEAD = "the stack can only be deleted"

    @property
    def is_running(self) -> bool:
        """Whether an operation is running, so that CloudFormation rejects another one."""
        return self in (StackState.PROGRESSING, StackState.REVERTING)


# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html
# REVIEW_IN_PROGRESS: a change set created the stack, and nobody has executed it
_STATES = {
    StackState.READY: ("CREATE_COMPLETE", "UPDATE_COMPLETE"),
    StackState.PROGRESSING: ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"),
    StackState.STUCK: ("UPDATE_ROLLBACK_FAILED",),
    StackState.DEAD: (
        "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED", "REVIEW_IN_PROGRESS",
    ),
}  # fmt: skip
_BY_STATUS = {status: state for state, statuses in _STATES.items() for status in statuses}


def state_of(status: str) -> StackState:
    """The state that a stack's status stands for."""
    other = StackState.REVERTING if status.endswith("_IN_PROGRESS") else StackState.REVERTED
    return _BY_STATUS.get(status, other)
