"""ECS's API through boto3: shapes, errors, pages, and what each request starts.

moto and the control loop are real, the containers are fake. What is expected follows
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/Welcome.html
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.region.api_region import ApiRegion

Until = Callable[..., None]
_numbers = itertools.count(1)
SOON: Any = {"Delay": 0.05, "MaxAttempts": 1200}


@pytest.fixture(scope="module")
def ecs(api: ApiRegion) -> Any:
    return api.client("ecs")


@pytest.fixture
def cluster(api: ApiRegion, ecs: Any, tmp_path: Path) -> str:
    """A cluster of the test's own, with two instances."""
    name = f"lab{next(_numbers)}"
    ecs.create_cluster(clusterName=name)
    for number in (1, 2):
        api.add_instance(tmp_path, name, f"i-{name}{number}")
    return name


@pytest.fixture(scope="module")
def families(ecs: Any) -> Any:
    """The ARNs of task definitions that run, exit at once, are too big for any instance, or ignore SIGTERM."""

    def register(family: str, image: str = "steady", memory: int = 200, **more: Any) -> str:
        app = {"name": "app", "image": image, "cpu": 100, "memory": memory, "essential": True, **more}
        found = ecs.register_task_definition(family=family, containerDefinitions=[app])
        return str(found["taskDefinition"]["taskDefinitionArn"])

    return SimpleNamespace(
        v1=register("api-weather"),
        v2=register("api-weather"),
        job=register("job", "crash:0"),
        big=register("big", memory=9000),
        half=register("half", memory=2100),
        stubborn=register("stubborn", "stubborn", stopTimeout=600),
    )


@pytest.fixture
def service(ecs: Any, cluster: str, families: Any, until: Until) -> dict[str, Any]:
    """A service with two running tasks."""
    ecs.create_service(cluster=cluster, serviceName="weather", taskDefinition=families.v1, desiredCount=2)
    return await_stable(ecs, cluster, until)


def described(ecs: Any, cluster: str, **more: Any) -> dict[str, Any]:
    (found,) = ecs.describe_services(cluster=cluster, services=["weather"], **more)["services"]
    return dict(found)


def await_stable(ecs: Any, cluster: str, until: Until) -> dict[str, Any]:
    def is_stable() -> bool:
        found = described(ecs, cluster)
        one = len(found["deployments"]) == 1 and found["deployments"][0]["rolloutState"] == "COMPLETED"
        return one and found["runningCount"] == found["desiredCount"]

    until(is_stable)
    return described(ecs, cluster)


