"""Consul through Session Manager: a little program stands in for its plugin, and AWS's answers are played."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.stub import Stubber

from ecsconsul.config.lab import AwsSpec, Lab
from ecsconsul.consul.catalog import Consul
from ecsconsul.consul.dns import lookup
from ecsconsul.errors import Unreachable
from ecsconsul.targets.aws.consul_access import ConsulServer as Server
from ecsconsul.targets.aws.consul_access import open_access
from ecsconsul.targets.base import ConsulAddress
from tests.consul_server import ConsulServer, consul_server

PLUGINS = Path(__file__).parent / "bin"
INSTANCE = "i-0123456789abcdef0"
LAB = Lab(name="blue", target="aws", aws=AwsSpec(consul_access="ssm"))
FACTS = Server(INSTANCE, "", ())
SESSIONS = [
    {"SessionId": f"ada-{number}", "StreamUrl": "wss://example/", "TokenValue": f"secret-{number}"} for number in (1, 2)
]


@pytest.fixture(scope="module")
def consul() -> Iterator[ConsulServer]:
    with consul_server('service { name = "weather" port = 4567 }') as found:
        yield found


@pytest.fixture
def ssm() -> Iterator[Stubber]:
    client = boto3.client("ssm", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.fixture
def notes(consul: ConsulServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the plugin was called with."""
    monkeypatch.setenv("PATH", str(PLUGINS), prepend=os.pathsep)
    monkeypatch.setenv("FAKE_PLUGIN_NOTES", str(tmp_path))
    where = {consul.http: (consul.host, consul.http), consul.dns: (consul.host, consul.dns)}
    monkeypatch.setenv("FAKE_PLUGIN_CONSUL", json.dumps(where))
    return tmp_path


def inside(consul: ConsulServer) -> ConsulAddress:
    return ConsulAddress("127.0.0.1", consul.http, "127.0.0.1", consul.dns)


def expect(ssm: Stubber, ended: bool = True) -> None:
    for session in SESSIONS:
        ssm.add_response("start_session", session)
    for session in reversed(SESSIONS) if ended else ():
        ssm.add_response("terminate_session", {}, {"SessionId": session["SessionId"]})


def opened(ssm: Stubber, consul: ConsulServer) -> Any:
    return open_access(LAB, FACTS, lambda service: ssm.client, profile="lab", inside=inside(consul))


def plugins() -> list[str]:
    """The command lines of this process's children that are the plugin, or watch over it."""
    found = []
    for child in psutil.Process().children(recursive=True):
        # it may end between the listing and the look
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(" ".join(child.cmdline()))
    return [line for line in found if "session-manager-plugin" in line]


def test_http_and_dns_go_through_and_both_sessions_are_terminated(
    ssm: Stubber, consul: ConsulServer, notes: Path
) -> None:
    expect(ssm)
    with opened(ssm, consul) as address:
        assert "weather" in Consul(address.http_host, address.http_port).catalog()
        assert address.dns_tcp_only
        answer = lookup("weather.service.consul.", "SRV", address.dns_host, address.dns_port, tcp=True)
        assert [record.port for record in answer.answers] == [4567]
        assert len(plugins()) == 4
        assert not any("secret" in line for line in plugins()), "no token on a command line"
    assert plugins() == []
    told = json.loads((notes / f"{consul.http}.json").read_text())
    assert told["session"] == SESSIONS[0]
    assert (told["region"], told["operation"], told["profile"]) == ("eu-west-1", "StartSession", "lab")
    assert told["asked"] == {
        "Target": INSTANCE,
        "DocumentName": "AWS-StartPortForwardingSession",
        "Parameters": {"portNumber": [str(consul.http)], "localPortNumber": [str(address.http_port)]},
    }
    assert told["endpoint"] == "https://ssm.eu-west-1.amazonaws.com"


def test_a_plugin_that_opens_no_port(
    ssm: Stubber, consul: ConsulServer, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_PLUGIN_REFUSES", "1")
    expect(ssm)
    with pytest.raises(Unreachable) as raised, opened(ssm, consul):
        pass
    assert raised.value.what == "Session Manager opens no port to the Consul server"
    assert "Connection to destination port failed" in raised.value.why
    assert plugins() == []


def test_a_server_that_session_manager_does_not_know(ssm: Stubber, consul: ConsulServer, notes: Path) -> None:
    ssm.add_client_error("start_session", "TargetNotConnected", f"{INSTANCE} is not connected.")
    with pytest.raises(Unreachable) as raised, opened(ssm, consul):
        pass
    assert raised.value.where == f"instance {INSTANCE}"
    assert "is not connected" in raised.value.why
    assert "some minutes after its start" in raised.value.hint


def test_the_second_session_is_refused_and_the_first_one_terminated(
    ssm: Stubber, consul: ConsulServer, notes: Path
) -> None:
    ssm.add_response("start_session", SESSIONS[0])
    ssm.add_client_error("start_session", "AccessDeniedException", "no")
    ssm.add_response("terminate_session", {}, {"SessionId": SESSIONS[0]["SessionId"]})
    with pytest.raises(Unreachable) as raised, opened(ssm, consul):
        pass
    assert "docs/aws.md" in raised.value.hint
    assert plugins() == []


def test_no_plugin(ssm: Stubber, consul: ConsulServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unreachable, match="There is no session-manager-plugin on PATH"), opened(ssm, consul):
        pass


def test_directly_asks_the_servers_public_name() -> None:
    lab = Lab(aws=AwsSpec(consul_access="direct"))
    with open_access(lab, Server(INSTANCE, "ec2-1.example", ()), lambda service: None) as address:
        assert address == ConsulAddress("ec2-1.example", 8500, "ec2-1.example", 8600)
        assert not address.dns_tcp_only
    with pytest.raises(Unreachable, match="no public address"), open_access(lab, FACTS, lambda service: None):
        pass
