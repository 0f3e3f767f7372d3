"""The configuration of Consul agents, by version."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ecsconsul.consul.agent_config import AgentSpec, ConsulPorts, client_config, security_config, server_config
from ecsconsul.consul.lab_secrets import AGENT, MANAGEMENT, new_secrets
from tests.consul_server import consul_binary

SECRETS = new_secrets("lab")
PAIR = {"cert_file": "/files/server.pem", "key_file": "/files/server-key.pem"}


def agent(host: int = 2, *more: str) -> AgentSpec:
    address = f"127.77.0.{host}"
    return AgentSpec(f"i-{host}", address, (address, *more), (address,), ConsulPorts(), "/lab/i/data", "/files")


def test_server_config() -> None:
    join = ["127.77.0.2:8301", "127.77.0.3:8301"]
    found = server_config(agent(2, "127.0.0.1"), SECRETS, join=join, expect=3, version="1.8.7")
    assert (found["server"], found["bootstrap_expect"]) == (True, 3)
    assert found["retry_join"] == ["127.77.0.3:8301"], "not itself"
    assert found["bind_addr"] == "127.77.0.2"
    assert found["addresses"] == {"dns": "127.77.0.2 127.0.0.1", "http": "127.77.0.2"}
    assert (found["ports"]["serf_wan"], found["ports"]["https"]) == (-1, -1)
    assert found["data_dir"] == "/lab/i/data"


def test_server_that_comes_later_joins_the_quorum_and_does_not_bootstrap_one() -> None:
    join = [f"127.77.0.{host}:8301" for host in (2, 3)]
    assert "bootstrap_expect" not in server_config(agent(), SECRETS, join=join, expect=1, version="1.8.7")


def test_client_config() -> None:
    found = client_config(agent(), SECRETS, join=["127.77.0.3:8301"], version="1.8.7")
    assert "server" not in found
    assert "bootstrap_expect" not in found
    assert found["leave_on_terminate"] is True


@pytest.mark.parametrize(
    ("version", "known"), [("1.8.7", True), ("1.14.11", True), ("1.15.0", False), ("2.0.4", False)]
)
def test_an_agent_joins_before_anything_else_where_the_version_can(version: str, known: bool) -> None:
    found = client_config(agent(), SECRETS, join=["127.77.0.3:8301"], version=version)
    assert found.get("start_join") == (["127.77.0.3:8301"] if known else None)
    assert found["retry_join"] == ["127.77.0.3:8301"]


# Options that are called the same in every version.
SIGNING = ("encrypt", "acl", "auto_encrypt", "connect", "telemetry")


@pytest.mark.parametrize(
    ("version", "known"), [("1.8.7", False), ("1.13.9", False), ("1.14.0", True), ("1.22.1", True), ("2.0.4", True)]
)
def test_the_grpc_tls_port_is_closed_where_the_version_knows_it(version: str, known: bool) -> None:
    assert ("grpc_tls" in client_config(agent(), SECRETS, join=[], version=version)["ports"]) is known


@pytest.mark.parametrize(
    ("version", "name"), [("1.8.7", "master"), ("1.10.12", "master"), ("1.11.0", "initial_management")]
)
def test_servers_have_the_management_token_by_its_name_in_the_version(version: str, name: str) -> None:
    acl = security_config(SECRETS, server=True, files="/files", version=version)["acl"]
    assert acl["tokens"] == {"agent": SECRETS.token(AGENT), name: SECRETS.token(MANAGEMENT)}


@pytest.mark.parametrize("version", ["1.8.7", "1.12.0", "1.22.1"])
def test_agents_have_neither_the_management_token_nor_a_private_key(version: str) -> None:
    text = json.dumps(security_config(SECRETS, server=False, files="/files", version=version))
    assert SECRETS.token(AGENT) in text
    assert SECRETS.token(MANAGEMENT) not in text
    assert "key_file" not in text


@pytest.mark.parametrize(
    ("version", "server", "expected"),
    [
        (
            "1.11.11",
            True,
            {
                "ca_file": "/files/ca.pem",
                **PAIR,
                "verify_outgoing": True,
                "verify_server_hostname": True,
                "verify_incoming_rpc": True,
            },
        ),
        (
            "1.12.0",
            True,
            {
                "tls": {
                    "defaults": {"ca_file": "/files/ca.pem", **PAIR, "verify_outgoing": True},
                    "internal_rpc": {"verify_incoming": True, "verify_server_hostname": True},
                }
            },
        ),
        (
            "1.22.1",
            False,
            {
                "tls": {
                    "defaults": {"ca_file": "/files/ca.pem", "verify_outgoing": True},
                    "internal_rpc": {"verify_incoming": True, "verify_server_hostname": True},
                }
            },
        ),
    ],
)
def test_tls_options_by_version(version: str, server: bool, expected: dict[str, Any]) -> None:
    found = security_config(SECRETS, server=server, files="/files", version=version)
    assert {key: value for key, value in found.items() if key not in SIGNING} == expected


def test_servers_sign_with_the_labs_authority() -> None:
    """So that a server that starts a new cluster accepts the agents that are there."""
    server, client = (security_config(SECRETS, server=one, files="/files", version="1.8.7") for one in (True, False))
    authority = {"private_key": SECRETS.ca_key, "root_cert": SECRETS.ca_certificate}
    assert server["connect"] == {"enabled": True, "ca_provider": "consul", "ca_config": authority}
    assert SECRETS.ca_key not in json.dumps(client) and "connect" not in client


@pytest.mark.parametrize("version", ["1.8.7", "1.22.1"])
def test_in_transition_servers_accept_everybody_and_agents_stay_strict(version: str) -> None:
    server, client = (
        security_config(SECRETS, server=one, files="/files", version=version, transition=True) for one in (True, False)
    )
    assert (server["acl"]["default_policy"], client["acl"]["default_policy"]) == ("allow", "allow")
    assert "true" not in json.dumps({key: server[key] for key in server.keys() & {"tls", "verify_incoming_rpc"}})
    assert "false" not in json.dumps({key: client[key] for key in client.keys() & {"tls", "verify_outgoing"}})


def test_every_agent_keeps_metrics_for_prometheus() -> None:
    """So that both worlds do: in AWS the instances read security_config, and write the rest themselves."""
    security = security_config(SECRETS, server=False, files="/files", version="1.22.1")
    for found in (security, client_config(agent(), SECRETS, join=[], version="1.22.1")):
        assert found["telemetry"] == {"prometheus_retention_time": "5m", "disable_hostname": True}


@pytest.mark.parametrize("server", [True, False])
def test_a_real_consul_accepts_the_configuration(tmp_path: Path, server: bool) -> None:
    files = {"ca.pem": SECRETS.ca_certificate, "server.pem": SECRETS.server_certificate}
    for name, content in {**files, "server-key.pem": SECRETS.server_key}.items():
        (tmp_path / name).write_text(content)
    spec = AgentSpec(
        "i-1", "127.0.0.1", ("127.0.0.1",), ("127.0.0.1",), ConsulPorts(), str(tmp_path), str(tmp_path), ("127.0.0.1",)
    )
    version = subprocess.run([consul_binary(), "version"], capture_output=True, text=True, check=True, timeout=60)
    number = version.stdout.split()[1].removeprefix("v")
    config = (
        server_config(spec, SECRETS, join=["127.0.0.1:8301"], expect=1, version=number)
        if server
        else client_config(spec, SECRETS, join=["127.0.0.1:8301"], version=number)
    )
    (tmp_path / "consul.json").write_text(json.dumps(config))
    found = subprocess.run(
        [consul_binary(), "validate", str(tmp_path / "consul.json")], capture_output=True, text=True, timeout=60
    )
    assert found.returncode == 0, found.stdout + found.stderr