def refused(call: Callable[..., Any], **arguments: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
    return answer["Error"]["Code"], answer["Error"]["Message"]


# services


def test_create_service_returns_the_service_and_starts_its_tasks(
    ecs: Any, cluster: str, families: Any, until: Until
) -> None:
    before = dt.datetime.now(dt.timezone.utc)
    tags = [{"key": "team", "value": "weather"}]
    created = ecs.create_service(
        cluster=cluster, serviceName="weather", taskDefinition=families.v1, desiredCount=2, launchType="EC2", tags=tags
    )["service"]
    assert created["serviceArn"] == f"arn:aws:ecs:us-east-1:123456789012:service/{cluster}/weather"
    assert created["clusterArn"].endswith(f":cluster/{cluster}")
    assert (created["status"], created["desiredCount"], created["runningCount"]) == ("ACTIVE", 2, 0)
    assert created["taskDefinition"] == families.v1
    rounding = dt.timedelta(milliseconds=1)
    assert before - rounding <= created["createdAt"] <= dt.datetime.now(dt.timezone.utc) + rounding
    assert created["tags"] == tags
    (deployment,) = created["deployments"]
    assert (deployment["status"], deployment["rolloutState"], deployment["desiredCount"]) == (
        "PRIMARY",
        "IN_PROGRESS",
        2,
    )
    assert deployment["id"].startswith("ecs-svc/")
    now = await_stable(ecs, cluster, until)
    assert (now["runningCount"], now["pendingCount"]) == (2, 0)
    assert now["deployments"][0]["runningCount"] == 2
    assert now["events"][0]["message"] == "(service weather) has reached a steady state."
    assert isinstance(now["events"][0]["createdAt"], dt.datetime)
    assert "tags" not in now, "only when requested"
    assert described(ecs, cluster, include=["TAGS"])["tags"] == tags


def test_boto3_waiters_see_a_service_become_stable_and_inactive(ecs: Any, cluster: str, families: Any) -> None:
    ecs.create_service(cluster=cluster, serviceName="weather", taskDefinition=families.v1, desiredCount=1)
    ecs.get_waiter("services_stable").wait(cluster=cluster, services=["weather"], WaiterConfig=SOON)
    ecs.delete_service(cluster=cluster, service="weather", force=True)
    ecs.get_waiter("services_inactive").wait(cluster=cluster, services=["weather"], WaiterConfig=SOON)


@pytest.mark.usefixtures("service")
def test_new_count_scales_without_a_deployment(ecs: Any, cluster: str, until: Until) -> None:
    before = described(ecs, cluster)["deployments"][0]["id"]
    answer = ecs.update_service(cluster=cluster, service="weather", desiredCount=4)["service"]
    assert answer["desiredCount"] == 4
    assert answer["runningCount"] == 2, "the count of running tasks, not the desired count"
    until(lambda: described(ecs, cluster)["runningCount"] == 4)
    assert [d["id"] for d in described(ecs, cluster)["deployments"]] == [before]


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize("forced", [False, True])
def test_new_definition_or_force_starts_a_deployment(
    ecs: Any, cluster: str, families: Any, until: Until, forced: bool
) -> None:
    arguments = {"forceNewDeployment": True} if forced else {"taskDefinition": families.v2}
    old = set(ecs.list_tasks(cluster=cluster, serviceName="weather")["taskArns"])
    new, before = ecs.update_service(cluster=cluster, service="weather", **arguments)["service"]["deployments"]
    assert (new["status"], before["status"], before["desiredCount"]) == ("PRIMARY", "ACTIVE", 0)
    after = await_stable(ecs, cluster, until)
    assert after["taskDefinition"] == (families.v1 if forced else families.v2)
    assert not old & set(ecs.list_tasks(cluster=cluster, serviceName="weather")["taskArns"])


def test_same_definition_starts_no_deployment(ecs: Any, cluster: str, families: Any, service: Any) -> None:
    ecs.update_service(cluster=cluster, service=service["serviceArn"], taskDefinition="api-weather:1")
    assert [d["id"] for d in described(ecs, cluster)["deployments"]] == [service["deployments"][0]["id"]]


def test_delete_service_needs_force_and_drains(
    api: ApiRegion, ecs: Any, cluster: str, families: Any, until: Until
) -> None:
    ecs.create_service(cluster=cluster, serviceName="weather", taskDefinition=families.stubborn, desiredCount=2)
    await_stable(ecs, cluster, until)
    assert refused(ecs.delete_service, cluster=cluster, service="weather") == (
        "InvalidParameterException",
        "The service cannot be stopped while it is scaled above 0.",
    )
    deleted = ecs.delete_service(cluster=cluster, service="weather", force=True)["service"]
    assert (deleted["status"], deleted["desiredCount"]) == ("DRAINING", 0)
    assert ecs.list_services(cluster=cluster)["serviceArns"] == [], "no longer listed"
    again = {"cluster": cluster, "serviceName": "weather", "taskDefinition": families.v1, "desiredCount": 1}
    assert refused(ecs.create_service, **again) == (
        "InvalidParameterException",
        "Unable to Start a service that is still Draining.",
    )
    assert refused(ecs.update_service, cluster=cluster, service="weather", desiredCount=1)[0] == (
        "ServiceNotActiveException"
    )
    api.runtime.kill("stubborn")
    until(lambda: described(ecs, cluster)["status"] == "INACTIVE")
    assert described(ecs, cluster)["deployments"] == []
    assert refused(ecs.update_service, cluster=cluster, service="weather", desiredCount=1)[0] == (
        "ServiceNotActiveException"
    )
    assert ecs.create_service(**again)["service"]["status"] == "ACTIVE", "the name is free again"


def test_missing_service_is_a_failure_when_described_and_an_error_elsewhere(ecs: Any, cluster: str) -> None:
    found = ecs.describe_services(cluster=cluster, services=["nothing"])
    assert found["services"] == []
    (failure,) = found["failures"]
    assert failure == {"arn": f"arn:aws:ecs:us-east-1:123456789012:service/{cluster}/nothing", "reason": "MISSING"}
    for call, arguments in (
        (ecs.update_service, {"service": "nothing"}),
        (ecs.delete_service, {"service": "nothing"}),
        (ecs.list_tasks, {"serviceName": "nothing"}),
    ):
        assert refused(call, cluster=cluster, **arguments) == ("ServiceNotFoundException", "Service not found.")


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("create_service", {"serviceName": "weather", "taskDefinition": "api-weather"}),
        ("describe_services", {"services": ["weather"]}),
        ("list_services", {}),
        ("list_tasks", {}),
        ("run_task", {"taskDefinition": "api-weather"}),
        ("stop_task", {"task": "t"}),
        ("list_container_instances", {}),
    ],
)
def test_missing_cluster_is_an_error(ecs: Any, operation: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ecs.exceptions.ClusterNotFoundException, match=r"Cluster not found\."):
        getattr(ecs, operation)(cluster="nowhere", **arguments)


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"taskDefinition": "api-weather:99"}, "ClientException", "TaskDefinition not found."),
        ({"taskDefinition": "nothing"}, "ClientException", "TaskDefinition not found."),
        ({"desiredCount": -1}, "InvalidParameterException", "desiredCount cannot be negative."),
        ({"schedulingStrategy": "DAEMON"}, "InvalidParameterException", "does not support a desired count"),
        ({"launchType": "FARGATE"}, "InvalidParameterException", "launchType EC2 only, not FARGATE"),
        ({"deploymentController": {"type": "EXTERNAL"}}, "InvalidParameterException", "ECS only, not EXTERNAL"),
        ({"serviceName": "../../etc"}, "InvalidParameterException", "letters (uppercase and lowercase)"),
        (
            {"deploymentConfiguration": {"minimumHealthyPercent": 100, "maximumPercent": 100}},
            "InvalidParameterException",
            "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments.",
        ),
        ({"deploymentConfiguration": {"minimumHealthyPercent": 101}}, "InvalidParameterException", "between 0 and 100"),
        ({"deploymentConfiguration": {"maximumPercent": 99}}, "InvalidParameterException", "100 or more"),
    ],
)
def test_create_service_refuses_unsupported_requests(
    ecs: Any, cluster: str, change: dict[str, Any], code: str, message: str, families: Any
) -> None:
    arguments = {
        "cluster": cluster,
        "serviceName": "weather",
        "taskDefinition": families.v1,
        "desiredCount": 1,
        **change,
    }
    found = refused(ecs.create_service, **arguments)
    assert found[0] == code
    assert message in found[1]
    assert ecs.list_services(cluster=cluster)["serviceArns"] == []


