"""Each refusal is an error that botocore reads, in every protocol."""

from __future__ import annotations

import pytest
from botocore.parsers import create_parser

from ecsconsul.region.error_responses import Problem, Protocol, RequestRefused, error_response, protocol_of

PARSERS = {
    Protocol.JSON: "json",
    Protocol.REST_JSON: "rest-json",
    Protocol.CBOR: "smithy-rpc-v2-cbor",
    Protocol.QUERY: "query",
    Protocol.EC2: "ec2",
    Protocol.S3: "rest-xml",
}


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize("problem", Problem)
def test_botocore_reads_code_and_message(problem: Problem, protocol: Protocol) -> None:
    message = "It's <wrong> & \u201cold\u201d, " + "x" * 300
    status, headers, body = error_response(RequestRefused(problem, message), protocol)
    names = {name.lower(): value for name, value in headers}
    assert names["content-length"] == str(len(body))
    response = {"status_code": int(status.split()[0]), "headers": names, "body": body}
    parsed = create_parser(PARSERS[protocol]).parse(response, None)
    assert parsed["Error"]["Message"] == message
    assert parsed["Error"]["Code"].isalnum()
    assert 400 <= response["status_code"] <= 501


@pytest.mark.parametrize(
    ("service", "headers", "query", "protocol"),
    [
        ("ecs", {"x-amz-target": "A.B", "content-type": "application/x-amz-json-1.1"}, "", Protocol.JSON),
        ("", {"x-amz-target": "A.B"}, "", Protocol.JSON),
        ("cloudwatch", {"smithy-protocol": "rpc-v2-cbor"}, "", Protocol.CBOR),
        ("ec2", {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}, "", Protocol.EC2),
        ("sts", {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}, "", Protocol.QUERY),
        ("", {"content-type": "application/x-www-form-urlencoded"}, "", Protocol.QUERY),
        ("", {}, "Action=ListRoles", Protocol.QUERY),
        ("route53", {}, "", Protocol.QUERY),
        ("s3", {}, "", Protocol.S3),
        ("", {}, "", Protocol.S3),
        ("lambda", {}, "", Protocol.REST_JSON),
        ("", {"content-type": "application/json"}, "", Protocol.REST_JSON),
    ],
)
def test_protocol_is_told_from_the_request(
    service: str, headers: dict[str, str], query: str, protocol: Protocol
) -> None:
    assert protocol_of(service, headers, query) is protocol


def test_json_version_is_the_requests() -> None:
    refused = RequestRefused(Problem.NO_SIGNATURE, "no")
    for version in ("1.0", "1.1"):
        response = error_response(refused, Protocol.JSON, f"application/x-amz-json-{version}")
        assert ("Content-Type", f"application/x-amz-json-{version}") in response.headers
