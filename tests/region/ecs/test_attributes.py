"""Attributes of container instances, placement by them, and StartTask, through boto3."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.region.api_region import ApiRegion

Until = Callable[..., None]
_numbers = itertools.count(1)
KIND = "container-instance"


@pytest.fixture(scope="module")
def ecs(api: ApiRegion) -> Any:
    return api.client("ecs")


@pytest.fixture(scope="module")
def family(ecs: Any) -> str:
    app = {"name": "app", "image": "steady", "memory": 100}
    ecs.register_task_definition(family="attributes", containerDefinitions=[app])
    return "attributes"


@pytest.fixture
def cluster(api: ApiRegion, ecs: Any, tmp_path: Path) -> str:
    """A cluster with two instances, the first of which has an attribute."""
    name = f"attributes{next(_numbers)}"
    ecs.create_cluster(clusterName=name)
    for number in (1, 2):
        api.add_instance(tmp_path, name, f"i-{name}{number}")
    first = arns_of(ecs, name)[0]
    ecs.put_attributes(cluster=name, attributes=[{"name": "rack", "value": "r1", "targetId": first}])
    return name


def arns_of(ecs: Any, cluster: str) -> list[str]:
    return sorted(ecs.list_container_instances(cluster=cluster)["containerInstanceArns"])


def listed(ecs: Any, cluster: str, **more: Any) -> list[tuple[str, str | None, str]]:
    pages = ecs.get_paginator("list_attributes").paginate(cluster=cluster, targetType=KIND, **more)
    return [(one["name"], one.get("value"), one["targetId"]) for page in pages for one in page["attributes"]]


def refusal(call: Callable[..., Any], **request: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as raised:
        call(**request)
    return raised.value.response["Error"]["Code"], raised.value.response["Error"]["Message"]


def test_attributes_are_put_listed_and_deleted(ecs: Any, cluster: str) -> None:
    first, second = arns_of(ecs, cluster)
    short = second.rpartition("/")[2]
    given = [
        {"name": "rack", "value": "r2", "targetId": short, "targetType": KIND},
        {"name": "ssd", "targetId": second},
    ]
    assert len(ecs.put_attributes(cluster=cluster, attributes=given)["attributes"]) == 2
    assert listed(ecs, cluster) == [("rack", "r1", first), ("rack", "r2", second), ("ssd", None, second)]
    assert listed(ecs, cluster, attributeName="rack", attributeValue="r2") == [("rack", "r2", second)]
    (described,) = ecs.describe_container_instances(cluster=cluster, containerInstances=[second])["containerInstances"]
    assert described["attributes"] == [{"name": "rack", "value": "r2"}, {"name": "ssd"}]
    ecs.delete_attributes(cluster=cluster, attributes=[{"name": "rack", "targetId": second}])
    assert listed(ecs, cluster, attributeName="rack") == [("rack", "r1", first)]


def test_attributes_that_are_refused(ecs: Any, cluster: str) -> None:
    first = arns_of(ecs, cluster)[0]

    def put(*attributes: dict[str, str]) -> str:
        return refusal(ecs.put_attributes, cluster=cluster, attributes=list(attributes))[0]

    assert put({"name": "ecs.ami-id", "value": "x", "targetId": first}) == "InvalidParameterException"
    assert put({"name": "a b", "targetId": first}) == "InvalidParameterException"
    assert put({"name": "a", "value": "x" * 129, "targetId": first}) == "InvalidParameterException"
    assert put({"name": "a", "targetId": "nosuch"}) == "TargetNotFoundException"
    assert put(*({"name": f"a{n}", "targetId": first} for n in range(11))) == "InvalidParameterException"
    assert put(*({"name": f"a{n}", "targetId": first} for n in range(10))) == "AttributeLimitExceededException"
    assert [name for name, _, _ in listed(ecs, cluster)] == ["rack"]


def test_tasks_go_where_constraints_allow(ecs: Any, cluster: str, family: str) -> None:
    first, second = arns_of(ecs, cluster)

    def run(**constraint: str) -> Any:
        return ecs.run_task(cluster=cluster, taskDefinition=family, count=3, placementConstraints=[constraint])

    for expression, expected in (("attribute:rack == r1", first), ("attribute:rack !exists", second)):
        found = run(type="memberOf", expression=expression)
        assert [task["containerInstanceArn"] for task in found["tasks"]] == [expected] * 3
    found = run(type="memberOf", expression="attribute:rack == r9")
    assert found["tasks"] == []
    assert {one["reason"] for one in found["failures"]} == {"MemberOf placement constraint unsatisfied."}
    distinct = {"placementConstraints": [{"type": "distinctInstance"}], "group": "mine"}
    found = ecs.run_task(cluster=cluster, taskDefinition=family, count=3, **distinct)
    assert {task["containerInstanceArn"] for task in found["tasks"]} == {first, second}
    assert [one["reason"] for one in found["failures"]] == ["DistinctInstance placement constraint unsatisfied."]


def test_constraint_of_a_service_and_of_its_task_definition(ecs: Any, cluster: str, until: Until) -> None:
    app = {"name": "app", "image": "steady", "memory": 100}
    rule = [{"type": "memberOf", "expression": "attribute:disk == ssd"}]
    ecs.register_task_definition(family="constrained", containerDefinitions=[app], placementConstraints=rule)
    constraints = [{"type": "distinctInstance"}]
    ecs.create_service(
        cluster=cluster, serviceName="db", taskDefinition="constrained", desiredCount=2,
        placementConstraints=constraints,
    )  # fmt: skip

    def service() -> Any:
        return ecs.describe_services(cluster=cluster, services=["db"])["services"][0]

    until(lambda: service()["events"])
    assert "Reason: attribute:disk == ssd" in service()["events"][0]["message"]
    assert service()["placementConstraints"] == constraints
    first, second = arns_of(ecs, cluster)
    for target in (first, second):
        ecs.put_attributes(cluster=cluster, attributes=[{"name": "disk", "value": "ssd", "targetId": target}])
    until(lambda: service()["runningCount"] == 2)
    arns = ecs.list_tasks(cluster=cluster, serviceName="db")["taskArns"]
    tasks = ecs.describe_tasks(cluster=cluster, tasks=arns)["tasks"]
    assert {task["containerInstanceArn"] for task in tasks} == {first, second}


@pytest.mark.parametrize(
    "constraint",
    [
        {"type": "memberOf", "expression": "agentVersion > 1"},
        {"type": "memberOf"},
        {"type": "distinctInstance", "expression": "attribute:rack exists"},
        {"type": "affinity"},
    ],
)
def test_constraint_that_the_region_cannot_follow_is_refused(
    ecs: Any, cluster: str, family: str, constraint: dict[str, str]
) -> None:
    own = {"cluster": cluster, "taskDefinition": family, "placementConstraints": [constraint]}
    app = {"name": "app", "image": "steady", "memory": 100}
    for call, request in (
        (ecs.run_task, own),
        (ecs.create_service, {**own, "serviceName": "x", "desiredCount": 0}),
        (
            ecs.register_task_definition,
            {"family": "x", "containerDefinitions": [app], "placementConstraints": [constraint]},
        ),
    ):
        code, message = refusal(call, **request)
        assert code == "InvalidParameterException"
        assert "Invalid placement constraint: " in message


def test_start_task_uses_the_chosen_instance(ecs: Any, cluster: str, family: str) -> None:
    first, second = arns_of(ecs, cluster)
    override = {"name": "app", "command": ["x"]}
    found = ecs.start_task(
        cluster=cluster, taskDefinition=family, containerInstances=[second, first.replace("i-", "j-") + "0"],
        startedBy="me", overrides={"containerOverrides": [override]},
    )  # fmt: skip
    (task,) = found["tasks"]
    assert (task["containerInstanceArn"], task["startedBy"], task["group"]) == (second, "me", f"family:{family}")
    assert task["overrides"]["containerOverrides"] == [override]
    assert [one["reason"] for one in found["failures"]] == ["MISSING"]
    ecs.update_container_instances_state(cluster=cluster, containerInstances=[second], status="DRAINING")
    assert ecs.start_task(cluster=cluster, taskDefinition=family, containerInstances=[second])["tasks"] == []