@pytest.mark.usefixtures("service")
def test_existing_service_is_not_created_again(ecs: Any, cluster: str, families: Any) -> None:
    assert refused(ecs.create_service, cluster=cluster, serviceName="weather", taskDefinition=families.v1)[1] == (
        "Creation of service was not idempotent."
    )


def test_definition_with_an_invalid_size_is_refused(ecs: Any, cluster: str, service: Any, until: Until) -> None:
    """Placement computes with sizes, so one that isn't a number would break the control loop."""
    app = {"name": "app", "image": "steady", "memory": 8}
    ecs.register_task_definition(family="odd", containerDefinitions=[app], cpu="lots", memory="8")
    found = refused(ecs.create_service, cluster=cluster, serviceName="odd", taskDefinition="odd", desiredCount=1)
    assert found[0] == "ClientException"
    ecs.update_service(cluster=cluster, service="weather", desiredCount=3)
    until(lambda: described(ecs, cluster)["runningCount"] == 3)


def test_listings_are_paginated(ecs: Any, cluster: str, families: Any) -> None:
    for number in range(12):
        ecs.create_service(cluster=cluster, serviceName=f"s{number:02}", taskDefinition=families.v1, desiredCount=0)
    first = ecs.list_services(cluster=cluster)
    assert len(first["serviceArns"]) == 10, "the page size of ListServices"
    rest = ecs.list_services(cluster=cluster, nextToken=first["nextToken"])
    assert "nextToken" not in rest
    names = [arn.rpartition("/")[2] for arn in first["serviceArns"] + rest["serviceArns"]]
    assert names == [f"s{number:02}" for number in range(12)]
    pages = ecs.get_paginator("list_services").paginate(cluster=cluster, PaginationConfig={"PageSize": 5})
    assert [len(page["serviceArns"]) for page in pages] == [5, 5, 2]
    assert refused(ecs.list_services, cluster=cluster, nextToken="elsewhere")[0] == "InvalidParameterException"
    for size in (0, 101):
        assert refused(ecs.list_services, cluster=cluster, maxResults=size)[0] == "InvalidParameterException"
    many = [f"s{number}" for number in range(11)]
    assert refused(ecs.describe_services, cluster=cluster, services=many)[0] == "InvalidParameterException"
    assert refused(ecs.describe_services, cluster=cluster, services=[])[0] == "InvalidParameterException"


