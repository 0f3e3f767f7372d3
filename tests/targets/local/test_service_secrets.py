"""Values of secrets come from the shell or a private file, and are stored where ECS would read them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from ecsconsul.config.lab import Lab, LocalSpec, ServiceSpec
from ecsconsul.errors import LabError
from ecsconsul.targets.local.service_secrets import (
    SecretValues,
    ServiceSecrets,
    Source,
    given_values,
    source_of,
    sources_of,
)

DB = "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf"
SECRETS = {"TOKEN": "/web/token", "USER_NAME": f"{DB}:user::", "DB_PASSWORD": f"{DB}:password::"}
LAB = Lab(name="blue", services=(ServiceSpec(name="web", path="/w", secrets=SECRETS),))
VALUES = {"TOKEN": "hunter1", "USER_NAME": "me", "DB_PASSWORD": "hunter2"}


def client(service: str) -> Any:
    return boto3.client(service, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")


@pytest.fixture
def account() -> Iterator[None]:
    with mock_aws():
        yield


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secrets.env"
    path.write_text("".join(f"{name}={value}\n" for name, value in VALUES.items()))
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("value_from", "source"),
    [
        ("token", Source("ssm", "token")),
        ("/web/token", Source("ssm", "/web/token")),
        ("arn:aws:ssm:us-east-1:123456789012:parameter/token", Source("ssm", "token")),
        ("arn:aws:ssm:us-east-1:123456789012:parameter/web/token", Source("ssm", "/web/token")),
        (DB, Source("secretsmanager", "db-AbCdEf")),
        (f"{DB}:user::", Source("secretsmanager", "db-AbCdEf", "user")),
    ],
)
def test_sources(value_from: str, source: Source) -> None:
    assert source_of(value_from) == source


def test_values_come_from_the_file_before_the_shell(file: Path) -> None:
    lab = Lab(name="blue", services=LAB.services, local=LocalSpec(secrets=str(file)))
    assert given_values(lab, {"TOKEN": "shell", "OTHER": "x"}) == VALUES
    assert given_values(LAB, {"TOKEN": "shell", "OTHER": "x"}) == {"TOKEN": "shell"}


def test_file_must_be_private(file: Path) -> None:
    lab = Lab(name="blue", services=LAB.services, local=LocalSpec(secrets=str(file)))
    file.chmod(0o640)
    with pytest.raises(LabError) as caught:
        given_values(lab, {})
    assert (caught.value.what, caught.value.hint) == ("The file of secrets isn't private", f"chmod 600 {file}")
    file.chmod(0o600)
    file.write_text("hunter3\n")
    with pytest.raises(LabError) as caught:
        given_values(lab, {})
    assert "hunter" not in str(caught.value) + caught.value.why
    file.unlink()
    with pytest.raises(LabError, match="can't be read"):
        given_values(lab, {})


def test_values_are_stored_once(account: None) -> None:
    values = SecretValues(sources_of(LAB), client)
    assert not values.are_stored(VALUES)
    assert values.store(VALUES) == 2
    assert values.are_stored(VALUES)
    assert values.store(VALUES) == 0
    assert client("ssm").get_parameter(Name="/web/token", WithDecryption=True)["Parameter"]["Value"] == "hunter1"
    text = client("secretsmanager").get_secret_value(SecretId="db-AbCdEf")["SecretString"]
    assert json.loads(text) == {"user": "me", "password": "hunter2"}


def test_a_changed_value_is_stored_and_the_others_stay(account: None) -> None:
    values = SecretValues(sources_of(LAB), client)
    values.store(VALUES)
    assert values.store({"DB_PASSWORD": "hunter3"}) == 1
    text = client("secretsmanager").get_secret_value(SecretId="db-AbCdEf")["SecretString"]
    assert json.loads(text) == {"user": "me", "password": "hunter3"}
    assert values.are_stored({})


def test_values_that_are_nowhere_are_an_error(account: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TOKEN", "hunter1")
    secrets = ServiceSecrets(LAB, client)
    for absent in (True, False):
        (error,) = secrets.errors(absent=absent)
        assert error.what == "USER_NAME, DB_PASSWORD have no value on this machine"
        assert "USER_NAME=VALUE" in error.hint
    SecretValues(sources_of(LAB), client).store(VALUES)
    assert secrets.errors(absent=False) == []
    assert secrets.are_stored()


def test_what_is_said_never_holds_a_value(account: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VALUES.items():
        monkeypatch.setenv(name, value)
    said: list[str] = []
    ServiceSecrets(LAB, client).store(said.append)
    assert said == ["wrote 2 secrets to the region"]


def test_files_in_s3_are_for_aws_only() -> None:
    service = ServiceSpec(name="web", path="/w", env_file=("arn:aws:s3:::bucket/web.env",))
    (error,) = ServiceSecrets(Lab(name="blue", services=(service,)), client).errors(absent=True)
    assert error.what == "arn:aws:s3:::bucket/web.env can't be read on this machine"
