"""The cluster step, on moto and on the local region."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from ecsconsul.aws_tags import FINGERPRINT_TAG, LAB_TAG, as_mapping
from ecsconsul.config.lab import Lab
from ecsconsul.deploy.step import decide, fingerprint
from ecsconsul.deploy.step1_cluster import ClusterStep
from ecsconsul.errors import LabError, StepFailed
from tests.deploy.world import FakeTarget, RecordingReport, Runtime

LAB = Lab(name="blue")
NO_ROLE = "Unable to assume the service linked role. Please verify that the ECS service linked role exists."


def op(step: ClusterStep) -> str:
    return decide(step.desired(), step.inspect())


def test_absent_created_kept_deleted(target: FakeTarget, report: RecordingReport) -> None:
    step = ClusterStep(LAB, target)
    assert op(step) == "create"
    assert step.apply(None, report) == "ACTIVE"
    assert op(step) == "keep"
    assert step.destroy(report) == "deleted"
    assert op(step) == "create"
    assert step.destroy(report) == "absent"


class NewAccount:
    """An ECS whose service-linked role appears after some requests."""

    def __init__(self, refusals: int, code: str = "InvalidParameterException", words: str = NO_ROLE) -> None:
        self._refusals = refusals
        self._error = {"Error": {"Code": code, "Message": words}}

    def create_cluster(self, **asked: object) -> dict[str, dict[str, str]]:
        self._refusals -= 1
        if self._refusals >= 0:
            raise ClientError(self._error, "CreateCluster")
        return {"cluster": {"status": "ACTIVE"}}


def test_service_linked_role_is_awaited(report: RecordingReport) -> None:
    assert ClusterStep(LAB, FakeTarget(None, clients={"ecs": NewAccount(2)})).apply(None, report) == "ACTIVE"
    assert report.texts == ["waiting for ECS's service-linked role, which is new in this account"]


def test_missing_service_linked_role_fails(report: RecordingReport) -> None:
    with pytest.raises(StepFailed, match="can't be created") as raised:
        ClusterStep(LAB, FakeTarget(None, clients={"ecs": NewAccount(1000)})).apply(None, report)
    assert NO_ROLE in raised.value.why and "CreateServiceLinkedRole" in raised.value.hint


def test_other_error_fails_at_once(report: RecordingReport) -> None:
    refusing = NewAccount(1000, "AccessDeniedException", "not you")
    with pytest.raises(ClientError, match="not you"):
        ClusterStep(LAB, FakeTarget(None, clients={"ecs": refusing})).apply(None, report)


def test_tags_hold_lab_and_fingerprint(target: FakeTarget, report: RecordingReport) -> None:
    step = ClusterStep(LAB, target)
    step.apply(None, report)
    (cluster,) = target.client("ecs").describe_clusters(clusters=["blue"], include=["TAGS"])["clusters"]
    assert as_mapping(cluster["tags"]) == {LAB_TAG: "blue", FINGERPRINT_TAG: fingerprint(step.desired())}


def test_inactive_cluster_counts_as_absent(target: FakeTarget, report: RecordingReport) -> None:
    step = ClusterStep(LAB, target)
    step.apply(None, report)
    step.destroy(report)
    (shown,) = target.client("ecs").describe_clusters(clusters=["blue"])["clusters"]
    assert shown["status"] == "INACTIVE"
    assert step.inspect() is None
    step.apply(None, report)
    assert op(step) == "keep"


@pytest.mark.parametrize("tags", [[], [{"key": LAB_TAG, "value": "green"}]])
def test_foreign_cluster_is_refused(target: FakeTarget, report: RecordingReport, tags: list[dict[str, str]]) -> None:
    target.client("ecs").create_cluster(clusterName="blue", tags=tags)
    target.requests.clear()
    step = ClusterStep(LAB, target)
    with pytest.raises(LabError, match="this lab did not make it"):
        step.inspect()
    with pytest.raises(LabError, match="this lab did not make it"):
        step.destroy(report)
    assert target.writes() == []


def test_cluster_with_a_foreign_service_is_not_deleted(region: FakeTarget, report: RecordingReport) -> None:
    """ECS's error names neither the service nor a fix; the step's does."""
    step = ClusterStep(LAB, region)
    step.apply(None, report)
    ecs = region.client("ecs")
    container = {"name": "x", "image": "x", "memory": 4}
    ecs.register_task_definition(family="mine", containerDefinitions=[container])
    ecs.create_service(cluster="blue", serviceName="my-own", taskDefinition="mine", desiredCount=0)
    with pytest.raises(LabError) as raised:
        step.destroy(report)
    assert "my-own" in raised.value.why
    assert "delete-service" in raised.value.hint
    assert op(step) == "keep"


def test_leaving_instances_are_awaited(world: Runtime, region: FakeTarget, report: RecordingReport) -> None:
    """They were terminated with the stack; ECS notices a little later."""
    step = ClusterStep(LAB, region)
    step.apply(None, report)
    world.add_instance("blue")

    class Leaving(RecordingReport):
        def wait(self, seconds: float) -> None:
            world.ecs.remove_instance("i-1")

    leaving = Leaving()
    assert step.destroy(leaving) == "deleted"
    assert leaving.texts == ["ECS isn't ready to delete the cluster: ClusterContainsContainerInstancesException"]


def test_instance_that_never_leaves_fails(world: Runtime, region: FakeTarget, report: RecordingReport) -> None:
    step = ClusterStep(LAB, region)
    step.apply(None, report)
    world.add_instance("blue")
    with pytest.raises(StepFailed) as raised:
        step.destroy(report)
    assert raised.value.what == "The cluster can't be deleted"
    assert "ClusterContainsContainerInstancesException" in raised.value.why
