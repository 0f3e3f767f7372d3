"""Reaching a Consul server at its own address, with TLS and the lab's authority."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ecsconsul.config.aws_settings import AwsSpec
from ecsconsul.config.lab import Lab
from ecsconsul.consul.lab_secrets import new_secrets
from ecsconsul.consul.pki import SERVER_NAME
from ecsconsul.errors import Unreachable
from ecsconsul.targets.aws.consul_access import open_access
from ecsconsul.targets.aws.consul_secrets import CA
from ecsconsul.targets.aws.consul_server import ConsulServer as Server
from ecsconsul.targets.aws.ssm_parameter import LabParameter
from ecsconsul.targets.base import ConsulAddress
from tests.consul_server import ConsulServer, consul_server

Account = Callable[[str], Any]
LAB = Lab(name="blue", aws=AwsSpec(consul_access="direct"))
SECRETS = new_secrets("blue")
HTTPS = 17400


@pytest.fixture(scope="module")
def consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulServer]:
    """A server with the lab's certificate."""
    folder = tmp_path_factory.mktemp("files")
    files = {"cert_file": SECRETS.server_certificate, "key_file": SECRETS.server_key}
    for name, text in files.items():
        (folder / name).write_text(text)
    options = "\n".join(f'{name} = "{folder / name}"' for name in files)
    with consul_server(f"{options}\nports {{ https = {HTTPS} }}") as server:
        yield server


def at(server: ConsulServer, authority: Path, name: str = SERVER_NAME) -> ConsulAddress:
    return ConsulAddress(server.host, HTTPS, server.host, 8600, ca_file=str(authority), server_name=name)


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    (tmp_path / "ca.pem").write_text(SECRETS.ca_certificate)
    return tmp_path / "ca.pem"


def test_server_of_the_lab_answers(consul: ConsulServer, authority: Path) -> None:
    address = at(consul, authority)
    assert address.http == f"https://{consul.host}:{HTTPS}"
    assert address.client().leader().startswith(f"{consul.host}:")


def test_another_name_or_authority_is_refused(consul: ConsulServer, authority: Path, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"Hostname mismatch|doesn't match"):
        at(consul, authority, "client.dc1.consul").client().leader()
    (tmp_path / "other.pem").write_text(new_secrets("green").ca_certificate)
    with pytest.raises(Unreachable, match="certificate verify failed"):
        at(consul, tmp_path / "other.pem").client().leader()


def test_direct_access_uses_https_at_the_servers_public_name(account: Account) -> None:
    LabParameter(account("ssm"), "blue", CA).make(SECRETS.ca_certificate)
    with open_access(LAB, Server("i-1", "ec2-1.example", ()), account) as address:
        assert address[:4] == ("ec2-1.example", 8501, "ec2-1.example", 8600)
        assert (address.http, address.dns_tcp_only) == ("https://ec2-1.example:8501", False)
        assert address.server_name == SERVER_NAME
        assert Path(address.ca_file).read_text() == SECRETS.ca_certificate
    with pytest.raises(Unreachable, match="no public address"), open_access(LAB, Server("i-1", "", ()), account):
        pass
