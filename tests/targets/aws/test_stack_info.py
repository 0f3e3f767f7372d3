"""Reading the lab's stack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ecsconsul.targets.aws.stack_info import StackInfo, stack_info
from tests.deploy.world import client, serve
from tests.targets.aws.test_preflight import make_stack

Account = Callable[[str], Any]


def test_stack_of_the_lab_is_read(account: Account) -> None:
    make_stack(account, "blue", InstanceCount="2")
    found = stack_info(account("cloudformation"), "blue")
    assert found == StackInfo("CREATE_COMPLETE", {"InstanceCount": "2"}, {})
    assert found.lives


def test_missing_or_untagged_stack_is_none(account: Account) -> None:
    cloudformation = account("cloudformation")
    assert stack_info(cloudformation, "blue") is None
    template = "Resources:\n  T:\n    Type: AWS::SNS::Topic\n"
    cloudformation.create_stack(StackName="blue", TemplateBody=template)
    assert stack_info(cloudformation, "blue") is None


@pytest.mark.parametrize(
    ("status", "lives"),
    [("ROLLBACK_COMPLETE", False), ("UPDATE_ROLLBACK_COMPLETE", True), ("REVIEW_IN_PROGRESS", False)],
)
def test_dead_stack_does_not_live(status: str, lives: bool) -> None:
    assert StackInfo(status, {}, {}).lives is lives


# https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStacks.html
DESCRIBED = """<DescribeStacksResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/">
  <DescribeStacksResult><Stacks><member>
    <StackName>blue</StackName>
    <StackId>arn:aws:cloudformation:us-east-1:123456789012:stack/blue/aaf549a0-a413-11df-adb3-5081b3858e83</StackId>
    <CreationTime>2026-01-27T22:26:28Z</CreationTime>
    <StackStatus>UPDATE_COMPLETE</StackStatus>
    <Parameters>
      <member><ParameterKey>InstanceType</ParameterKey><ParameterValue>t3.small</ParameterValue></member>
      <member>
        <ParameterKey>EcsAmi</ParameterKey>
        <ParameterValue>/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id</ParameterValue>
        <ResolvedValue>ami-0123456789abcdef0</ResolvedValue>
      </member>
    </Parameters>
    <Tags><member><Key>ecsconsul:lab</Key><Value>blue</Value></member></Tags>
  </member></Stacks></DescribeStacksResult>
  <ResponseMetadata><RequestId>b9b4b068-3a41-11e5-94eb-example</RequestId></ResponseMetadata>
</DescribeStacksResponse>"""


def test_what_an_ssm_parameter_contained_is_read() -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/xml"), ("Content-Length", str(len(DESCRIBED.encode())))])
        return [DESCRIBED.encode()]

    server = serve(application)
    try:
        found = stack_info(client("cloudformation", f"http://127.0.0.1:{server.server_port}"), "blue")
    finally:
        server.shutdown()
        server.server_close()
    assert found is not None
    assert found.resolved == {"EcsAmi": "ami-0123456789abcdef0"}
    assert found.parameters["InstanceType"] == "t3.small"