# tasks


def test_list_tasks_filters(ecs: Any, cluster: str, families: Any, service: Any, until: Until) -> None:
    mine = set(ecs.list_tasks(cluster=cluster, serviceName="weather")["taskArns"])
    (job,) = ecs.run_task(cluster=cluster, taskDefinition="api-weather:2", startedBy="me")["tasks"]
    assert set(ecs.list_tasks(cluster=cluster)["taskArns"]) == mine | {job["taskArn"]}
    assert ecs.list_tasks(cluster=cluster, startedBy="me")["taskArns"] == [job["taskArn"]]
    assert set(ecs.list_tasks(cluster=cluster, family="api-weather")["taskArns"]) == mine | {job["taskArn"]}
    assert ecs.list_tasks(cluster=cluster, family="nothing")["taskArns"] == []
    at = [
        set(ecs.list_tasks(cluster=cluster, containerInstance=arn)["taskArns"])
        for arn in ecs.list_container_instances(cluster=cluster)["containerInstanceArns"]
    ]
    assert at[0] | at[1] == mine | {job["taskArn"]}
    assert not at[0] & at[1]
    ecs.stop_task(cluster=cluster, task=job["taskArn"], reason="enough")
    assert ecs.list_tasks(cluster=cluster, startedBy="me")["taskArns"] == [], "its desired status is STOPPED"
    assert ecs.list_tasks(cluster=cluster, desiredStatus="STOPPED")["taskArns"] == [job["taskArn"]]


def test_task_from_start_to_stop(ecs: Any, cluster: str, families: Any, until: Until) -> None:
    def now() -> dict[str, Any]:
        return dict(ecs.describe_tasks(cluster=cluster, tasks=[arn.rpartition("/")[2]], include=["TAGS"])["tasks"][0])

    tags = [{"key": "why", "value": "test"}]
    (created,) = ecs.run_task(cluster=cluster, taskDefinition=families.v1, tags=tags, group="mine")["tasks"]
    arn = created["taskArn"]
    assert created["lastStatus"] in ("PENDING", "RUNNING")
    until(lambda: now()["lastStatus"] == "RUNNING")
    running = now()
    assert (running["desiredStatus"], running["group"], running["launchType"]) == ("RUNNING", "mine", "EC2")
    assert running["tags"] == tags
    assert running["createdAt"] <= running["startedAt"]
    assert "stopCode" not in running
    (container,) = running["containers"]
    assert (container["name"], container["lastStatus"], container["image"]) == ("app", "RUNNING", "steady")
    assert "exitCode" not in container
    stopping = ecs.stop_task(cluster=cluster, task=arn, reason="enough")["task"]
    assert stopping["desiredStatus"] == "STOPPED"
    until(lambda: now()["lastStatus"] == "STOPPED")
    stopped = now()
    assert (stopped["stopCode"], stopped["stoppedReason"]) == ("UserInitiated", "enough")
    assert stopped["containers"][0]["exitCode"] == 143
    assert running["startedAt"] <= stopped["stoppingAt"] <= stopped["stoppedAt"]
    assert ecs.stop_task(cluster=cluster, task=arn)["task"]["stoppedReason"] == "enough", "stopping twice is fine"


