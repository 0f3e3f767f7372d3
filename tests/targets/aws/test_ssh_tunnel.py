"""Consul through a real SSH server: what the tunnel carries, how it fails, and that it never outlives its owner."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from ecsconsul.config.aws_settings import AwsSpec, SshSpec
from ecsconsul.config.lab import Lab
from ecsconsul.consul.catalog import Consul
from ecsconsul.consul.dns import lookup
from ecsconsul.errors import Unreachable
from ecsconsul.paths import HOME_VARIABLE
from ecsconsul.targets.aws import host_keys, ssh_tunnel
from ecsconsul.targets.aws.consul_access import open_access
from ecsconsul.targets.aws.consul_server import ConsulServer as Server
from ecsconsul.targets.base import ConsulAddress
from tests.consul_server import ConsulServer, consul_server
from tests.ssh_server import USER, SshServer, end, make_key, ssh_server

INSTANCE = "i-0123456789abcdef0"
SERVICE = 'service { name = "weather" port = 4567 }'
GONE_SECONDS = 60.0
Until = Callable[..., None]


@pytest.fixture(scope="module")
def consul() -> Iterator[ConsulServer]:
    with consul_server(SERVICE, services=["weather"]) as found:
        yield found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_server(tmp_path_factory.mktemp("sshd")) as found:
        yield found


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return tmp_path / "home"


def behind(consul: ConsulServer) -> ConsulAddress:
    return ConsulAddress(consul.host, consul.http, consul.host, consul.dns)


def lab_at(server: SshServer, **more: Any) -> Lab:
    ssh = {"user": USER, "port": server.port, "key": str(server.key), "host": "127.0.0.1", **more}
    return Lab(name="blue", target="aws", aws=AwsSpec(ssh=SshSpec(**ssh)))


def described(*keys: str) -> Server:
    return Server(INSTANCE, "", keys)


def no_client(service: str) -> Any:
    raise AssertionError(f"an SSH tunnel needs no AWS client ({service})")


def opened(
    server: SshServer, consul: ConsulServer, *keys: str, notices: list[str] | None = None, **more: Any
) -> AbstractContextManager[ConsulAddress]:
    say = (notices if notices is not None else []).append
    return open_access(lab_at(server, **more), described(*keys), no_client, say=say, remote=behind(consul))


def processes(port: int) -> list[psutil.Process]:
    """The ssh clients that forward a port, and the shells that watch over them."""
    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        words = process.info["cmdline"] or []
        if process.info["name"] in ("ssh", "sh") and any(f"127.0.0.1:{port}:" in word for word in words):
            found.append(process)
    return found


def await_both(port: int, until: Until) -> None:
    """Wait until ssh and its watchdog are all that is there: what the shell forks looks like it until it runs."""
    until(lambda: len(processes(port)) == 2)


def is_open(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def await_gone(port: int) -> None:
    left = processes(port)
    _, alive = psutil.wait_procs(left, GONE_SECONDS)
    assert alive == []
    assert not is_open(port)


# --- what the tunnel carries


def test_tunnel_carries_http_and_dns(server: SshServer, consul: ConsulServer, home: Path, until: Until) -> None:
    with opened(server, consul, server.host_key) as address:
        assert "weather" in Consul(address.http_host, address.http_port).catalog()
        assert address.dns_tcp_only
        answer = lookup("weather.service.consul.", "SRV", address.dns_host, address.dns_port, tcp=True)
        assert (answer.transport, [record.port for record in answer.answers]) == ("tcp", [4567])
        await_both(address.http_port, until)
    await_gone(address.http_port)
    await_gone(address.dns_port)
    assert [path.name for path in home.rglob("*") if path.is_file()] == ["blue.known_hosts"]
    host_keys.forget("blue")
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_two_tunnels_can_be_open_at_once(server: SshServer, consul: ConsulServer) -> None:
    with opened(server, consul) as first, opened(server, consul) as second:
        assert first != second
        assert Consul(second.http_host, second.http_port).catalog()
        assert Consul(first.http_host, first.http_port).catalog()


def test_users_ssh_configuration_applies(
    server: SshServer, consul: ConsulServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host alias whose address, port and key are only in ssh_config.

    ssh finds that file through the password database and not through HOME, so a wrapper passes it with -F.
    """
    script = tmp_path / "bin" / "ssh"
    script.parent.mkdir()
    config = tmp_path / "ssh_config"
    config.write_text(f"Host front\n  HostName 127.0.0.1\n  Port {server.port}\n  IdentityFile {server.key}\n")
    script.write_text(f'#!/bin/sh\nexec {ssh_path()} -F {config} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent), prepend=":")
    with opened(server, consul, host="front", port=22, key=None) as address:
        assert Consul(address.http_host, address.http_port).catalog()


def ssh_path() -> str:
    import shutil

    return str(shutil.which("ssh"))


def test_key_in_ssh_agent_is_used(server: SshServer, consul: ConsulServer, monkeypatch: pytest.MonkeyPatch) -> None:
    output = subprocess.run(["ssh-agent", "-s"], capture_output=True, text=True, timeout=60, check=True).stdout
    variables = dict(part.strip().split("=", 1) for part in output.split(";") if "=" in part)
    monkeypatch.setenv("SSH_AUTH_SOCK", variables["SSH_AUTH_SOCK"])
    try:
        subprocess.run(["ssh-add", "-q", str(server.key)], timeout=60, check=True)
        with opened(server, consul, key=None) as address:
            assert Consul(address.http_host, address.http_port).catalog()
    finally:
        os.kill(int(variables["SSH_AGENT_PID"]), signal.SIGTERM)


# --- host keys


def test_unpublished_host_key_is_trusted_on_first_use_and_pinned(
    server: SshServer, consul: ConsulServer, tmp_path: Path
) -> None:
    notices: list[str] = []
    with opened(server, consul, notices=notices):
        pass
    fingerprint = subprocess.run(
        ["ssh-keygen", "-lf", str(server.key.parent / "host_key.pub")], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    (notice,) = notices
    assert f"EC2 hasn't published the host key of {INSTANCE} yet" in notice
    assert "on first use" in notice and fingerprint in notice
    with opened(server, consul, notices=notices):
        pass
    assert notices == [notice]
    other = tmp_path / "other"
    other.mkdir()
    (other / "authorized_keys").write_text((server.key.parent / "authorized_keys").read_text())
    make_key(other / "user_key")
    with ssh_server(other) as changed, pytest.raises(Unreachable) as raised:
        opened(changed, consul, key=str(server.key)).__enter__()
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in raised.value.why
    assert str(tmp_path / "home" / ".aws" / "blue.known_hosts") in raised.value.hint


def test_published_host_key_is_checked_without_a_notice(
    server: SshServer, consul: ConsulServer, tmp_path: Path
) -> None:
    notices: list[str] = []
    with opened(server, consul, server.host_key, notices=notices):
        pass
    assert notices == []
    with pytest.raises(Unreachable) as raised, opened(server, consul, make_key(tmp_path / "someone")):
        pass
    assert "Host key verification failed" in raised.value.why
    assert "someone may be intercepting the connection" in raised.value.hint


# --- failures


def test_rejected_key_names_the_config_key(server: SshServer, consul: ConsulServer, tmp_path: Path) -> None:
    make_key(tmp_path / "strange")
    with pytest.raises(Unreachable) as raised, opened(server, consul, key=str(tmp_path / "strange")):
        pass
    assert raised.value.what == "Cannot open an SSH tunnel to the Consul server"
    assert "Permission denied" in raised.value.why
    assert "aws.ssh.key" in raised.value.hint


def test_server_without_tcp_forwarding_is_reported(consul: ConsulServer, tmp_path: Path) -> None:
    with ssh_server(tmp_path / "strict", "AllowTcpForwarding no") as strict, pytest.raises(Unreachable) as raised:
        opened(strict, consul).__enter__()
    assert "administratively prohibited" in raised.value.why
    assert "allow TCP forwarding" in raised.value.hint


def test_server_without_consul_is_reported(server: SshServer) -> None:
    """Port 9 (discard) of loopback has no server."""
    remote = ConsulAddress("127.0.0.1", 9, "127.0.0.1", 9)
    with pytest.raises(Unreachable) as raised, open_access(lab_at(server), described(), no_client, remote=remote):
        pass
    assert "Connection refused" in raised.value.why
    assert "Consul isn't answering" in raised.value.hint


def test_closed_ssh_port_hints_at_the_security_group(server: SshServer, consul: ConsulServer) -> None:
    with pytest.raises(Unreachable) as raised, opened(server, consul, port=9):
        pass
    assert "Connection refused" in raised.value.why
    assert "aws.ssh_cidr" in raised.value.hint


def test_server_without_public_name_is_reported(consul: ConsulServer) -> None:
    with pytest.raises(Unreachable, match="no public address"), open_access(Lab(), described(), no_client):
        pass


def test_missing_ssh_is_reported(server: SshServer, consul: ConsulServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unreachable, match="There is no ssh on PATH"), opened(server, consul):
        pass


def test_tunnel_that_breaks_is_reported(consul: ConsulServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh_tunnel, "EXIT_SECONDS", 60.0)
    with ssh_server(tmp_path / "mortal") as mortal:
        with pytest.raises(Unreachable) as raised, opened(mortal, consul) as address:
            consul_behind = Consul(address.http_host, address.http_port)
            assert consul_behind.catalog()
            end(mortal.process)
            psutil.wait_procs([p for p in processes(address.http_port) if p.info["name"] == "ssh"], GONE_SECONDS)
            consul_behind.catalog()
        assert raised.value.what == "The SSH tunnel broke"
        # ssh's own words, whichever it notices first
        assert any(words in raised.value.why for words in ("closed", "Broken pipe"))
    await_gone(address.http_port)


# --- the tunnel ends with the process that holds it, however that ends

HOLD = """
import json, sys, time
from ecsconsul.config.aws_settings import AwsSpec, SshSpec
from ecsconsul.config.lab import Lab
from ecsconsul.targets.base import ConsulAddress
from ecsconsul.targets.aws.consul_access import open_access
from ecsconsul.targets.aws.consul_server import ConsulServer as Server
arguments = json.loads(sys.argv[1])
lab = Lab(name="blue", aws=AwsSpec(ssh=SshSpec(**arguments["ssh"])))
remote = ConsulAddress(*arguments["remote"])
with open_access(lab, Server("i-1", "", ()), lambda name: None, remote=remote) as address:
    print(address.http_port, address.dns_port, flush=True)
    time.sleep(600)
"""


@contextmanager
def holder(server: SshServer, consul: ConsulServer) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that holds a tunnel, and the tunnel's port."""
    ssh = {"user": USER, "port": server.port, "key": str(server.key), "host": "127.0.0.1"}
    arguments = json.dumps({"ssh": ssh, "remote": [consul.host, consul.http, consul.host, consul.dns]})
    argv = [sys.executable, "-c", HOLD, arguments]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        try:
            yield process, int(process.stdout.readline().split()[0])
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_tunnel_ends_with_its_killed_owner(
    server: SshServer, consul: ConsulServer, until: Until, number: signal.Signals
) -> None:
    with holder(server, consul) as (process, port):
        await_both(port, until)
        process.send_signal(number)
        await_gone(port)
        process.wait(GONE_SECONDS)


HANG = """
import sys
from concurrent.futures import ThreadPoolExecutor
from ecsconsul.config.aws_settings import AwsSpec, SshSpec
from ecsconsul.config.lab import Lab
from ecsconsul.targets.aws import ssh_tunnel
from ecsconsul.targets.aws.consul_access import open_access
from ecsconsul.targets.aws.consul_server import ConsulServer as Server
ssh_tunnel.CONNECT_SECONDS = ssh_tunnel.READY_SECONDS = 600
lab = Lab(name="blue", aws=AwsSpec(ssh=SshSpec(host="127.0.0.1", port=int(sys.argv[1]))))
with ThreadPoolExecutor(1) as pool:
    pool.submit(open_access(lab, Server("i-1", "", ()), lambda name: None).__enter__).result()
"""


def test_ctrl_c_does_not_wait_for_a_silent_server() -> None:
    """`status` opens the tunnel in a thread of its own. A terminal sends SIGINT to all processes of the command."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(GONE_SECONDS)
        port = str(silent.getsockname()[1])
        with subprocess.Popen(
            [sys.executable, "-c", HANG, port], stderr=subprocess.DEVNULL, start_new_session=True
        ) as process:
            connection, _ = silent.accept()
            with connection:
                os.killpg(process.pid, signal.SIGINT)
                process.wait(GONE_SECONDS)
