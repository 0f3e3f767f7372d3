"""Tunnels to Consul's ports or a task's through SSH: runs the user's own OpenSSH client, configuration and keys."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...config.aws_settings import SshSpec
from ...config.lab import Lab
from ...errors import Unreachable
from ..base import ConsulAddress, Say
from .consul_server import (
    LOOPBACK,
    ON_SERVER,
    ConsulServer,
    Ports,
    free_port,
    free_ports,
    leads_to_consul,
    require_name,
)
from .helper_process import HelperProcess
from .host_keys import HostKeys

CONNECT_SECONDS = 10
# includes the login
READY_SECONDS = 30.0
# ssh gives up on a server that stays silent for ALIVE_SECONDS * ALIVE_COUNT
ALIVE_SECONDS, ALIVE_COUNT = 5, 3
# another process can take a free port before ssh binds it
ATTEMPTS = 3
EXIT_SECONDS = 0.5
READY = "ecsconsul-tunnel-is-open"
_PORT_TAKEN = "Address already in use"
# parts of ssh's output -> hint
_HINTS = (
    (
        ("REMOTE HOST IDENTIFICATION HAS CHANGED", "Host key verification failed", "host key is known"),
        "the server's host key is not the one on record, so someone may be intercepting the connection;"
        " if you know why the key changed, remove {known_hosts}",
    ),
    (
        ("Permission denied",),
        "set aws.ssh.key in the config to the private key of the lab's key pair, or add the key to your ssh-agent",
    ),
    (("UNPROTECTED PRIVATE KEY", "bad permissions"), "run `chmod 600` on the private key file"),
    (
        ("administratively prohibited",),
        "allow TCP forwarding in the server's sshd (AllowTcpForwarding), or set `consul_access: ssm`",
    ),
    (
        ("open failed",),
        "Consul isn't answering on the server, perhaps because it is still starting;"
        " run `ecsconsul status` to see the state of the stack",
    ),
    (
        ("timed out", "Connection refused", "No route", "unreachable", "resolve hostname", "Connection closed"),
        "check that aws.ssh_cidr includes your address and that aws.key_name is set, or set `consul_access: ssm`",
    ),
)


@contextlib.contextmanager
def ssh_tunnel(lab: Lab, server: ConsulServer, say: Say, remote: ConsulAddress) -> Iterator[ConsulAddress]:
    """Tunnel Consul's HTTP and DNS ports. Raises Unreachable with ssh's own output."""
    keys = HostKeys(lab.name, server.instance_id)
    route = _route(lab, server, keys, remote)
    is_known = bool(keys.known())
    with _connected(route, keys, is_known) as (ssh, ports):
        if not is_known:
            # EC2 publishes an instance's console output late, and keeps it only for a while
            say(
                f"EC2 hasn't published the host key of {server.instance_id} yet."
                f" Trusting the key it presented on first use: {', '.join(keys.fingerprints())}"
            )
        try:
            yield ports.address()
        except Unreachable as error:
            # ssh closes its ports a moment before it exits
            if ssh.ended(within=EXIT_SECONDS):
                raise _failure("The SSH tunnel broke", route, ssh, keys) from error
            raise


@contextlib.contextmanager
def ssh_forward(lab: Lab, server: ConsulServer, host: str, port: int) -> Iterator[tuple[HelperProcess, int]]:
    """Tunnel one port of a host inside the VPC; yields ssh and the port here. Raises Unreachable with ssh's output."""
    keys = HostKeys(lab.name, server.instance_id)
    route = _route(lab, server, keys, ON_SERVER)
    for attempts_left in reversed(range(ATTEMPTS)):
        local = free_port()
        forwards = (f"{LOOPBACK}:{local}:{host}:{port}",)
        argv = _command(route, forwards, known_hosts=str(keys.path), is_known=bool(keys.known()))
        with HelperProcess(argv, lambda line: line == READY) as ssh:
            if ssh.await_ready(READY_SECONDS):
                yield ssh, local
                return
        if not attempts_left or not any(_PORT_TAKEN in line for line in ssh.output()):
            raise _failure(f"Cannot open an SSH tunnel to {host}:{port}", route, ssh, keys)


def _route(lab: Lab, server: ConsulServer, keys: HostKeys, remote: ConsulAddress) -> Route:
    """How to connect to the server, whose keys are recorded. Raises Unreachable where that can't work."""
    spec = lab.aws.ssh
    if not spec.host:
        require_name(server, "set aws.ssh.host to a host that forwards to it, or set `consul_access: ssm`")
    if shutil.which("ssh") is None:
        raise Unreachable(
            "There is no ssh on PATH",
            why="`consul_access: ssh` runs OpenSSH's client",
            hint="install OpenSSH's client, or set `consul_access: ssm`",
        )
    keys.record(server.host_keys)
    return Route(spec, spec.host or server.public_name, server.instance_id, remote)


