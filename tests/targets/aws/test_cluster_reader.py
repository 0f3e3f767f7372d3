"""A cluster that exists is read whole, in an account, and nothing is written to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ecsconsul.errors import LabError, WrongUsage
from ecsconsul.importers.cluster import ClusterAnswers, import_cluster
from ecsconsul.importers.settle import settled
from ecsconsul.targets.aws.cluster_reader import ClusterReader
from ecsconsul.targets.aws.session import Session
from tests.importers.examples import FOLDER, lab_of

SERVICES = 12  # more than one DescribeServices takes


@pytest.fixture
def ecs(account: Callable[[str], Any]) -> Any:
    """A cluster with services."""
    ecs = account("ecs")
    ecs.create_cluster(clusterName="prod")
    container = {"name": "app", "image": "nginx", "memory": 128, "portMappings": [{"containerPort": 80}]}
    ecs.register_task_definition(family="web", containerDefinitions=[container])
    for number in range(SERVICES):
        ecs.create_service(cluster="prod", serviceName=f"web_{number}", taskDefinition="web", desiredCount=number)
    return ecs


def reader(name: str) -> ClusterReader:
    return ClusterReader(Session(None, None), name)


def test_all_services_are_read_with_their_task_definitions(ecs: Any) -> None:
    calls: list[str] = []
    session = Session(None, None)
    session.client("ecs").meta.events.register("before-call.ecs", lambda model, **_: calls.append(model.name))
    answers = ClusterReader(session, "prod").read()
    imported = settled(import_cluster(ClusterAnswers("prod", *answers)), FOLDER)
    lab = lab_of(imported)
    assert lab.name == "prod"
    assert {one.name: one.count for one in lab.services} == {f"web-{n}": n for n in range(SERVICES)}
    assert {one.image for one in lab.services} == {"nginx"}
    assert {name[:4] for name in calls} <= {"List", "Desc"}


def test_a_cluster_that_does_not_exist_says_which_there_are(ecs: Any) -> None:
    with pytest.raises(WrongUsage) as error:
        reader("stage").read()
    assert "there are: prod" in error.value.hint


def test_what_aws_refuses_is_an_error(ecs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(LabError, match="AWS doesn't answer"):
        reader("prod").read()
