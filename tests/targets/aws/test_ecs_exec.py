"""A command in a task: the requests to ECS and SSM, and the plugin's arguments."""

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
from ecsconsul.targets.aws.ecs_exec import execute, run_in_foreground
from ecsconsul.targets.running_container import Running

RUNNING = Running("arn:aws:ecs:eu-west-1:1:task/blue/abc123", "weather", "abc123-456", "arn:c", takes_commands=True)
PLAIN = replace(RUNNING, takes_commands=False)
SESSION = {"sessionId": "s-1", "streamUrl": "wss://example/s-1", "tokenValue": "secret"}


class FakeEcs:
    """The clients of ECS and SSM: they open a session, or fail with an error code."""

    meta = SimpleNamespace(region_name="eu-west-1", endpoint_url="https://ssm.eu-west-1.amazonaws.com")

    def __init__(self, code: str = "") -> None:
        self._code = code
        self.request: dict[str, Any] = {}

    def __call__(self, service: str) -> FakeEcs:
        assert service in ("ecs", "ssm")
        return self

    def describe_container_instances(self, *, cluster: str, containerInstances: list[str]) -> dict[str, Any]:
        assert (cluster, containerInstances) == ("blue", ["arn:c"])
        return {"containerInstances": [{"ec2InstanceId": "i-1"}]}

    def start_session(self, **request: Any) -> dict[str, Any]:
        self.request = request
        if self._code:
            raise ClientError({"Error": {"Code": self._code, "Message": "no agent"}}, "StartSession")
        return {key[0].upper() + key[1:]: value for key, value in SESSION.items()}

    def execute_command(self, **request: Any) -> dict[str, Any]:
        self.request = request
        if self._code:
            raise ClientError({"Error": {"Code": self._code, "Message": "no agent"}}, "ExecuteCommand")
        return {"session": SESSION}


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plugin on PATH, which records its arguments and the session it gets."""
    path = tmp_path / "session-manager-plugin"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    write(path, "1.2.650.0")
    return path


def write(path: Path, version: str) -> None:
    path.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo {version} && exit 0\n'
        f'printf "%s\\n" "$@" > {path.parent}/argv\n'
        f'printf %s "$AWS_SSM_START_SESSION_RESPONSE" > {path.parent}/session\n'
        "exit 3\n"
    )
    path.chmod(0o755)


def test_plugin_gets_the_session_and_its_exit_code_is_returned(plugin: Path) -> None:
    ecs = FakeEcs()
    assert execute(ecs, "blue", RUNNING, ["sh", "-c", "echo $HOME"], "me") == 3
    assert ecs.request == {
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
    session = json.loads((plugin.parent / "session").read_text())
    assert session == {"SessionId": "s-1", "StreamUrl": "wss://example/s-1", "TokenValue": "secret"}


def test_task_without_ecs_exec_runs_docker_exec_on_its_instance(plugin: Path) -> None:
    clients = FakeEcs()
    assert execute(clients, "blue", PLAIN, ["sh", "-c", "echo $HOME"], "") == 3
    assert clients.request == {
        "Target": "i-1",
        "DocumentName": "AWS-StartInteractiveCommand",
        "Parameters": {"command": ["sudo docker exec -it abc123-456 sh -c 'echo $HOME'"]},
    }
    argv = (plugin.parent / "argv").read_text().splitlines()
    assert json.loads(argv[4]) == clients.request
    assert json.loads((plugin.parent / "session").read_text())["SessionId"] == "s-1"


def test_older_plugin_gets_the_session_as_an_argument(plugin: Path) -> None:
    write(plugin, "1.2.463.0")
    execute(FakeEcs(), "blue", RUNNING, ["ls"], "")
    argv = (plugin.parent / "argv").read_text().splitlines()
    assert json.loads(argv[0])["TokenValue"] == "secret"
    assert (plugin.parent / "session").read_text() == ""


def test_missing_plugin_is_reported_before_a_session_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ecs = FakeEcs()
    with pytest.raises(LabError, match="There is no session-manager-plugin on PATH"):
        execute(ecs, "blue", RUNNING, ["ls"], "")
    assert ecs.request == {}


@pytest.mark.parametrize(
    ("running", "code", "hint"),
    [
        (RUNNING, "InvalidParameterException", "ecs-exec.html"),
        (PLAIN, "TargetNotConnected", "a few minutes to connect to Session Manager"),
        (PLAIN, "AccessDeniedException", "docs/aws.md"),
    ],
)
def test_failed_session_says_what_to_do(plugin: Path, running: Running, code: str, hint: str) -> None:
    def never(_: Sequence[str], __: Mapping[str, str]) -> int:
        raise AssertionError

    with pytest.raises(LabError, match="AWS can't start a session for the task") as raised:
        execute(FakeEcs(code), "blue", running, ["ls"], "", never)
    assert raised.value.where == "task abc123"
    assert "no agent" in raised.value.why
    assert hint in raised.value.hint


def test_ctrl_c_does_not_end_this_process() -> None:
    """The program sends SIGINT to this process, which carries on until the program exits."""
    import os
    import signal

    before = signal.getsignal(signal.SIGINT)
    assert run_in_foreground(["sh", "-c", f"kill -INT {os.getpid()}; exit 5"], {}) == 5
    assert signal.getsignal(signal.SIGINT) is before
