"""What is let through to the AWS API, and how the rest is refused, over HTTP with real clients."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple

import boto3
import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from ecsconsul.region import api_server
from ecsconsul.region.ping import PING_PATH
from ecsconsul.region.request_guard import LARGEST_BODY
from ecsconsul.region.runtimes.lab_dir import AccessKey
from tests.region.api_region import ApiRegion

ECS = "AmazonEC2ContainerServiceV20141113."
# Shorter than RESPONSE_TIMEOUT, after which the server closes any connection.
TIMEOUT = 30.0
Until = Callable[..., None]


class Answer(NamedTuple):
    """A response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The error of a JSON protocol."""
        return str(json.loads(self.body)["__type"])


def send(
    api: ApiRegion, method: str = "POST", target: str = "/", headers: Mapping[str, str] | None = None, body: bytes = b""
) -> Answer:
    """Send a request as it is; only Host is added, unless it is given."""
    with closing(HTTPConnection("127.0.0.1", api.port, timeout=TIMEOUT)) as connection:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": f"127.0.0.1:{api.port}", **(headers or {})}.items():
            connection.putheader(name, value)
        if "Content-Length" not in (headers or {}) and "Transfer-Encoding" not in (headers or {}):
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
    found = {name.lower(): value for name, value in answer.getheaders()}
    assert not any(name.startswith("access-control") for name in found)
    # moto imitates AWS's.
    assert found["server"] in ("ecsconsul", "amazon.com", "AmazonS3")
    return Answer(answer.status, found, content)


def signed(
    api: ApiRegion, operation: str, body: bytes = b"{}", service: str = "ecs", headers: Mapping[str, str] | None = None,
    method: str = "POST", target: str = "/",
) -> dict[str, str]:  # fmt: skip
    """The headers of a signed request."""
    given = {"Content-Type": "application/x-amz-json-1.1", **(headers or {})}
    if operation:
        given["X-Amz-Target"] = operation
    request = AWSRequest(method, f"{api.endpoint}{target}", headers=given, data=body)
    SigV4Auth(Credentials(api.key.id, api.key.secret), service, "us-east-1").add_auth(request)
    return dict(request.headers.items())


@pytest.fixture(scope="module")
def key(api: ApiRegion) -> AccessKey:
    return AccessKey(api.key.id, "not the secret of the lab's key, only as long")


# --- who is let in


def test_signed_request_is_answered(api: ApiRegion) -> None:
    answer = send(api, headers=signed(api, f"{ECS}ListClusters"), body=b"{}")
    assert (answer.status, "clusterArns" in json.loads(answer.body)) == (200, True)
    host = {"Host": f"localhost:{api.port}"}
    local = api.endpoint.replace("127.0.0.1", "localhost")
    request = AWSRequest("POST", f"{local}/", headers={"X-Amz-Target": f"{ECS}ListClusters"}, data=b"{}")
    SigV4Auth(Credentials(api.key.id, api.key.secret), "ecs", "us-east-1").add_auth(request)
    assert send(api, headers={**dict(request.headers.items()), **host}, body=b"{}").status == 200


CALLS = {
    "ecs": "list_clusters",
    "ssm": "describe_parameters",
    "logs": "describe_log_groups",
    "cloudformation": "describe_stacks",
    "sts": "get_caller_identity",
    "iam": "list_roles",
    "autoscaling": "describe_auto_scaling_groups",
    "ec2": "describe_vpcs",
    "s3": "list_buckets",
    "lambda": "list_functions",
    "route53": "list_hosted_zones",
    "cloudwatch": "list_metrics",
}
JSON_CODES = ("UnrecognizedClientException", "InvalidSignatureException", "InvalidSignatureException")
QUERY_CODES = ("InvalidClientTokenId", "SignatureDoesNotMatch", "SignatureDoesNotMatch")
# Of an unknown key, of a wrong secret, and of a clock that is wrong, with the HTTP status of each.
CODES = {
    **{name: [(code, 400) for code in JSON_CODES] for name in ("ecs", "ssm", "logs", "cloudwatch")},
    **{
        name: [(code, 403) for code in QUERY_CODES]
        for name in ("cloudformation", "sts", "iam", "autoscaling", "route53")
    },
    "ec2": [("AuthFailure", 401), ("AuthFailure", 401), ("RequestExpired", 400)],
    "s3": [("InvalidAccessKeyId", 403), ("SignatureDoesNotMatch", 403), ("RequestTimeTooSkewed", 403)],
    "lambda": [(code, 403) for code in JSON_CODES],
}


def error_of(client: Any, call: str) -> tuple[str, int]:
    with pytest.raises(ClientError) as raised:
        getattr(client, call)()
    found = raised.value.response
    assert found["Error"]["Message"]
    return found["Error"]["Code"], found["ResponseMetadata"]["HTTPStatusCode"]


@pytest.mark.parametrize("service", CALLS)
def test_client_with_the_labs_key_is_answered(api: ApiRegion, service: str) -> None:
    assert getattr(api.client(service), CALLS[service])()["ResponseMetadata"]["HTTPStatusCode"] == 200


@pytest.mark.parametrize("service", CALLS)
def test_client_with_another_key_gets_awss_error(
    api: ApiRegion, service: str, key: AccessKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = CALLS[service]
    found = [error_of(api.client(service, key=AccessKey("AKIAOTHER", api.key.secret)), call)]
    found.append(error_of(api.client(service, key=key), call))
    late = api.client(service)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: _minutes_ago(20))
    found.append(error_of(late, call))
    assert found == CODES[service]


def _minutes_ago(minutes: int) -> Any:
    from datetime import datetime, timedelta, timezone

    return datetime.now(timezone.utc) - timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("service", "code", "status"),
    [
        ("ecs", "MissingAuthenticationTokenException", 400),
        ("ssm", "MissingAuthenticationTokenException", 400),
        ("cloudformation", "MissingAuthenticationToken", 403),
        ("sts", "MissingAuthenticationToken", 403),
        ("iam", "MissingAuthenticationToken", 403),
        # Without a signature nothing tells EC2's requests from those of the query protocol.
        ("ec2", "MissingAuthenticationToken", 403),
        ("s3", "AccessDenied", 403),
    ],
)
def test_client_without_a_key_gets_awss_error(api: ApiRegion, service: str, code: str, status: int) -> None:
    from botocore import UNSIGNED

    config = Config(signature_version=UNSIGNED, proxies={}, retries={"total_max_attempts": 1})
    client = boto3.client(service, endpoint_url=api.endpoint, region_name="us-east-1", config=config)
    assert error_of(client, CALLS[service]) == (code, status)


def test_head_request_is_refused_without_a_body(api: ApiRegion, key: AccessKey) -> None:
    with pytest.raises(ClientError) as raised:
        api.client("s3", key=key).head_object(Bucket="any", Key="any")
    assert raised.value.response["Error"]["Code"] == "403"


def test_session_token_is_refused(api: ApiRegion) -> None:
    """As AWS does for a key that isn't temporary."""
    keys = {"aws_access_key_id": api.key.id, "aws_secret_access_key": api.key.secret, "aws_session_token": "token"}
    config = Config(proxies={}, retries={"total_max_attempts": 1})
    client = boto3.client("ecs", endpoint_url=api.endpoint, region_name="us-east-1", config=config, **keys)
    assert error_of(client, "list_clusters") == ("UnrecognizedClientException", 400)


