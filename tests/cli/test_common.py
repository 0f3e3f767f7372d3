"""Settings add this call's options to the commands in a text, and find the services to act on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ecsconsul.cli.common import RUNTIME_VARIABLE, Settings


@pytest.fixture(autouse=True)
def without_runtime_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RUNTIME_VARIABLE, raising=False)


@pytest.mark.parametrize(
    ("given", "text", "told"),
    [
        (Settings(), "`ecsconsul up` starts it", "`ecsconsul up` starts it"),
        (Settings(target="aws"), "`ecsconsul up` starts it", "`ecsconsul up --target aws` starts it"),
        (Settings(target="aws"), "ecsconsul down --yes", "ecsconsul down --target aws --yes"),
        (Settings(target="aws"), "`ecsconsul down --target aws` has", "`ecsconsul down --target aws` has"),
        (Settings(config=Path("a b.yaml")), "ecsconsul dig web", "ecsconsul dig --config 'a b.yaml' web"),
        (
            Settings(config=Path("x.yaml"), profile="me", region="eu-west-1"),
            "`ecsconsul up` or `ecsconsul down` takes it",
            "`ecsconsul up --config x.yaml --profile me --region eu-west-1` or "
            "`ecsconsul down --config x.yaml --profile me --region eu-west-1` takes it",
        ),
        (
            Settings(runtime="docker"),
            "`ecsconsul up`; `ecsconsul down`",
            "`ecsconsul up --runtime docker`; `ecsconsul down`",
        ),
        (Settings(runtime="docker"), "ecsconsul up --runtime processes", "ecsconsul up --runtime processes"),
        (Settings(target="aws"), "is the lab up (ecsconsul status)?", "is the lab up (ecsconsul status --target aws)?"),
        (Settings(target="aws"), "ecsconsul: an ecsconsul update", "ecsconsul: an ecsconsul update"),
    ],
)
def test_commands_in_a_text_get_the_options_of_this_call(given: Settings, text: str, told: str) -> None:
    assert given.with_options(text) == told


def test_runtime_from_the_environment_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUNTIME_VARIABLE, "processes")
    assert Settings(runtime="processes").with_options("`ecsconsul up`") == "`ecsconsul up`"


DEBUGGED = """
import boto3, os
from moto import mock_aws
from ecsconsul.cli.common import _log_requests
_log_requests()
with mock_aws():
    ssm = boto3.client("ssm", region_name="us-east-1")
    ssm.put_parameter(Name="/x", Type="SecureString", Value="a-secret-value")
    ssm.get_parameters_by_path(Path="/", WithDecryption=True)
"""


def test_debug_names_the_requests_and_shows_nothing_of_their_contents() -> None:
    secrets = {"AWS_SECRET_ACCESS_KEY": "a-secret-key", "AWS_SESSION_TOKEN": "a-session-token"}
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "AKIA", **secrets}
    done = subprocess.run(
        [sys.executable, "-c", DEBUGGED], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert "name=PutParameter" in done.stderr
    assert "name=GetParametersByPath" in done.stderr
    found = [word for word in ("a-secret-value", *secrets.values()) if word in done.stderr]
    assert found == [], [line for line in done.stderr.splitlines() if found[0] in line][:3]
