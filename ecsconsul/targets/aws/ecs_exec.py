"""Runs a command in a running task, in a session that Session Manager's plugin connects to this terminal.

Uses ECS Exec if the task has it enabled, which needs a task role. Otherwise it opens a session on the task's instance
and runs `docker exec` there, for which the instance's role is enough.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import LabError
from ..client_errors import client_error, error_code
from ..running_container import Running
from .session import refused

PLUGIN = "session-manager-plugin"
_DOCS = "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-exec.html"
# from this version on the plugin reads the session, with its token, from a variable, so that `ps` doesn't show it:
# https://docs.aws.amazon.com/systems-manager/latest/userguide/plugin-version-history.html
_READS_VARIABLE = (1, 2, 497, 0)
_VARIABLE = "AWS_SSM_START_SESSION_RESPONSE"
VERSION_TIMEOUT = 10.0

# runs a command in a shell with a terminal, as a user who may become root
DOCUMENT = "AWS-StartInteractiveCommand"

# a session in the form of SSM's StartSession, and the request that opened it
Opened = tuple[Mapping[str, Any], Mapping[str, Any]]
Run = Callable[[Sequence[str], Mapping[str, str]], int]


def execute(
    clients: Callable[[str], Any],
    cluster: str,
    running: Running,
    argv: Sequence[str],
    profile: str,
    run: Run | None = None,
) -> int:
    """Run a command in a container, connected to this terminal; the session's exit code. Raises LabError."""
    plugin = shutil.which(PLUGIN)
    if plugin is None:
        raise LabError(
            f"There is no {PLUGIN} on PATH",
            why="sessions in AWS go through it",
            hint="install the Session Manager plugin for the AWS CLI",
        )
    open_session = _with_ecs_exec if running.takes_commands else _on_instance
    try:
        session, request = open_session(clients, cluster, running, argv)
    except client_error() as error:
        raise _no_session(error, running) from error
    return (run or run_in_foreground)(*plugin_call(plugin, session, request, clients("ssm"), profile))


def _with_ecs_exec(clients: Callable[[str], Any], cluster: str, running: Running, argv: Sequence[str]) -> Opened:
    found = clients("ecs").execute_command(
        cluster=cluster, task=running.task_arn, container=running.container, command=shlex.join(argv), interactive=True
    )
    # SSM's API spells these keys with a capital
    session = {key[0].upper() + key[1:]: value for key, value in found["session"].items()}
    return session, {"Target": f"ecs:{cluster}_{running.task_id}_{running.runtime_id}"}


def _on_instance(clients: Callable[[str], Any], cluster: str, running: Running, argv: Sequence[str]) -> Opened:
    found = clients("ecs").describe_container_instances(cluster=cluster, containerInstances=[running.instance_arn])
    instance = found["containerInstances"][0]["ec2InstanceId"]
    command = f"sudo docker exec -it {running.runtime_id} {shlex.join(argv)}"
    request = {"Target": instance, "DocumentName": DOCUMENT, "Parameters": {"command": [command]}}
    return clients("ssm").start_session(**request), request


def plugin_call(
    plugin: str, session: Mapping[str, Any], request: Mapping[str, Any], ssm: Any, profile: str
) -> tuple[list[str], dict[str, str]]:
    """The plugin's argument list and the variables to add, as the AWS CLI calls it.

    `session` is what SSM's StartSession answered to `request`. The plugin uses the region and endpoint of the client
    `ssm`.
    """
    answer = json.dumps({key: session[key] for key in ("SessionId", "StreamUrl", "TokenValue")})
    reads_variable = _version(plugin) >= _READS_VARIABLE
    first = _VARIABLE if reads_variable else answer
    region, endpoint = ssm.meta.region_name, ssm.meta.endpoint_url
    argv = [plugin, first, region, "StartSession", profile, json.dumps(request), endpoint]
    return argv, {_VARIABLE: answer} if reads_variable else {}


def run_in_foreground(argv: Sequence[str], variables: Mapping[str, str]) -> int:
    """Run a program on this terminal until it exits. Ctrl-C goes to the remote command, not to this process."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return subprocess.run(argv, env={**os.environ, **variables}, check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def _version(plugin: str) -> tuple[int, ...]:
    try:
        done = subprocess.run(
            [plugin, "--version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.search(r"\d+(\.\d+)+", done.stdout)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _no_session(error: Exception, running: Running) -> LabError:
    found = refused("AWS can't start a session for the task", error, where=f"task {running.task_id[:8]}")
    if running.takes_commands:
        found.hint = f"give the task a role with the permissions that ECS Exec needs: {_DOCS}"
    elif error_code(error) == "TargetNotConnected":
        found.hint = "wait: the SSM agent on a new instance needs a few minutes to connect to Session Manager"
    return found
