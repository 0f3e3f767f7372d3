"""A command in a running task, in a session that Session Manager's plugin joins to this terminal.

Where the task takes commands that is a session of ECS Exec, which needs a role of the task; else one on its instance,
with `docker exec` there, for which the instance's role is enough.
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
from ..running_container import Running
from .session import code_of, refused

PLUGIN = "session-manager-plugin"
_DOCS = "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-exec.html"
# from this version on the plugin takes the session, with its token, from a variable, where no `ps` shows it:
# https://docs.aws.amazon.com/systems-manager/latest/userguide/plugin-version-history.html
_BY_VARIABLE = (1, 2, 497, 0)
_VARIABLE = "AWS_SSM_START_SESSION_RESPONSE"
VERSION_TIMEOUT = 10.0

# runs a command in a shell with a terminal, as a user who may become root
DOCUMENT = "AWS-StartInteractiveCommand"

# a session as ECS tells it, whose it is, and what else the plugin is told
Begun = tuple[Mapping[str, Any], str, "Mapping[str, Any] | None"]
Run = Callable[[Sequence[str], Mapping[str, str]], int]


def execute(
    clients: Callable[[str], Any],
    cluster: str,
    running: Running,
    argv: Sequence[str],
    profile: str,
    run: Run | None = None,
) -> int:
    """Run a command in a container, joined to this terminal; the session's exit code. Raises LabError."""
    from botocore.exceptions import ClientError

    plugin = shutil.which(PLUGIN)
    if plugin is None:
        raise LabError(
            f"There is no {PLUGIN} on PATH",
            why="a session in AWS needs it on this machine",
            hint="install the Session Manager plugin for the AWS CLI",
        )
    begin = _by_ecs if running.takes_commands else _by_instance
    try:
        session, target, more = begin(clients, cluster, running, argv)
    except ClientError as error:
        raise _no_session(error, running) from error
    return (run or run_joined)(*plugin_call(plugin, session, target, clients("ssm"), profile, more))


def _by_ecs(clients: Callable[[str], Any], cluster: str, running: Running, argv: Sequence[str]) -> Begun:
    found = clients("ecs").execute_command(
        cluster=cluster,
        task=running.task_arn,
        container=running.container,
        command=shlex.join(argv),
        interactive=True,
    )
    return found["session"], f"ecs:{cluster}_{running.task_id}_{running.runtime_id}", None


def _by_instance(clients: Callable[[str], Any], cluster: str, running: Running, argv: Sequence[str]) -> Begun:
    found = clients("ecs").describe_container_instances(cluster=cluster, containerInstances=[running.instance_arn])
    instance = found["containerInstances"][0]["ec2InstanceId"]
    command = f"sudo docker exec -it {running.runtime_id} {shlex.join(argv)}"
    more = {"DocumentName": DOCUMENT, "Parameters": {"command": [command]}}
    session = clients("ssm").start_session(Target=instance, **more)
    return {key[0].lower() + key[1:]: session[key] for key in ("SessionId", "StreamUrl", "TokenValue")}, instance, more


def plugin_call(
    plugin: str,
    session: Mapping[str, Any],
    target: str,
    ssm: Any,
    profile: str,
    more: Mapping[str, Any] | None = None,
) -> tuple[list[str], dict[str, str]]:
    """The command line of the plugin, and the variables to add, as the AWS CLI calls it.

    `ssm` is the client whose region and endpoint the plugin shall use, `more` what else than the target the session was
    asked for with.
    """
    # the plugin reads the answer of SSM's StartSession, whose keys begin with capitals
    told = json.dumps({key[0].upper() + key[1:]: session[key] for key in ("sessionId", "streamUrl", "tokenValue")})
    by_variable = _version(plugin) >= _BY_VARIABLE
    what = _VARIABLE if by_variable else told
    asked = json.dumps({"Target": target, **(more or {})})
    argv = [plugin, what, ssm.meta.region_name, "StartSession", profile, asked, ssm.meta.endpoint_url]
    return argv, {_VARIABLE: told} if by_variable else {}


def run_joined(argv: Sequence[str], variables: Mapping[str, str]) -> int:
    """Run a program, joined to this terminal, to its end. A Ctrl-C is for what runs in it, not for this process."""
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
    found = refused("AWS opens no session for the task", error, where=f"task {running.task_id[:8]}")
    if running.takes_commands:
        found.hint = f"the task must have a role that may use ECS Exec: {_DOCS}"
    elif code_of(error) == "TargetNotConnected":
        found.hint = "the agent of the task's instance has not reported to Session Manager (yet)"
    return found
