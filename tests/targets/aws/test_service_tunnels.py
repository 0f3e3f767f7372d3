"""Tunnels to endpoints: through a real sshd, through the plugin's stand-in, and how many there may be."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.stub import Stubber

from ecsconsul.config.aws_settings import AwsSpec, SshSpec
from ecsconsul.config.lab import Lab
from ecsconsul.errors import Unreachable
from ecsconsul.paths import HOME_VARIABLE
from ecsconsul.targets.aws import service_tunnels
from ecsconsul.targets.aws.consul_server import ConsulServer
from ecsconsul.targets.aws.service_tunnels import MOST_TUNNELS, ServiceTunnels, reach_through_server
from tests.listening import reserved_port
from tests.ssh_server import USER, SshServer, ssh_server

SERVER = ConsulServer("i-0123456789abcdef0", "", ())
SESSION = {"SessionId": "ada-1", "StreamUrl": "wss://example/", "TokenValue": "secret"}


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_server(tmp_path_factory.mktemp("sshd")) as found:
        yield found


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """Sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve(connection: socket.socket) -> None:
            with connection:
                for data in iter(lambda: connection.recv(65536), b""):
                    connection.sendall(data)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()
        listening.shutdown(socket.SHUT_RDWR)


def echoed(address: tuple[str, int]) -> bytes:
    with socket.create_connection(address, timeout=60) as connection:
        connection.sendall(b"hello")
        return connection.recv(5)


def through_ssh(sshd: SshServer) -> Lab:
    spec = SshSpec(user=USER, port=sshd.port, key=str(sshd.key), host="127.0.0.1")
    return Lab(name="blue", target="aws", aws=AwsSpec(ssh=spec))


def helpers(word: str) -> list[psutil.Process]:
    """The programs that this process runs, by a word of their command line."""
    found = psutil.Process().children(recursive=True)
    return [one for one in found if one.is_running() and word in " ".join(_words(one))]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def no_client(service: str) -> Any:
    raise AssertionError(service)


def test_ssh_leads_to_the_endpoint_over_one_process_and_leaves_none(sshd: SshServer, echo: tuple[str, int]) -> None:
    with reach_through_server(through_ssh(sshd), lambda: SERVER, no_client, "") as reach:
        assert echoed(reach(*echo)) == b"hello"
        assert reach(*echo) == reach(*echo)
        assert len([one for one in helpers(f":{echo[1]}") if one.name() == "ssh"]) == 1
    assert helpers(f":{echo[1]}") == []


def test_endpoint_without_a_listener_is_unreachable(sshd: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_tunnels, "REFUSAL_SECONDS", 60.0)
    with reserved_port() as closed, reach_through_server(through_ssh(sshd), lambda: SERVER, no_client, "") as reach:
        with pytest.raises(Unreachable):
            reach("127.0.0.1", closed)
        assert helpers(f":{closed}") == []


def test_tunnel_that_broke_is_opened_again(sshd: SshServer, echo: tuple[str, int]) -> None:
    with reach_through_server(through_ssh(sshd), lambda: SERVER, no_client, "") as reach:
        reach(*echo)
        [ssh] = [one for one in helpers(f":{echo[1]}") if one.name() == "ssh"]
        ssh.kill()
        psutil.wait_procs([ssh], timeout=60)
        # its output ends a moment later
        for _ in range(100):
            try:
                assert echoed(reach(*echo)) == b"hello"
                return
            except OSError:
                threading.Event().wait(0.1)
        raise AssertionError("the tunnel wasn't opened again")


def test_session_manager_forwards_to_the_endpoint_behind_the_server(
    echo: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(Path(__file__).parent / "bin"), prepend=os.pathsep)
    monkeypatch.setenv("FAKE_PLUGIN_NOTES", str(tmp_path))
    monkeypatch.setenv("FAKE_PLUGIN_CONSUL", json.dumps({echo[1]: echo}))
    lab = Lab(name="blue", target="aws", aws=AwsSpec(consul_access="ssm"))
    client = boto3.client("ssm", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(client) as stubber:
        stubber.add_response("start_session", SESSION)
        stubber.add_response("terminate_session", {}, {"SessionId": "ada-1"})
        with reach_through_server(lab, lambda: SERVER, lambda service: client, "lab") as reach:
            at = reach(*echo)
            assert echoed(at) == b"hello"
        stubber.assert_no_pending_responses()
    request = json.loads((tmp_path / f"{echo[1]}.json").read_text())["request"]
    assert request == {
        "Target": SERVER.instance_id,
        "DocumentName": "AWS-StartPortForwardingSessionToRemoteHost",
        "Parameters": {"host": [echo[0]], "portNumber": [str(echo[1])], "localPortNumber": [str(at[1])]},
    }
    assert helpers("session-manager-plugin") == []


def test_direct_access_needs_no_tunnel() -> None:
    lab = Lab(name="blue", target="aws", aws=AwsSpec(consul_access="direct"))
    with reach_through_server(lab, lambda: SERVER, no_client, "") as reach:
        assert reach("10.0.0.1", 32768) == ("10.0.0.1", 32768)


class Process:
    """A tunnel's process that goes on."""

    def ended(self) -> bool:
        return False


def test_oldest_tunnel_makes_room(echo: tuple[str, int]) -> None:
    opened: list[int] = []
    closed: list[int] = []

    @contextmanager
    def opening(host: str, port: int) -> Iterator[tuple[Any, int]]:
        opened.append(port)
        yield Process(), echo[1]
        closed.append(port)

    fake: Callable[..., Any] = opening
    ports = range(1, MOST_TUNNELS + 1)
    with ServiceTunnels(fake) as tunnels:
        for port in (*ports, 1, MOST_TUNNELS + 1):
            tunnels.reach("10.0.0.1", port)
        assert (opened, closed) == ([*ports, MOST_TUNNELS + 1], [2])
    assert sorted(closed) == [*ports, MOST_TUNNELS + 1]
    with pytest.raises(Unreachable):
        tunnels.reach("10.0.0.1", 1)
