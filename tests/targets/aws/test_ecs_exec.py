"""A command in a task: what ECS and Session Manager's plugin are told."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ecsconsul.errors import LabError
from ecsconsul.targets.aws.ecs_exec import execute, run_joined
from ecsconsul.targets.running_container import Running

RUNNING = Running("arn:aws:ecs:eu-west-1:1:task/blue/abc123", "weather", "abc123-456", "arn:c", takes_commands=True)
PLAIN = replace(RUNNING, takes_commands=False)
SESSION = {"sessionId": "s-1", "streamUrl": "wss://example/s-1", "tokenValue": "secret"}


class FakeEcs:
    """Clients of ECS and Session Manager: they open a session, or refuse."""

    meta = SimpleNamespace(region_name="eu-west-1", endpoint_url="https://ssm.eu-west-1.amazonaws.com")

    def __init__(self, refusal: str = "") -> None:
        self._refusal = refusal
        self.asked: dict[str, Any] = {}

    def __call__(self, service: str) -> FakeEcs:
        assert service in ("ecs", "ssm")
        return self

    def describe_container_instances(self, *, cluster: str, containerInstances: list[str]) -> dict[str, Any]:
        assert (cluster, containerInstances) == ("blue", ["arn:c"])
        return {"containerInstances": [{"ec2InstanceId": "i-1"}]}

    def start_session(self, **asked: Any) -> dict[str, Any]:
        self.asked = asked
        if self._refusal:
            raise ClientError({"Error": {"Code": self._refusal, "Message": "no agent"}}, "StartSession")
        return {key[0].upper() + key[1:]: value for key, value in SESSION.items()}

    def execute_command(self, **asked: Any) -> dict[str, Any]:
        self.asked = asked
        if self._refusal:
            raise ClientError({"Error": {"Code": self._refusal, "Message": "no agent"}}, "ExecuteCommand")
        return {"session": SESSION}


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The plugin on PATH: says its version, and tells what it was called with."""
    path = tmp_path / "session-manager-plugin"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    write(path, "1.2.650.0")
    return path


def write(path: Path, version: str) -> None:
    path.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo {version} && exit 0\n'
        f'printf "%s\\n" "$@" > {path.parent}/argv\nprintf %s "$AWS_SSM_START_SESSION_RESPONSE" > {path.parent}/told\n'
        "exit 3\n"
    )
    path.chmod(0o755)


def test_the_plugin_joins_the_session_and_its_exit_code_is_passed_on(plugin: Path) -> None:
    ecs = FakeEcs()
    assert execute(ecs, "blue", RUNNING, ["sh", "-c", "echo $HOME"], "me") == 3
    assert ecs.asked == {
        "cluster": "blue",
        "task": RUNNING.task_arn,
        "container": "weather",
        "command": "sh -c 'echo $HOME'",
        "interactive": True,
    }
    argv = (plugin.parent / "argv").read_text().splitlines()
    assert argv == [
        "AWS_SSM_START_SESSION_RESPONSE",
        "eu-west-1",
        "StartSession",
        "me",
        json.dumps({"Target": "ecs:blue_abc123_abc123-456"}),
        "https://ssm.eu-west-1.amazonaws.com",
    ]
    told = json.loads((plugin.parent / "told").read_text())
    assert told == {"SessionId": "s-1", "StreamUrl": "wss://example/s-1", "TokenValue": "secret"}


def test_a_task_that_takes_no_commands_gets_them_from_its_instances_docker(plugin: Path) -> None:
    clients = FakeEcs()
    assert execute(clients, "blue", PLAIN, ["sh", "-c", "echo $HOME"], "") == 3
    assert clients.asked == {
        "Target": "i-1",
        "DocumentName": "AWS-StartInteractiveCommand",
        "Parameters": {"command": ["sudo docker exec -it abc123-456 sh -c 'echo $HOME'"]},
    }
    argv = (plugin.parent / "argv").read_text().splitlines()
    assert json.loads(argv[4]) == clients.asked
    assert json.loads((plugin.parent / "told").read_text())["SessionId"] == "s-1"


def test_an_older_plugin_takes_the_session_as_an_argument(plugin: Path) -> None:
    write(plugin, "1.2.463.0")
    execute(FakeEcs(), "blue", RUNNING, ["ls"], "")
    argv = (plugin.parent / "argv").read_text().splitlines()
    assert json.loads(argv[0])["TokenValue"] == "secret"
    assert (plugin.parent / "told").read_text() == ""


def test_without_the_plugin_that_is_said_and_no_session_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ecs = FakeEcs()
    with pytest.raises(LabError, match="There is no session-manager-plugin on PATH"):
        execute(ecs, "blue", RUNNING, ["ls"], "")
    assert ecs.asked == {}


@pytest.mark.parametrize(
    ("running", "code", "hint"),
    [
        (RUNNING, "InvalidParameterException", "ecs-exec.html"),
        (PLAIN, "TargetNotConnected", "has not reported to Session Manager"),
        (PLAIN, "AccessDeniedException", "docs/aws.md"),
    ],
)
def test_a_session_that_is_not_opened_says_what_it_wants(plugin: Path, running: Running, code: str, hint: str) -> None:
    def never(_: Sequence[str], __: Mapping[str, str]) -> int:
        raise AssertionError

    with pytest.raises(LabError, match="AWS opens no session for the task") as raised:
        execute(FakeEcs(code), "blue", running, ["ls"], "", never)
    assert raised.value.where == "task abc123"
    assert "no agent" in raised.value.why
    assert hint in raised.value.hint


def test_an_interrupt_is_for_what_runs_and_not_for_us() -> None:
    """The program sends it to its whole group but itself, and ends well; this process goes on."""
    import os
    import signal

    before = signal.getsignal(signal.SIGINT)
    assert run_joined(["sh", "-c", f"kill -INT {os.getpid()}; exit 5"], {}) == 5
    assert signal.getsignal(signal.SIGINT) is before
