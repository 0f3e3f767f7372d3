"""The session: account, region, clients, and errors when AWS can't be reached."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ecsconsul.errors import LabError, Unreachable
from ecsconsul.targets.aws.session import Identity, Session, is_inconclusive
from tests.targets.aws.conftest import ACCOUNT

Account = Callable[[str], Any]


@contextmanager
def answering(status: int, body: bytes, kind: str) -> Iterator[tuple[str, list[str]]]:
    """A server that gives every request the same answer, and records the requests."""
    requests: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            requests.append(self.headers.get("X-Amz-Target", self.path))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", requests
        server.shutdown()


def test_identity_is_looked_up_once(account: Account) -> None:
    session = Session(None, None)
    assert session.identity() == Identity(ACCOUNT, f"arn:aws:sts::{ACCOUNT}:user/moto")
    assert session.identity() is session.identity()
    assert session.identity().partition == "aws"
    assert session.region == "us-east-1"


def test_client_is_created_once_in_the_chosen_region(account: Account, moto_url: str) -> None:
    session = Session("eu-west-1", None)
    assert session.client("ecs") is session.client("ecs")
    assert (session.client("ecs").meta.region_name, session.client("ecs").meta.endpoint_url) == ("eu-west-1", moto_url)
    assert session.endpoint() == moto_url


def test_missing_credentials_are_reported(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(LabError, match="There are no AWS credentials") as raised:
        Session(None, None).client("ecs")
    assert "aws configure" in raised.value.hint


def test_missing_region_is_reported(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")
    with pytest.raises(LabError, match="No AWS region is set") as raised:
        Session(None, None).client("ecs")
    assert "--region" in raised.value.hint


def test_missing_profile_is_reported(account: Account) -> None:
    with pytest.raises(LabError, match="There is no such AWS profile") as raised:
        Session(None, "nobody").client("ecs")
    assert "nobody" in raised.value.why
    assert "list-profiles" in raised.value.hint


def test_region_comes_from_the_profile(account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")
    (tmp_path / "config").write_text("[profile me]\nregion = eu-north-1\n")
    assert Session(None, "me").region == "eu-north-1"
    assert Session("eu-west-1", "me").region == "eu-west-1"


@pytest.mark.parametrize("code", ["ExpiredTokenException", "UnrecognizedClientException", "InvalidClientTokenId"])
def test_rejected_credentials_are_reported(account: Account, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    body = json.dumps({"__type": code, "message": "The security token is invalid"}).encode()
    with answering(400, body, "application/x-amz-json-1.1") as (url, requests):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(LabError, match="AWS rejects the credentials") as raised:
            Session(None, None).client("ecs").list_clusters()
    assert raised.value.where == "ECS:ListClusters"
    assert raised.value.why == f"{code}: The security token is invalid"
    assert "log in" in raised.value.hint
    assert len(requests) == 1


def test_other_client_errors_pass_through(account: Account) -> None:
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError):
        Session(None, None).client("cloudformation").describe_stacks(StackName="nobody")


def test_malformed_answer_is_a_client_error(account: Account) -> None:
    """moto answers with an HTML page for an operation that it lacks."""
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError) as raised:
        Session(None, None).client("iam").simulate_custom_policy(
            PolicyInputList=["{}"], ActionNames=["ecs:CreateCluster"]
        )
    assert is_inconclusive(raised.value)
    assert raised.value.operation_name == "SimulateCustomPolicy"


def test_unreachable_endpoint_is_reported(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    with pytest.raises(Unreachable, match="AWS doesn't answer") as raised:
        # IAM requests have only two attempts
        Session(None, None).client("iam").get_user()
    assert str(port) in raised.value.why
    assert "AWS_ENDPOINT_URL" in raised.value.hint