def test_stopped_task_of_a_service_is_replaced(ecs: Any, cluster: str, service: Any, until: Until) -> None:
    first, _ = ecs.list_tasks(cluster=cluster)["taskArns"]
    ecs.stop_task(cluster=cluster, task=first)
    until(lambda: first not in ecs.list_tasks(cluster=cluster)["taskArns"])
    until(lambda: described(ecs, cluster)["runningCount"] == 2)


def test_missing_task(ecs: Any, cluster: str) -> None:
    found = ecs.describe_tasks(cluster=cluster, tasks=["nothing"])
    assert [failure["reason"] for failure in found["failures"]] == ["MISSING"]
    assert refused(ecs.stop_task, cluster=cluster, task="nothing") == (
        "InvalidParameterException",
        "The referenced task was not found.",
    )
    assert refused(ecs.describe_tasks, cluster=cluster, tasks=[])[0] == "InvalidParameterException"


def test_run_task_passes_overrides_to_the_container(api: ApiRegion, ecs: Any, cluster: str, families: Any) -> None:
    override = {"name": "app", "command": ["other"], "environment": [{"name": "A", "value": "1"}]}
    (task,) = ecs.run_task(cluster=cluster, taskDefinition=families.job, overrides={"containerOverrides": [override]})[
        "tasks"
    ]
    task_id = task["taskArn"].rpartition("/")[2]
    ecs.get_waiter("tasks_stopped").wait(cluster=cluster, tasks=[task_id], WaiterConfig=SOON)
    assert api.runtime.overrides[task_id] == override
    (ended,) = ecs.describe_tasks(cluster=cluster, tasks=[task_id])["tasks"]
    assert ended["overrides"]["containerOverrides"] == [override]
    assert (ended["stopCode"], ended["containers"][0]["exitCode"]) == ("EssentialContainerExited", 0)
    wrong = {"containerOverrides": [{"name": "nobody"}]}
    assert refused(ecs.run_task, cluster=cluster, taskDefinition=families.job, overrides=wrong) == (
        "InvalidParameterException",
        "Override for container named nobody is not a container in the TaskDefinition.",
    )


def test_run_task_reports_tasks_that_cannot_be_placed(ecs: Any, cluster: str, families: Any) -> None:
    found = ecs.run_task(cluster=cluster, taskDefinition=families.big, count=2)
    assert found["tasks"] == []
    assert [failure["reason"] for failure in found["failures"]] == ["RESOURCE:MEMORY", "RESOURCE:MEMORY"]
    ecs.create_cluster(clusterName="empty")
    assert refused(ecs.run_task, cluster="empty", taskDefinition=families.v1) == (
        "InvalidParameterException",
        "No Container Instances were found in your cluster.",
    )
    for count in (0, 11):
        assert refused(ecs.run_task, cluster=cluster, taskDefinition=families.v1, count=count)[0] == (
            "InvalidParameterException"
        )


# container instances


