"""Every status of CloudFormation has one of our states."""

from __future__ import annotations

import boto3
import pytest

from ecsconsul.targets.stack_states import StackState, state_of


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("CREATE_COMPLETE", StackState.READY),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", StackState.PROGRESSING),
        ("UPDATE_ROLLBACK_IN_PROGRESS", StackState.REVERTING),
        ("DELETE_IN_PROGRESS", StackState.REVERTING),
        ("UPDATE_ROLLBACK_COMPLETE", StackState.REVERTED),
        ("UPDATE_FAILED", StackState.REVERTED),
        ("UPDATE_ROLLBACK_FAILED", StackState.STUCK),
        ("ROLLBACK_COMPLETE", StackState.DEAD),
        ("REVIEW_IN_PROGRESS", StackState.DEAD),
    ],
)
def test_status_is_folded_into_a_state(status: str, state: StackState) -> None:
    assert state_of(status) is state


def test_every_status_in_progress_but_review_is_running() -> None:
    """REVIEW_IN_PROGRESS waits for somebody, and no operation runs."""
    client = boto3.client("cloudformation", region_name="eu-west-1")
    statuses = client.meta.service_model.shape_for("StackStatus").enum
    assert len(statuses) > 20
    running = {status for status in statuses if state_of(status).is_running}
    assert running == {status for status in statuses if status.endswith("_IN_PROGRESS")} - {"REVIEW_IN_PROGRESS"}
