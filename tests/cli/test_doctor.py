"""`doctor` on this machine and in an account served by moto, and how `up` asks before it creates anything there."""

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
# in any version of the API
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
    """Waits longer for the engine, since the machine of the tests may be slow."""
    monkeypatch.setattr("ecsconsul.docker.engine.LOOK_TIMEOUT", 60.0)


@pytest.fixture
def aws(shell: Shell, account: Account, moto_url: str) -> Shell:
    """A shell whose environment points to the account."""
    (shell.folder / "config.yaml").write_text(AWS)
    variables = {
        "AWS_ENDPOINT_URL": moto_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "DOCKER_HOST": f"unix://{shell.folder}/no-engine.sock",
    }
    return Shell(shell.folder, variables)


def test_doctor_on_this_machine(shell: Shell) -> None:
    done = shell.run("doctor")
    assert done.returncode == 0, done.stderr
    assert "runtime" in done.stdout
    assert "`up` is ready to run." in done.stdout
    document = shell.document("doctor")
    assert (document["lab"], document["target"], document["well"]) == ("cli-lab", "local", True)
    assert all(finding.keys() == {"name", "state", "detail", "hint"} for finding in document["findings"])


def test_failed_check_has_a_hint_and_exits_with_1(shell: Shell) -> None:
    (shell.folder / "app" / "Dockerfile").write_text("FROM scratch\n")
    done = shell.run("doctor")
    assert done.returncode == 1
    assert "`up` can't run until you fix what failed." in done.stdout
    failed = [one for one in shell.document("doctor")["findings"] if one["state"] == "failed"]
    assert failed
    assert all(one["hint"] for one in failed)


def test_doctor_in_an_account(aws: Shell) -> None:
    found = {one["name"]: one for one in aws.document("doctor")["findings"]}
    assert found["identity"]["detail"].startswith(f"account {ACCOUNT}, region us-east-1")
    assert found["dns"]["detail"] == "Amazon's at 172.31.0.2"
    assert found["permissions"]["state"] == "unknown"


def test_missing_credentials_say_how_to_get_some(aws: Shell) -> None:
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
    """An account with nothing that blocks `up`: a Docker engine answers."""
    with engine_server(aws.folder / "engine.sock", ENGINE):
        yield Shell(aws.folder, {**aws.environment, "DOCKER_HOST": f"unix://{aws.folder}/engine.sock"})


def test_up_asks_before_it_creates_anything(ready: Shell) -> None:
    done = ready.run("up", stdin="n\n")
    assert done.returncode == 1
    assert f"`up` will create resources in AWS account {ACCOUNT}, region us-east-1" in done.stderr
    assert "1 Consul server and 2 ECS instances" in done.stderr
    assert "Nothing was changed." in done.stderr
    assert created(ready) == []


def test_up_with_closed_stdin_is_wrong_usage(ready: Shell) -> None:
    done = ready.run("up")
    assert done.returncode == 2
    assert "ecsconsul up --yes" in done.stderr
    assert created(ready) == []


def created(shell: Shell) -> list[str]:
    ssm = boto3.client("ssm", endpoint_url=shell.environment["AWS_ENDPOINT_URL"], region_name="us-east-1")
    names = [one["Name"] for one in ssm.describe_parameters()["Parameters"]]
    return [name for name in names if name.startswith("/ecsconsul")]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("a..b",), "'a..b' isn't a DNS name"),
        (("10.0.0.1",), "10.0.0.1 is an address, not a name"),
        (("i-0a1b.node", "--tag", "http"), "i-0a1b.node.consul can't have a tag"),
        (("weather", "-t", "MX"), "Invalid value for '-t'"),
    ],
)
def test_dig_refuses_a_wrong_name_before_it_opens_a_tunnel(aws: Shell, words: tuple[str, ...], error: str) -> None:
    """Without a lab in the account, opening the tunnel would fail with 1."""
    done = aws.run("dig", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert error in done.stderr


def test_logs_of_the_registrator(aws: Shell) -> None:
    done = aws.run("logs", "registrator")
    assert done.returncode == 0, done.stderr
    assert "No task of registrator has logged anything yet." in done.stderr
    done = aws.run("logs", "wether")
    assert done.returncode == 2
    assert "it has: weather, registrator" in done.stderr


def test_exec_in_the_registrator(aws: Shell) -> None:
    done = aws.run("exec", "registrator", "--", "env")
    assert done.returncode == 1
    assert "No task of registrator is running" in done.stderr


def test_open_before_the_portal_runs(aws: Shell) -> None:
    (aws.folder / "config.yaml").write_text(AWS + "    host_port: 8080\n")
    done = aws.run("open")
    assert done.returncode == 1
    assert "No task of weather is running yet" in done.stderr