def test_container_instances_show_remaining_resources(ecs: Any, cluster: str, service: Any) -> None:
    arns = ecs.list_container_instances(cluster=cluster)["containerInstanceArns"]
    found = ecs.describe_container_instances(cluster=cluster, containerInstances=[*arns, "nothing"])
    assert [failure["reason"] for failure in found["failures"]] == ["MISSING"]
    assert len(found["containerInstances"]) == 2
    for one in found["containerInstances"]:
        assert (one["status"], one["agentConnected"], one["runningTasksCount"]) == ("ACTIVE", True, 1)
        resources = [
            {r["name"]: r["integerValue"] for r in one[key]} for key in ("registeredResources", "remainingResources")
        ]
        assert resources == [{"CPU": 2048, "MEMORY": 4096}, {"CPU": 1948, "MEMORY": 3896}]
        assert isinstance(one["registeredAt"], dt.datetime)
        assert one["ec2InstanceId"].startswith("i-")


def test_draining_instance_empties_and_can_be_activated(ecs: Any, cluster: str, service: Any, until: Until) -> None:
    first, second = ecs.list_container_instances(cluster=cluster)["containerInstanceArns"]
    arguments = {"cluster": cluster, "containerInstances": [first]}
    answer = ecs.update_container_instances_state(status="DRAINING", **arguments)
    assert [one["status"] for one in answer["containerInstances"]] == ["DRAINING"]
    assert ecs.list_container_instances(cluster=cluster, status="ACTIVE")["containerInstanceArns"] == [second]
    until(lambda: not ecs.list_tasks(cluster=cluster, containerInstance=first)["taskArns"])
    assert len(ecs.list_tasks(cluster=cluster, containerInstance=second)["taskArns"]) == 2
    ecs.update_container_instances_state(status="ACTIVE", **arguments)
    ecs.update_service(cluster=cluster, service="weather", desiredCount=3)
    until(lambda: len(ecs.list_tasks(cluster=cluster, containerInstance=first)["taskArns"]) == 1)
    assert (
        refused(ecs.update_container_instances_state, status="REGISTERING", **arguments)[0]
        == "InvalidParameterException"
    )


def test_state_of_unknown_instances_is_a_failure(ecs: Any, cluster: str) -> None:
    (first, _) = ecs.list_container_instances(cluster=cluster)["containerInstanceArns"]
    unknown = first[:-32] + "0" * 31 + "9"
    answer = ecs.update_container_instances_state(
        cluster=cluster, containerInstances=[first, unknown], status="DRAINING"
    )
    assert [one["containerInstanceArn"] for one in answer["containerInstances"]] == [first]
    assert answer["failures"] == [{"arn": unknown, "reason": "MISSING"}]
    for instances in ([], [first] * 11):
        code, _ = refused(
            ecs.update_container_instances_state, cluster=cluster, containerInstances=instances, status="ACTIVE"
        )
        assert code == "InvalidParameterException"


def test_no_task_is_placed_on_a_draining_instance(ecs: Any, cluster: str, families: Any) -> None:
    arns = ecs.list_container_instances(cluster=cluster)["containerInstanceArns"]
    ecs.update_container_instances_state(cluster=cluster, containerInstances=arns[:1], status="DRAINING")
    placed = ecs.run_task(cluster=cluster, taskDefinition=families.v1, count=3)["tasks"]
    assert {task["containerInstanceArn"] for task in placed} == {arns[1]}
    ecs.update_container_instances_state(cluster=cluster, containerInstances=arns, status="DRAINING")
    answer = ecs.run_task(cluster=cluster, taskDefinition=families.v1)
    assert (answer["tasks"], len(answer["failures"])) == ([], 1)


def test_draining_without_room_waits_and_says_so(
    api: ApiRegion, ecs: Any, cluster: str, families: Any, until: Until, tmp_path: Path
) -> None:
    first, _ = ecs.list_container_instances(cluster=cluster)["containerInstanceArns"]
    ecs.create_service(cluster=cluster, serviceName="weather", taskDefinition=families.half, desiredCount=2)
    await_stable(ecs, cluster, until)
    ecs.update_container_instances_state(cluster=cluster, containerInstances=[first], status="DRAINING")
    until(lambda: "was unable to place a task" in described(ecs, cluster)["events"][0]["message"])
    assert len(ecs.list_tasks(cluster=cluster, containerInstance=first)["taskArns"]) == 1
    api.add_instance(tmp_path, cluster, f"i-{cluster}3")
    until(lambda: not ecs.list_tasks(cluster=cluster, containerInstance=first)["taskArns"])
    now = await_stable(ecs, cluster, until)
    until(lambda: described(ecs, cluster)["events"][0]["message"].endswith("has reached a steady state."))
    assert now["runningCount"] == 2