def test_presigned_request_reaches_its_service_as_often_as_it_is_sent(api: ApiRegion) -> None:
    request = AWSRequest("GET", f"{api.endpoint}/?Action=GetCallerIdentity&Version=2011-06-15")
    SigV4QueryAuth(Credentials(api.key.id, api.key.secret), "sts", "us-east-1", expires=60).add_auth(request)
    target = request.url.removeprefix(api.endpoint)
    for _ in range(2):
        answer = send(api, "GET", target)
        assert (answer.status, b"<Account>123456789012</Account>" in answer.body) == (200, True)
    assert send(api, "GET", target.replace("GetCallerIdentity", "GetSessionToken")).status == 403


def test_signature_for_another_service_does_not_reach_ecs(api: ApiRegion) -> None:
    answer = send(api, headers=signed(api, f"{ECS}ListClusters", service="sts"), body=b"{}")
    assert (answer.status, answer.code) == (400, "InvalidSignatureException")


def test_service_that_is_not_served_is_refused(api: ApiRegion) -> None:
    answer = send(api, headers=signed(api, "Nothing.Do", service="nothing"), body=b"{}")
    assert (answer.status, answer.code) == (400, "InvalidSignatureException")


# --- copies


def test_copy_of_a_request_is_refused(api: ApiRegion) -> None:
    body = json.dumps({"clusterName": "copied"}).encode()
    headers = signed(api, f"{ECS}CreateCluster", body)
    assert send(api, headers=headers, body=body).status == 200
    for more in ({}, {"Amz-Sdk-Invocation-Id": "", "Amz-Sdk-Request": "attempt=1"}):
        again = send(api, headers={**headers, **more}, body=body)
        assert (again.status, again.code) == (400, "InvalidSignatureException")


