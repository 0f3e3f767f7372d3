"""The region's API over plain HTTP: every request gets a valid AWS response."""

from __future__ import annotations

import json
import threading
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecsconsul.region.ecs.api import EcsApi
from tests.region.api_region import ApiRegion

TARGET = "AmazonEC2ContainerServiceV20141113."
SCOPE = "AWS4-HMAC-SHA256 Credential=any/20260101/{region}/ecs/aws4_request, SignedHeaders=host, Signature=0"


@pytest.fixture(scope="module", autouse=True)
def cluster(api: ApiRegion) -> None:
    api.client("ecs").create_cluster(clusterName="raw")


def send(api: ApiRegion, operation: str, body: bytes, region: str = "us-east-1") -> tuple[int, Any]:
    """The status and the JSON of an ECS request's response."""
    headers = {
        "X-Amz-Target": TARGET + operation,
        "Content-Type": "application/x-amz-json-1.1",
        "Authorization": SCOPE.format(region=region),
    }
    with closing(HTTPConnection(api.endpoint.removeprefix("http://"), timeout=60)) as connection:
        connection.request("POST", "/", body, headers)
        answer = connection.getresponse()
        found = json.loads(answer.read())
    assert answer.getheader("Content-Type") == "application/x-amz-json-1.1"
    return answer.status, found


@pytest.mark.parametrize("body", [b"{", b"[1]", b'"text"', b"null", b"\xff"])
def test_invalid_body_gets_a_json_error(api: ApiRegion, body: bytes) -> None:
    status, found = send(api, "ListServices", body)
    assert (status, found["__type"]) == (400, "SerializationException")


@pytest.mark.parametrize(
    ("operation", "arguments", "message"),
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
def test_malformed_request_is_refused(api: ApiRegion, operation: str, arguments: Any, message: str) -> None:
    body = arguments if "Arn" in str(arguments) else {"cluster": "raw", **arguments}
    status, found = send(api, operation, json.dumps(body).encode())
    assert (status, found["__type"]) == (400, "InvalidParameterException")
    assert message in found["message"]


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
@given(operation=st.sampled_from(sorted(EcsApi(None).operations)), arguments=st.dictionaries(keys, values, max_size=4))  # type: ignore[arg-type]
def test_any_json_request_is_answered(api: ApiRegion, operation: str, arguments: dict[str, Any]) -> None:
    status, found = send(api, operation, json.dumps({"cluster": "raw", **arguments}).encode())
    assert status in (200, 400)
    assert (status == 400) == ("__type" in found)


def test_request_for_another_region_is_refused(api: ApiRegion) -> None:
    with pytest.raises(ClientError, match=r"This local region is us-east-1\."):
        api.client("ecs", "eu-west-1").list_services(cluster="raw")


def test_unknown_operation_is_an_error(api: ApiRegion) -> None:
    with closing(HTTPConnection(api.endpoint.removeprefix("http://"), timeout=60)) as connection:
        connection.request("POST", "/", b"{}", {"X-Amz-Target": TARGET + "Dance", "Authorization": SCOPE})
        assert connection.getresponse().status >= 400


def test_moto_answers_for_other_services(api: ApiRegion) -> None:
    before = api.instances_changed
    assert api.client("sts").get_caller_identity()["Account"] == "123456789012"
    assert api.instances_changed == before
    api.client("ec2").describe_instances()
    assert api.instances_changed == before + 1


def test_concurrent_clients_are_served(api: ApiRegion) -> None:
    """moto isn't thread-safe, and the control loop uses the same state."""
    ecs = api.client("ecs")
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

    # boto3 cannot create clients in several threads at once.
    threads = [threading.Thread(target=work, args=(number, api.client("iam"))) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert ecs.list_services(cluster="raw")["serviceArns"] == []
