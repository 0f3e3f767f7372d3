"""The region's API over plain HTTP: every request gets a valid AWS response."""

from __future__ import annotations

import json
import re
import threading
import uuid
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from botocore import xform_name
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto.ecs.responses import EC2ContainerServiceResponse

from ecsconsul.region.aws_api import BY_MOTO
from ecsconsul.region.ecs.api import EcsApi
from tests.region.api_region import ApiRegion

ROOT = Path(__file__).parents[2]
TARGET = "AmazonEC2ContainerServiceV20141113."


@pytest.fixture(scope="module", autouse=True)
def cluster(api: ApiRegion) -> None:
    api.client("ecs").create_cluster(clusterName="raw")


def send(api: ApiRegion, operation: str, body: bytes) -> tuple[int, Any]:
    """The status and the JSON of an ECS request's response."""
    status, content_type, content = post(api, operation, body)
    assert content_type == "application/x-amz-json-1.1"
    return status, json.loads(content)


def post(api: ApiRegion, operation: str, body: bytes) -> tuple[int, str | None, bytes]:
    """The status, content type and body of an ECS request's response."""
    headers = {
        "X-Amz-Target": TARGET + operation,
        "Content-Type": "application/x-amz-json-1.1",
        # The same may be sent again in the same second.
        "Amz-Sdk-Invocation-Id": str(uuid.uuid4()),
    }
    request = AWSRequest("POST", f"{api.endpoint}/", headers=headers, data=body)
    SigV4Auth(Credentials(api.key.id, api.key.secret), "ecs", api.moto.region).add_auth(request)
    with closing(HTTPConnection(api.endpoint.removeprefix("http://"), timeout=60)) as connection:
        connection.request("POST", "/", body, dict(request.headers.items()))
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type"), answer.read()


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
    for service, call in (("ecs", "list_services"), ("ec2", "describe_instances"), ("ssm", "describe_parameters")):
        with pytest.raises(ClientError, match=r"This local region is us-east-1\."):
            getattr(api.client(service, "eu-west-1"), call)()


def documented(kind: str) -> set[str]:
    """The operations in a row of the table in docs/architecture.md."""
    rows = re.findall(rf"^\| {kind} \| (.*) \|$", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    assert len(rows) == 1
    return set(re.findall(r"[A-Z][A-Za-z]+", rows[0]))


def test_documented_operations_are_those_of_the_code() -> None:
    api = EcsApi(None)  # type: ignore[arg-type]
    assert documented("what really runs") == {*api.operations, *api.by_resource}
    assert documented("moto alone") == BY_MOTO
    assert all(hasattr(EC2ContainerServiceResponse, xform_name(name)) for name in BY_MOTO)


def test_every_other_operation_is_refused(api: ApiRegion) -> None:
    known = set(api.client("ecs").meta.service_model.operation_names)
    others = known - BY_MOTO - set(EcsApi(None).operations) - set(EcsApi(None).by_resource)  # type: ignore[arg-type]
    assert {"ExecuteCommand", "CreateTaskSet"} <= others
    for operation in others:
        status, found = send(api, operation, b"{}")
        assert (status, found["__type"]) == (400, "UnsupportedFeatureException")
        assert f"doesn't support {operation};" in found["message"]


def test_unknown_operation_is_an_error(api: ApiRegion) -> None:
    assert post(api, "Dance", b"{}")[0] >= 400


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