def test_equal_calls_of_one_second_are_answered(api: ApiRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two scripts, or a poller, send the same: boto3 signs the time to the second, and nothing else that differs."""
    now = _minutes_ago(0)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: now)
    ecs = api.client("ecs")
    for _ in range(3):
        ecs.create_cluster(clusterName="same-second")
        ecs.describe_clusters(clusters=["same-second"])
        api.client("ecs").create_cluster(clusterName="same-second")


# --- before anything is interpreted


@pytest.mark.parametrize(
    "host", ["", "evil.example", "127.0.0.1", "localhost", "evil.example:{port}", "127.0.0.1:1", "LOCALHOST:{port}",
             "127.0.0.1:{port}.evil.example", "127.0.0.1:{port},evil.example"],
)  # fmt: skip
@pytest.mark.parametrize("target", ["/", PING_PATH])
def test_foreign_host_is_refused(api: ApiRegion, host: str, target: str) -> None:
    headers = {**signed(api, f"{ECS}ListClusters"), "Host": host.format(port=api.port)}
    assert send(api, target=target, headers=headers, body=b"{}")[0::2] == (403, b"Forbidden\n")


def test_target_with_a_host_is_refused(api: ApiRegion) -> None:
    """It would count instead of the Host header."""
    for target in (f"http://127.0.0.1:{api.port}/", f"http://evil.example{PING_PATH}"):
        assert send(api, "GET", target).status == 403


def test_two_hosts_are_refused(api: ApiRegion) -> None:
    own = f"127.0.0.1:{api.port}"
    text = f"GET {PING_PATH} HTTP/1.1\r\nHost: {own}\r\nHost: {own}\r\n\r\n"
    assert raw(api, text.encode()).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:5566"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Mode": "no-cors"},
        {"Access-Control-Request-Method": "POST"},
    ],
)
@pytest.mark.parametrize("target", ["/", PING_PATH])
def test_request_of_a_web_page_is_refused(api: ApiRegion, headers: dict[str, str], target: str) -> None:
    given = {**signed(api, f"{ECS}ListClusters"), **headers}
    assert send(api, target=target, headers=given, body=b"{}").status == 403


@pytest.mark.parametrize("target", ["/", "*", PING_PATH, "/moto-api/reset"])
def test_preflight_is_refused(api: ApiRegion, target: str) -> None:
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    assert send(api, "OPTIONS", target, headers).status == 403
    assert send(api, "OPTIONS", target).status == 403


def test_no_answer_has_cors_headers(api: ApiRegion) -> None:
    """moto's own answers, and those for a bucket that allows every origin (`send` checks the headers)."""
    s3 = api.client("s3")
    s3.create_bucket(Bucket="open")
    rule = {"AllowedMethods": ["GET"], "AllowedOrigins": ["*"], "AllowedHeaders": ["*"]}
    s3.put_bucket_cors(Bucket="open", CORSConfiguration={"CORSRules": [rule]})
    headers = signed(api, "", b"", "s3", method="GET", target="/open", headers={"X-Amz-Content-Sha256": EMPTY})
    assert send(api, "GET", "/open", headers).status == 200
    assert send(api, headers=signed(api, f"{ECS}ListClusters"), body=b"{}").status == 200


EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_ping_says_nothing_but_that_the_region_is_alive(api: ApiRegion) -> None:
    assert send(api, "GET", PING_PATH)[0::2] == (200, b'{"alive": true}')


@pytest.mark.parametrize(
    "path", ["/moto-api/", "/moto-api/reset", "/latest/meta-data/", "/latest/api/token", "/favicon.ico"]
)
def test_motos_own_pages_are_not_served(api: ApiRegion, path: str) -> None:
    api.client("ecs").create_cluster(clusterName="kept")
    for method in ("GET", "POST"):
        assert send(api, method, path).status == 403
        headers = signed(api, "", b"", "s3", {"X-Amz-Content-Sha256": EMPTY}, method, path)
        assert send(api, method, path, headers).status == 404
    assert "kept" in str(api.client("ecs").list_clusters()["clusterArns"])


# --- bodies


def test_large_body_is_answered(api: ApiRegion) -> None:
    body = json.dumps({"include": ["x" * 1_000_000]}).encode()
    assert send(api, headers=signed(api, f"{ECS}DescribeClusters", body), body=body).status == 200


def test_too_large_body_is_refused(api: ApiRegion) -> None:
    with pytest.raises(ClientError) as raised:
        api.client("ssm").put_parameter(Name="a", Type="String", Value="x" * LARGEST_BODY)
    found = raised.value.response
    assert (found["Error"]["Code"], found["ResponseMetadata"]["HTTPStatusCode"]) == (
        "RequestEntityTooLargeException",
        413,
    )


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "+2", "0x2", "²", "9" * 30])
def test_invalid_length_is_refused(api: ApiRegion, length: str) -> None:
    headers = {**signed(api, f"{ECS}ListClusters"), "Content-Length": length.encode().decode("latin-1")}
    answer = send(api, headers=headers)
    assert (answer.status, answer.code) == (400, "InvalidRequest")


