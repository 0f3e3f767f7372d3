"""Consul through Session Manager: a small program stands in for its plugin, and botocore's stubber for AWS."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.stub import Stubber

from ecsconsul.config.aws_settings import AwsSpec
from ecsconsul.config.lab import Lab
from ecsconsul.consul.catalog import Consul
from ecsconsul.consul.dns import lookup
from ecsconsul.errors import Unreachable
from ecsconsul.targets.aws.consul_access import open_access
from ecsconsul.targets.aws.consul_server import ConsulServer as Server
from ecsconsul.targets.base import ConsulAddress
from tests.consul_server import ConsulServer, consul_server

Until = Callable[..., None]
PLUGINS = Path(__file__).parent / "bin"
INSTANCE = "i-0123456789abcdef0"
LAB = Lab(name="blue", target="aws", aws=AwsSpec(consul_access="ssm"))
SERVER = Server(INSTANCE, "", ())
SESSIONS = [
    {"SessionId": f"ada-{number}", "StreamUrl": "wss://example/", "TokenValue": f"secret-{number}"} for number in (1, 2)
]


@pytest.fixture(scope="module")
def consul() -> Iterator[ConsulServer]:
    with consul_server('service { name = "weather" port = 4567 }', services=["weather"]) as found:
        yield found


@pytest.fixture
def ssm() -> Iterator[Stubber]:
    client = boto3.client("ssm", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.fixture
def notes(consul: ConsulServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the plugin records its arguments."""
    monkeypatch.setenv("PATH", str(PLUGINS), prepend=os.pathsep)
    monkeypatch.setenv("FAKE_PLUGIN_NOTES", str(tmp_path))
    forwards = {consul.http: (consul.host, consul.http), consul.dns: (consul.host, consul.dns)}
    monkeypatch.setenv("FAKE_PLUGIN_CONSUL", json.dumps(forwards))
    return tmp_path


def behind(consul: ConsulServer) -> ConsulAddress:
    return ConsulAddress("127.0.0.1", consul.http, "127.0.0.1", consul.dns)


def expect(ssm: Stubber, ended: bool = True) -> None:
    for session in SESSIONS:
        ssm.add_response("start_session", session)
    for session in reversed(SESSIONS) if ended else ():
        ssm.add_response("terminate_session", {}, {"SessionId": session["SessionId"]})


def opened(ssm: Stubber, consul: ConsulServer) -> Any:
    return open_access(LAB, SERVER, lambda service: ssm.client, profile="lab", remote=behind(consul))


def plugins() -> list[str]:
    """The command lines of the plugins that this process runs, and of the shells that watch over them."""
    found = []
    for child in psutil.Process().children(recursive=True):
        # it may exit after it was listed
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(" ".join(child.cmdline()))
    return [line for line in found if "session-manager-plugin" in line]


def test_tunnel_carries_http_and_dns_and_terminates_both_sessions(
    ssm: Stubber, consul: ConsulServer, notes: Path, until: Until
) -> None:
    expect(ssm)
    with opened(ssm, consul) as address:
        assert "weather" in Consul(address.http_host, address.http_port).catalog()
        assert address.dns_tcp_only
        answer = lookup("weather.service.consul.", "SRV", address.dns_host, address.dns_port, tcp=True)
        assert [record.port for record in answer.answers] == [4567]
        # What a shell forks looks like it until it runs.
        until(lambda: len(plugins()) == 4)
        assert not any("secret" in line for line in plugins()), "no token on a command line"
    assert plugins() == []
    call = json.loads((notes / f"{consul.http}.json").read_text())
    assert call["session"] == SESSIONS[0]
    assert (call["region"], call["operation"], call["profile"]) == ("eu-west-1", "StartSession", "lab")
    assert call["request"] == {
        "Target": INSTANCE,
        "DocumentName": "AWS-StartPortForwardingSession",
        "Parameters": {"portNumber": [str(consul.http)], "localPortNumber": [str(address.http_port)]},
    }
    assert call["endpoint"] == "https://ssm.eu-west-1.amazonaws.com"


def test_plugin_that_opens_no_port_is_reported(
    ssm: Stubber, consul: ConsulServer, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_PLUGIN_REFUSES", "1")
    expect(ssm)
    with pytest.raises(Unreachable) as raised, opened(ssm, consul):
        pass
    assert raised.value.what == "Session Manager can't forward a port to the Consul server"
    assert "Connection to destination port failed" in raised.value.why
    assert plugins() == []


def test_unconnected_server_hints_at_its_agent(ssm: Stubber, consul: ConsulServer, notes: Path) -> None:
    ssm.add_client_error("start_session", "TargetNotConnected", f"{INSTANCE} is not connected.")
    with pytest.raises(Unreachable) as raised, opened(ssm, consul):
        pass
    assert raised.value.where == f"instance {INSTANCE}"
    assert "is not connected" in raised.value.why
    assert "a few minutes to connect" in raised.value.hint


def test_first_session_is_terminated_when_the_second_is_denied(ssm: Stubber, consul: ConsulServer, notes: Path) -> None:
    ssm.add_response("start_session", SESSIONS[0])
    ssm.add_client_error("start_session", "AccessDeniedException", "no")
    ssm.add_response("terminate_session", {}, {"SessionId": SESSIONS[0]["SessionId"]})
    with pytest.raises(Unreachable) as raised, opened(ssm, consul):
        pass
    assert "docs/aws.md" in raised.value.hint
    assert plugins() == []


def test_missing_plugin_is_reported(ssm: Stubber, consul: ConsulServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unreachable, match="There is no session-manager-plugin on PATH"), opened(ssm, consul):
        pass
