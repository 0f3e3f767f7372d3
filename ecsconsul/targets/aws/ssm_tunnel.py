"""Tunnels to Consul's ports or a task's through Session Manager. Needs no key and no open port, only its plugin."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

from ...errors import Unreachable
from ..base import ConsulAddress
from ..client_errors import client_error, error_code
from .consul_server import ConsulServer, Ports, free_port, free_ports, leads_to_consul
from .ecs_exec import PLUGIN, plugin_call
from .helper_process import HelperProcess
from .session import refused

DOCUMENT = "AWS-StartPortForwardingSession"
# https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-working-with-sessions-start.html
REMOTE_DOCUMENT = "AWS-StartPortForwardingSessionToRemoteHost"
READY_SECONDS = 30.0
# the plugin prints this once its port is open
READY = "Waiting for connections"


@contextlib.contextmanager
def ssm_tunnel(server: ConsulServer, ssm: Any, profile: str, remote: ConsulAddress) -> Iterator[ConsulAddress]:
    """Open one session for each of Consul's ports. Raises Unreachable."""
    plugin = _plugin()
    ports = free_ports()
    with contextlib.ExitStack() as stack:
        plugins = []
        for remote_port, local_port in ((remote.http_port, ports.http), (remote.dns_port, ports.dns)):
            # the arguments of StartSession, which the plugin needs too
            parameters = {"portNumber": [str(remote_port)], "localPortNumber": [str(local_port)]}
            request = {"Target": server.instance_id, "DocumentName": DOCUMENT, "Parameters": parameters}
            session = stack.enter_context(_session(ssm, server, request))
            plugins.append(stack.enter_context(_forwarding(plugin, session, request, ssm, profile)))
        _check(plugins, ports, server)
        try:
            yield ports.address()
        except Unreachable as error:
            if any(one.ended() for one in plugins):
                raise _failure("The Session Manager tunnel broke", server, plugins) from error
            raise


@contextlib.contextmanager
def ssm_forward(
    server: ConsulServer, ssm: Any, profile: str, host: str, port: int
) -> Iterator[tuple[HelperProcess, int]]:
    """Tunnel one port of a host inside the VPC; yields the plugin and the port here. Raises Unreachable."""
    plugin, local = _plugin(), free_port()
    parameters = {"host": [host], "portNumber": [str(port)], "localPortNumber": [str(local)]}
    request = {"Target": server.instance_id, "DocumentName": REMOTE_DOCUMENT, "Parameters": parameters}
    with _session(ssm, server, request) as session, _forwarding(plugin, session, request, ssm, profile) as running:
        if not running.await_ready(READY_SECONDS):
            raise _failure(f"Session Manager can't forward a port to {host}:{port}", server, [running])
        yield running, local


def _plugin() -> str:
    """The plugin's path. Raises Unreachable."""
    plugin = shutil.which(PLUGIN)
    if plugin is None:
        raise Unreachable(
            f"There is no {PLUGIN} on PATH",
            why="`consul_access: ssm` runs it on this machine",
            hint="install the Session Manager plugin for the AWS CLI, or set `consul_access: ssh`",
        )
    return plugin


@contextlib.contextmanager
def _session(ssm: Any, server: ConsulServer, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Start a session, and terminate it at the end: an abandoned one lasts until its idle timeout."""
    try:
        session = ssm.start_session(**request)
    except client_error() as error:
        raise _refusal(error, server) from error
    try:
        yield session
    finally:
        # the session may have ended already
        with contextlib.suppress(client_error()):
            ssm.terminate_session(SessionId=session["SessionId"])


@contextlib.contextmanager
def _forwarding(
    plugin: str, session: dict[str, Any], request: dict[str, Any], ssm: Any, profile: str
) -> Iterator[HelperProcess]:
    """Run the plugin the way the AWS CLI does."""
    argv, variables = plugin_call(plugin, session, request, ssm, profile)
    with HelperProcess(argv, lambda line: READY in line, variables) as running:
        yield running


def _check(plugins: list[HelperProcess], ports: Ports, server: ConsulServer) -> None:
    """Raises Unreachable unless both ports are open and Consul answers behind them."""
    if not all(one.await_ready(READY_SECONDS) for one in plugins):
        raise _failure("Session Manager can't forward a port to the Consul server", server, plugins)
    if not leads_to_consul(ports):
        raise _failure("Consul doesn't answer through Session Manager", server, plugins)


def _failure(what: str, server: ConsulServer, plugins: list[HelperProcess]) -> Unreachable:
    for one in plugins:
        one.close()
    output = dict.fromkeys(line for one in plugins for line in one.output())
    return Unreachable(
        what,
        where=f"instance {server.instance_id}",
        why="\n".join(output) or f"{PLUGIN} exited without any output",
        hint="run `ecsconsul status` to check that the server has started Consul, or set `consul_access: ssh`",
    )


def _refusal(error: Exception, server: ConsulServer) -> Unreachable:
    found = refused("Session Manager can't start a session", error)
    hint = found.hint
    if error_code(error) == "TargetNotConnected":
        hint = "wait: the SSM agent on a new server needs a few minutes to connect to Session Manager"
    return Unreachable(found.what, where=f"instance {server.instance_id}", why=found.why, hint=hint)