def test_draining_stops_tasks_first_where_the_minimum_allows(
    ecs: Any, cluster: str, families: Any, until: Until
) -> None:
    first, _ = ecs.list_container_instances(cluster=cluster)["containerInstanceArns"]
    half = {"minimumHealthyPercent": 50, "maximumPercent": 200}
    ecs.create_service(
        cluster=cluster,
        serviceName="weather",
        taskDefinition=families.half,
        desiredCount=2,
        deploymentConfiguration=half,
    )
    await_stable(ecs, cluster, until)
    ecs.update_container_instances_state(cluster=cluster, containerInstances=[first], status="DRAINING")
    until(lambda: described(ecs, cluster)["runningCount"] == 1)
    assert ecs.list_tasks(cluster=cluster, containerInstance=first)["taskArns"] == []


def test_placement_strategy_is_returned_and_removed(ecs: Any, cluster: str, families: Any) -> None:
    spread = [{"type": "spread", "field": "attribute:ecs.availability-zone"}, {"type": "spread", "field": "instanceId"}]
    own = {"cluster": cluster, "taskDefinition": families.v1}
    created = ecs.create_service(**own, serviceName="weather", desiredCount=0, placementStrategy=spread)["service"]
    assert created["placementStrategy"] == described(ecs, cluster)["placementStrategy"] == spread
    ecs.update_service(cluster=cluster, service="weather", desiredCount=1)
    assert described(ecs, cluster)["placementStrategy"] == spread
    ecs.update_service(cluster=cluster, service="weather", placementStrategy=[{}])
    assert described(ecs, cluster)["placementStrategy"] == []


# tags


def test_tags_of_our_resources_and_of_motos(ecs: Any, cluster: str, service: Any) -> None:
    arns = [
        service["serviceArn"],
        ecs.list_tasks(cluster=cluster)["taskArns"][0],
        ecs.list_container_instances(cluster=cluster)["containerInstanceArns"][0],
        service["clusterArn"],
        service["taskDefinition"],
    ]
    for arn in arns:
        ecs.tag_resource(resourceArn=arn, tags=[{"key": "a", "value": "1"}, {"key": "b", "value": "2"}])
        ecs.tag_resource(resourceArn=arn, tags=[{"key": "a", "value": "3"}])
        ecs.untag_resource(resourceArn=arn, tagKeys=["b"])
        assert ecs.list_tags_for_resource(resourceArn=arn)["tags"] == [{"key": "a", "value": "3"}], arn
    gone = f"arn:aws:ecs:us-east-1:123456789012:service/{cluster}/nothing"
    assert refused(ecs.list_tags_for_resource, resourceArn=gone)[0] == "InvalidParameterException"


# the cluster


def test_cluster_has_counts_and_is_deleted_only_when_empty(
    ecs: Any, cluster: str, service: Any, api: ApiRegion
) -> None:
    (found,) = ecs.describe_clusters(clusters=[cluster])["clusters"]
    assert found["registeredContainerInstancesCount"] == 2
    assert (found["activeServicesCount"], found["runningTasksCount"], found["pendingTasksCount"]) == (1, 2, 0)
    assert refused(ecs.delete_cluster, cluster=cluster)[0] == "ClusterContainsServicesException"
    ecs.delete_service(cluster=cluster, service="weather", force=True)
    assert refused(ecs.delete_cluster, cluster=found["clusterArn"])[0] == "ClusterContainsContainerInstancesException"
    for number in (1, 2):
        api.remove_instance(f"i-{cluster}{number}")
    assert ecs.delete_cluster(cluster=cluster)["cluster"]["status"] == "INACTIVE"
    assert refused(ecs.list_services, cluster=cluster)[0] == "ClusterNotFoundException"