@dataclass(frozen=True)
class Route:
    """How to connect, to which host, the name its host key is recorded under, and where Consul listens behind it."""

    spec: SshSpec
    host: str
    key_alias: str
    remote: ConsulAddress


@contextlib.contextmanager
def _connected(route: Route, keys: HostKeys, is_known: bool) -> Iterator[tuple[HelperProcess, Ports]]:
    """Run ssh until its tunnel leads to Consul."""
    for attempts_left in reversed(range(ATTEMPTS)):
        ports = free_ports()
        argv = command(route, ports, known_hosts=str(keys.path), is_known=is_known)
        with HelperProcess(argv, lambda line: line == READY) as ssh:
            if ssh.await_ready(READY_SECONDS) and leads_to_consul(ports):
                yield ssh, ports
                return
        # the output is complete only once ssh has exited
        if not attempts_left or not any(_PORT_TAKEN in line for line in ssh.output()):
            raise _failure("Cannot open an SSH tunnel to the Consul server", route, ssh, keys)


def command(route: Route, ports: Ports, *, known_hosts: str, is_known: bool) -> list[str]:
    """ssh's argument list for a tunnel to Consul."""
    remote = route.remote
    forwards = (
        f"{LOOPBACK}:{ports.http}:{remote.http_host}:{remote.http_port}",
        f"{LOOPBACK}:{ports.dns}:{remote.dns_host}:{remote.dns_port}",
    )
    return _command(route, forwards, known_hosts=known_hosts, is_known=is_known)


def _command(route: Route, forwards: Sequence[str], *, known_hosts: str, is_known: bool) -> list[str]:
    """ssh's argument list. The user's own ssh configuration applies, except for these options."""
    options = {
        # options that older versions of ssh don't know
        "IgnoreUnknown": "ForkAfterAuthentication,KnownHostsCommand",
        "BatchMode": "yes",
        "ConnectTimeout": str(CONNECT_SECONDS),
        "ServerAliveInterval": str(ALIVE_SECONDS),
        "ServerAliveCountMax": str(ALIVE_COUNT),
        "ExitOnForwardFailure": "yes",
        # ssh runs it once the ports are open
        "PermitLocalCommand": "yes",
        "LocalCommand": f"echo {READY}",
        "LogLevel": "INFO",
        # a connection of its own, which ends with this process
        "ControlMaster": "no",
        "ControlPath": "none",
        "ControlPersist": "no",
        "ForkAfterAuthentication": "no",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        # an instance keeps its id and its host keys when its address changes
        "HostKeyAlias": route.key_alias,
        "StrictHostKeyChecking": "yes" if is_known else "accept-new",
        "UserKnownHostsFile": f'"{known_hosts}"',
        "GlobalKnownHostsFile": "/dev/null",
        "KnownHostsCommand": "none",
        "VerifyHostKeyDNS": "no",
        "HashKnownHosts": "no",
        "UpdateHostKeys": "no",
        "CheckHostIP": "no",
    }
    arguments = [word for option, value in options.items() for word in ("-o", f"{option}={value}")]
    spec = route.spec
    key = ["-i", spec.key, "-o", "IdentitiesOnly=yes"] if spec.key else []
    # leave the default port to the user's ssh configuration
    port = ["-p", str(spec.port)] if spec.port != SshSpec().port else []
    tunnels = [word for forward in forwards for word in ("-L", forward)]
    return ["ssh", "-N", "-T", *arguments, *key, *port, "-l", spec.user, *tunnels, "--", route.host]


def _failure(what: str, route: Route, ssh: HelperProcess, keys: HostKeys) -> Unreachable:
    ssh.close()
    output = [line for line in ssh.output() if not line.startswith("Warning: Permanently added")]
    why = "\n".join(output) or "ssh exited without any output"
    return Unreachable(what, where=f"ssh to {route.host}", why=why, hint=hint(output, keys))


def hint(output: Sequence[str], keys: HostKeys) -> str:
    """What to do about ssh's output."""
    text = "\n".join(output)
    for signs, advice in _HINTS:
        if any(sign in text for sign in signs):
            return advice.format(known_hosts=keys.path)
    return "connect to the server with `ssh -v` to see more; aws.ssh in the config sets the host, user and key"
