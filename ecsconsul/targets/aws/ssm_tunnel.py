"""Consul through Session Manager's port forwarding: no key, no open port, but its plugin on this machine."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

from ...errors import Unreachable
from ..base import ConsulAddress
from .consul_access import ConsulServer, Ports, free_ports, leads_to_consul
from .ecs_exec import PLUGIN, plugin_call
from .helper_process import HelperProcess
from .session import code_of, refused

DOCUMENT = "AWS-StartPortForwardingSession"
READY_SECONDS = 30.0
# what the plugin says once its port is open
READY = "Waiting for connections"


@contextlib.contextmanager
def through_ssm(facts: ConsulServer, ssm: Any, profile: str, inside: ConsulAddress) -> Iterator[ConsulAddress]:
    """A session for each of Consul's ports, for as long as the context lasts. Raises Unreachable."""
    plugin = shutil.which(PLUGIN)
    if plugin is None:
        raise Unreachable(
            f"There is no {PLUGIN} on PATH",
            why="Session Manager needs it on this machine",
            hint="install the Session Manager plugin for the AWS CLI, or take `consul_access: ssh`",
        )
    ports = free_ports()
    with contextlib.ExitStack() as stack:
        running = []
        for remote, local in ((inside.http_port, ports.http), (inside.dns_port, ports.dns)):
            session = stack.enter_context(_session(ssm, facts, remote, local))
            running.append(stack.enter_context(_forwarding(plugin, session, facts, ssm, profile, (remote, local))))
        _check(running, ports, facts)
        try:
            yield ports.address()
        except Unreachable as error:
            if any(one.ended() for one in running):
                raise _failure("The session to the Consul server broke", facts, running) from error
            raise


@contextlib.contextmanager
def _session(ssm: Any, facts: ConsulServer, remote: int, local: int) -> Iterator[dict[str, Any]]:
    """A session, terminated at the end: one that is only left would last until it is idle for long enough."""
    from botocore.exceptions import ClientError

    try:
        session = ssm.start_session(
            Target=facts.instance_id, DocumentName=DOCUMENT, Parameters=_parameters(remote, local)
        )
    except ClientError as error:
        raise _refusal(error, facts) from error
    try:
        yield session
    finally:
        # one that has ended already is fine
        with contextlib.suppress(ClientError):
            ssm.terminate_session(SessionId=session["SessionId"])


@contextlib.contextmanager
def _forwarding(
    plugin: str, session: dict[str, Any], facts: ConsulServer, ssm: Any, profile: str, ports: tuple[int, int]
) -> Iterator[HelperProcess]:
    """The plugin, called as the AWS CLI calls it."""
    told = {key[0].lower() + key[1:]: session[key] for key in ("SessionId", "StreamUrl", "TokenValue")}
    more = {"DocumentName": DOCUMENT, "Parameters": _parameters(*ports)}
    argv, variables = plugin_call(plugin, told, facts.instance_id, ssm, profile, more)
    with HelperProcess(argv, lambda line: READY in line, variables) as running:
        yield running


def _parameters(remote: int, local: int) -> dict[str, list[str]]:
    return {"portNumber": [str(remote)], "localPortNumber": [str(local)]}


def _check(running: list[HelperProcess], ports: Ports, facts: ConsulServer) -> None:
    """Raises Unreachable unless both ports are open, and Consul answers behind them."""
    if not all(one.await_ready(READY_SECONDS) for one in running):
        raise _failure("Session Manager opens no port to the Consul server", facts, running)
    if not leads_to_consul(ports):
        raise _failure("Consul does not answer through Session Manager", facts, running)


def _failure(what: str, facts: ConsulServer, running: list[HelperProcess]) -> Unreachable:
    for one in running:
        one.close()
    said = dict.fromkeys(line for one in running for line in one.said())
    return Unreachable(
        what,
        where=f"instance {facts.instance_id}",
        why="\n".join(said) or f"{PLUGIN} said nothing",
        hint="does Consul run on the server? `ecsconsul status` shows its stack; or take `consul_access: ssh`",
    )


def _refusal(error: Exception, facts: ConsulServer) -> Unreachable:
    found = refused("Session Manager opens no session", error)
    hint = found.hint
    if code_of(error) == "TargetNotConnected":
        hint = "its agent has not reported to Session Manager (yet): a server needs some minutes after its start"
    return Unreachable(found.what, where=f"instance {facts.instance_id}", why=found.why, hint=hint)
