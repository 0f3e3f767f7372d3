"""Rollouts and endpoints as AWS's own ECS describes them, from responses in the form that AWS documents."""

from __future__ import annotations

import pytest

from ecsconsul.config.lab import Lab, ServiceSpec
from ecsconsul.deploy.endpoints import Endpoint, endpoints_of
from ecsconsul.deploy.rollout import Rollout
from ecsconsul.deploy.service_poller import ServicePoller
from ecsconsul.errors import StepFailed
from tests.deploy.replayed_ecs import STARTED, replay
from tests.deploy.world import FakeTarget, RecordingReport

TASK_DEFINITION = "arn:aws:ecs:us-east-1:111122223333:task-definition/weather:2"


def await_stable(target: FakeTarget) -> tuple[str, list[str]]:
    service = ServiceSpec(name="weather", path="/weather")
    rollout = Rollout(Lab(name="blue"), service, TASK_DEFINITION, target, ServicePoller(target, "blue"))
    report = RecordingReport()
    return rollout.await_stable(report, STARTED), report.texts


def test_completed_deployment_is_stable() -> None:
    with replay("steady_state") as target:
        assert await_stable(target) == ("2/2 running", ["0/2 running", "2/2 running"])


@pytest.mark.parametrize(
    ("responses", "what", "why"),
    [
        (
            "no_room",
            "The service weather cannot be placed",
            [
                "(service weather) was unable to place a task because no container instance met all of its "
                "requirements. The closest matching (container-instance 4ffe0cf4a1b2c3d4e5f60718293a4b5c) has "
                "insufficient memory available. For more information, see the Troubleshooting section of the Amazon "
                "ECS Developer Guide."
            ],
        ),
        (
            "image_missing",
            "The service weather does not start",
            [
                "task 1dc5c17a: Task failed to start",
                "CannotPullContainerError: Error response from daemon: manifest for "
                "111122223333.dkr.ecr.us-east-1.amazonaws.com/blue/weather:0a1b2c3d not found: manifest unknown: "
                "Requested image not found",
                "its log is empty",
            ],
        ),
        (
            "log_group_missing",
            "The service weather does not start",
            [
                "task a1b2c3d4: ResourceInitializationError: failed to validate logger args: create stream has been "
                "retried 1 times: failed to create Cloudwatch log stream: ResourceNotFoundException: The specified log "
                "group does not exist.",
                "its log is empty",
            ],
        ),
        (
            "circuit_breaker",
            "The service weather does not start",
            [
                "task 1dc5c17a: Essential container in task exited",
                "weather exited with code 137",
                "OutOfMemoryError: Container killed due to memory usage",
                "its log is empty",
            ],
        ),
        (
            "unhealthy",
            "The service weather does not become healthy",
            ["task 2dc5c17a: Task failed container health checks", "weather exited with code 143", "its log is empty"],
        ),
    ],
)
def test_failed_deployment_names_the_root_cause(responses: str, what: str, why: list[str]) -> None:
    with replay(responses) as target, pytest.raises(StepFailed) as raised:
        await_stable(target)
    assert (raised.value.what, raised.value.why.splitlines()) == (what, why)


def test_endpoints_of_running_tasks() -> None:
    """A port is bound for IPv4 and IPv6; a task outside of services is none of theirs."""
    with replay("running_tasks") as target:
        found = [one for one in endpoints_of(target.client("ecs"), "blue") if one.service]
    assert found == [
        Endpoint("1dc5c17a422b4dc4b493371970c6c4d6", "weather", "i-0123456789abcdef1", frozenset({32768})),
        Endpoint("a1b2c3d4e5f60718293a4b5c6d7e8f90", "weather", "i-0123456789abcdef2", frozenset({32770})),
    ]
