"""`doctor` on this machine and in an account that moto plays; and what `up` asks before it makes what costs there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from tests.cli.conftest import Shell
from tests.docker.engine_server import engine_server
from tests.moto_account import ACCOUNT, account, moto_url

__all__ = ["account", "moto_url"]

Account = Callable[[str], Any]

INFO = {"Architecture": "x86_64", "OSType": "linux", "SecurityOptions": []}
# whichever version of the API it is asked in
ENGINE = {f"/v1.{number}/info": INFO for number in range(24, 70)} | {"/version": {"ApiVersion": "1.41"}}
AWS = """\
lab: blue
target: aws
services:
  weather:
    path: app
"""


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine of these tests may be as slow as the machine that they run on."""
    monkeypatch.setattr("ecsconsul.docker.engine.LOOK_TIMEOUT", 60.0)


@pytest.fixture
def aws(shell: Shell, account: Account, moto_url: str) -> Shell:
    """A shell whose variables lead into the account."""
    (shell.folder / "config.yaml").write_text(AWS)
    variables = {
        "AWS_ENDPOINT_URL": moto_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "DOCKER_HOST": f"unix://{shell.folder}/no-engine.sock",
    }
    return Shell(shell.folder, variables)


def test_of_this_machine(shell: Shell) -> None:
    done = shell.run("doctor")
    assert done.returncode == 0, done.stderr
    assert "runtime" in done.stdout
    assert "Nothing is in the way of `up`." in done.stdout
    document = shell.document("doctor")
    assert (document["lab"], document["target"], document["well"]) == ("cli-lab", "local", True)
    assert all(finding.keys() == {"name", "state", "detail", "hint"} for finding in document["findings"])


def test_what_is_not_well_has_a_hint_and_exits_1(shell: Shell) -> None:
    (shell.folder / "app" / "Dockerfile").write_text("FROM scratch\n")
    done = shell.run("doctor")
    assert done.returncode == 1
    assert "`up` would refuse to begin." in done.stdout
    failed = [one for one in shell.document("doctor")["findings"] if one["state"] == "failed"]
    assert failed
    assert all(one["hint"] for one in failed)


def test_of_an_account(aws: Shell) -> None:
    found = {one["name"]: one for one in aws.document("doctor")["findings"]}
    assert found["identity"]["detail"].startswith(f"account {ACCOUNT}, region us-east-1")
    assert found["dns"]["detail"] == "Amazon's at 172.31.0.2"
    assert found["permissions"]["state"] == "unknown"


def test_without_credentials_it_says_how_to_get_some(aws: Shell) -> None:
    without = {k: v for k, v in aws.environment.items() if "KEY" not in k} | {"AWS_EC2_METADATA_DISABLED": "true"}
    (aws.folder / "nothing").touch()
    files = ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE")
    shell = Shell(aws.folder, {**without, **{name: str(aws.folder / "nothing") for name in files}})
    for verb in ("doctor", "plan", "status", "down"):
        done = shell.run(verb, *(["--yes"] if verb == "down" else []))
        assert done.returncode == 1, verb
        assert "There are no AWS credentials" in done.stdout + done.stderr, verb
        assert "aws configure" in done.stdout + done.stderr, verb
        assert "Traceback" not in done.stderr


@pytest.fixture
def ready(aws: Shell) -> Iterator[Shell]:
    """Where nothing is in the way of `up`: a Docker engine answers."""
    with engine_server(aws.folder / "engine.sock", ENGINE):
        yield Shell(aws.folder, {**aws.environment, "DOCKER_HOST": f"unix://{aws.folder}/engine.sock"})


def test_up_says_what_it_will_make_and_where_and_makes_nothing_without_a_yes(ready: Shell) -> None:
    done = ready.run("up", stdin="n\n")
    assert done.returncode == 1
    assert f"`up` will create resources in AWS account {ACCOUNT}, region us-east-1" in done.stderr
    assert "1 Consul server and 2 ECS instances" in done.stderr
    assert "Nothing was made." in done.stderr
    assert made(ready) == []


def test_where_nobody_can_answer_up_is_wrong_usage(ready: Shell) -> None:
    done = ready.run("up")
    assert done.returncode == 2
    assert "ecsconsul up --yes" in done.stderr
    assert made(ready) == []


def made(shell: Shell) -> list[str]:
    ssm = boto3.client("ssm", endpoint_url=shell.environment["AWS_ENDPOINT_URL"], region_name="us-east-1")
    names = [one["Name"] for one in ssm.describe_parameters()["Parameters"]]
    return [name for name in names if name.startswith("/ecsconsul")]


def test_a_portal_that_does_not_run_yet_cannot_be_opened(aws: Shell) -> None:
    (aws.folder / "config.yaml").write_text(AWS + "    host_port: 8080\n")
    done = aws.run("open")
    assert done.returncode == 1
    assert "No task of weather runs yet" in done.stderr