def test_two_lengths_are_refused(api: ApiRegion) -> None:
    headers = {**signed(api, f"{ECS}ListClusters"), "Host": f"127.0.0.1:{api.port}", "Content-length": "2"}
    lines = [f"{name}: {value}" for name, value in headers.items()]
    text = "\r\n".join(["POST / HTTP/1.1", *lines, "Content-Length: 2", "", "{}"])
    assert b"InvalidRequest" in raw(api, text.encode())


def test_body_in_chunks_is_refused(api: ApiRegion) -> None:
    headers = {**signed(api, f"{ECS}ListClusters"), "Transfer-Encoding": "chunked"}
    answer = send(api, headers=headers, body=b"2\r\n{}\r\n0\r\n\r\n")
    assert (answer.status, answer.code) == (411, "MissingContentLength")


def test_body_that_ends_early_is_refused(api: ApiRegion) -> None:
    headers = {**signed(api, f"{ECS}ListClusters"), "Host": f"127.0.0.1:{api.port}", "Content-Length": "10"}
    text = "\r\n".join(["POST / HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", "{}"])
    assert b"InvalidRequest" in raw(api, text.encode())


def test_body_of_a_stranger_is_not_kept(api: ApiRegion) -> None:
    """It is refused by its headers, before its body is read."""
    headers = {"X-Amz-Target": f"{ECS}ListClusters", "Content-Length": str(10**12)}
    assert send(api, headers=headers).code == "MissingAuthenticationTokenException"


# --- slow and many clients


def raw(api: ApiRegion, content: bytes) -> bytes:
    """What the server answers to these bytes, after which nothing more is sent."""
    with socket.create_connection(("127.0.0.1", api.port), timeout=TIMEOUT) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        parts = iter(lambda: connection.recv(65536), b"")
        return b"".join(parts)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[float]:
    monkeypatch.setattr(api_server, "REQUEST_TIMEOUT", 0.5)
    yield 0.5


def await_close(connection: socket.socket) -> None:
    """Fails if the server doesn't close the connection within the socket's timeout."""
    while connection.recv(65536):
        pass


def test_silent_client_is_cut_off(api: ApiRegion, impatient: float) -> None:
    for begin in (b"", b"POST / HTTP/1.1\r\nHost: x\r\n"):
        with socket.create_connection(("127.0.0.1", api.port), timeout=TIMEOUT) as connection:
            connection.sendall(begin)
            await_close(connection)


def test_dripping_client_is_cut_off(api: ApiRegion, impatient: float) -> None:
    """Each byte comes in time, the request doesn't."""
    started, is_open = time.monotonic(), True
    with socket.create_connection(("127.0.0.1", api.port), timeout=0.05) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        while is_open and time.monotonic() < started + TIMEOUT:
            with suppress(TimeoutError):
                is_open = _drip(connection)
    assert not is_open


def _drip(connection: socket.socket) -> bool:
    try:
        connection.sendall(b"X")
        return connection.recv(1) != b""
    except ConnectionError:
        return False


def is_answered(api: ApiRegion) -> bool:
    """Whether a request gets through; on a busy machine the server may cut it off too."""
    with suppress(HTTPException, OSError):
        return send(api, "GET", PING_PATH).status == 200
    return False


def test_silent_clients_keep_nobody_out_and_no_more_threads_than_allowed(
    api: ApiRegion, impatient: float, until: Until
) -> None:
    before = threading.active_count()
    held = [socket.create_connection(("127.0.0.1", api.port), timeout=TIMEOUT) for _ in range(250)]
    try:
        assert threading.active_count() - before <= api_server.MOST_CONNECTIONS
        until(lambda: is_answered(api), TIMEOUT)
        for connection in held:
            await_close(connection)
    finally:
        for connection in held:
            connection.close()
