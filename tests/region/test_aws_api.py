"""The region's API over plain HTTP: whatever comes in, what goes out is an AWS answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecsconsul.region.ecs.api import EcsApi
from ecsconsul.region.moto import Moto
from tests.region.api_region import ApiWorld

TARGET = "AmazonEC2ContainerServiceV20141113."
SCOPE = "AWS4-HMAC-SHA256 Credential=any/20260101/{region}/ecs/aws4_request, SignedHeaders=host, Signature=0"


@pytest.fixture(scope="module")
def world(moto: Moto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiWorld]:
    from ecsconsul.region.runtimes.lab_dir import LabDir

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ECSCONSUL_HOME", str(tmp_path_factory.mktemp("home")))
        made = ApiWorld(moto, LabDir("lab"))
        made.client("ecs").create_cluster(clusterName="raw")
        yield made
        made.close()


def send(world: ApiWorld, operation: str, body: bytes, region: str = "us-east-1") -> tuple[int, Any]:
    """The status and the JSON of one ECS request; fails when the answer is none."""
    headers = {
        "X-Amz-Target": TARGET + operation,
        "Content-Type": "application/x-amz-json-1.1",
        "Authorization": SCOPE.format(region=region),
    }
    with closing(HTTPConnection(world.endpoint.removeprefix("http://"), timeout=60)) as connection:
        connection.request("POST", "/", body, headers)
        answer = connection.getresponse()
        found = json.loads(answer.read())
    assert answer.getheader("Content-Type") == "application/x-amz-json-1.1"
    return answer.status, found


@pytest.mark.parametrize("body", [b"{", b"[1]", b'"text"', b"null", b"\xff"])
def test_a_body_that_is_no_request_is_answered_in_json(world: ApiWorld, body: bytes) -> None:
    status, found = send(world, "ListServices", body)
    assert (status, found["__type"]) == (400, "SerializationException")


@pytest.mark.parametrize(
    ("operation", "ask", "words"),
    [
        ("CreateService", {}, 'Missing required parameter in input: "serviceName"'),
        ("CreateService", {"serviceName": 7}, "Invalid type for parameter serviceName"),
        ("CreateService", {"serviceName": "a", "desiredCount": "three"}, "Invalid type for parameter desiredCount"),
        ("UpdateService", {"service": "a", "desiredcount": 3}, 'Unknown parameter in input: "desiredcount"'),
        ("DescribeServices", {"services": "weather"}, "Invalid type for parameter services"),
        ("StopTask", {}, 'Missing required parameter in input: "task"'),
        ("RunTask", {"taskDefinition": "a", "overrides": {"containerOverrides": {}}}, "containerOverrides"),
        ("ListTasks", {"maxResults": "many"}, "maxResults"),
        ("UpdateContainerInstancesState", {"status": "DRAINING"}, '"containerInstances"'),
        ("TagResource", {"resourceArn": "arn:aws:ecs:us-east-1:1:service/a/b", "tags": [{"k": 1}]}, '"k"'),
    ],
)
def test_a_malformed_request_is_told_what_is_wrong(world: ApiWorld, operation: str, ask: Any, words: str) -> None:
    status, found = send(
        world, operation, json.dumps({"cluster": "raw", **ask} if "Arn" not in str(ask) else ask).encode()
    )
    assert (status, found["__type"]) == (400, "InvalidParameterException")
    assert words in found["message"]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 200) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
keys = st.sampled_from(
    ["cluster", "serviceName", "service", "services", "taskDefinition", "desiredCount", "count", "task", "tasks",
     "overrides", "containerInstances", "status", "nextToken", "maxResults", "include", "tags",
     "deploymentConfiguration"]
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operation=st.sampled_from(sorted(EcsApi(None).operations)), ask=st.dictionaries(keys, values, max_size=4))  # type: ignore[arg-type]
def test_nothing_that_is_json_makes_the_region_stumble(world: ApiWorld, operation: str, ask: dict[str, Any]) -> None:
    status, found = send(world, operation, json.dumps({"cluster": "raw", **ask}).encode())
    assert status in (200, 400)
    assert (status == 400) == ("__type" in found)


def test_another_region_than_its_own_is_refused(world: ApiWorld) -> None:
    with pytest.raises(ClientError, match=r"This local region is us-east-1\."):
        world.client("ecs", "eu-west-1").list_services(cluster="raw")


def test_an_operation_that_nobody_knows_is_an_error(world: ApiWorld) -> None:
    with closing(HTTPConnection(world.endpoint.removeprefix("http://"), timeout=60)) as connection:
        connection.request("POST", "/", b"{}", {"X-Amz-Target": TARGET + "Dance", "Authorization": SCOPE})
        assert connection.getresponse().status >= 400


def test_other_services_are_motos(world: ApiWorld) -> None:
    before = world.instances_changed
    assert world.client("sts").get_caller_identity()["Account"] == "123456789012"
    assert world.instances_changed == before
    world.client("ec2").describe_instances()
    assert world.instances_changed == before + 1


def test_many_clients_at_once(world: ApiWorld) -> None:
    """moto is not made for threads, and the state is the agent's as well."""
    ecs = world.client("ecs")
    app = {"name": "app", "image": "steady", "memory": 8}
    ecs.register_task_definition(family="crowd", containerDefinitions=[app])
    failures: list[BaseException] = []

    def work(number: int, iam: Any) -> None:
        name = f"crowd{number}"
        try:
            ecs.create_service(cluster="raw", serviceName=name, taskDefinition="crowd", desiredCount=1)
            for _ in range(5):
                iam.list_roles()
                ecs.describe_services(cluster="raw", services=[name])
            ecs.delete_service(cluster="raw", service=name, force=True)
        except ClientError as error:
            failures.append(error)

    # boto3 makes no clients in several threads at once
    threads = [threading.Thread(target=work, args=(number, world.client("iam"))) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert ecs.list_services(cluster="raw")["serviceArns"] == []
