"""Consul through SSH: the user's own OpenSSH client, with its configuration, agent and keys, as a subprocess."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...config.lab import Lab, SshSpec
from ...errors import Unreachable
from ..base import ConsulAddress, Say
from .consul_access import LOOPBACK, ConsulServer, Ports, free_ports, leads_to_consul, require_name
from .helper_process import HelperProcess
from .host_keys import HostKeys

CONNECT_SECONDS = 10
# for the login as well
READY_SECONDS = 30.0
# a server that says nothing for so long is gone
ALIVE_SECONDS, ALIVE_COUNT = 5, 3
# somebody may take a free port before ssh does
TRIES = 3
ENDING_SECONDS = 0.5
READY = "ecsconsul-tunnel-is-open"
_TAKEN = "Address already in use"
# what ssh says -> what to do about it
_HINTS = (
    (
        ("REMOTE HOST IDENTIFICATION HAS CHANGED", "Host key verification failed", "host key is known"),
        "this is not the server that it was: somebody may listen in. If you know why its key is another one,"
        " remove {known_hosts}",
    ),
    (
        ("Permission denied",),
        "name the private key of the lab's key pair (aws.ssh.key in the config) or add it to your ssh-agent",
    ),
    (("UNPROTECTED PRIVATE KEY", "bad permissions"), "chmod 600 the key file"),
    (
        ("administratively prohibited",),
        "the server's sshd must allow TCP forwarding; or take `consul_access: ssm`",
    ),
    (("open failed",), "Consul does not answer on the server (yet): `ecsconsul status` shows its stack"),
    (
        ("timed out", "Connection refused", "No route", "unreachable", "resolve hostname", "Connection closed"),
        "is your address within aws.ssh_cidr, and a key pair named (aws.key_name)? Or take `consul_access: ssm`",
    ),
)


@contextlib.contextmanager
def through_ssh(lab: Lab, facts: ConsulServer, say: Say, inside: ConsulAddress) -> Iterator[ConsulAddress]:
    """A tunnel to Consul's HTTP and DNS, for as long as the context lasts. Raises Unreachable with ssh's own words."""
    spec = lab.aws.ssh
    if not spec.host:
        require_name(facts, "name a host that leads to it (aws.ssh.host), or take `consul_access: ssm`")
    if shutil.which("ssh") is None:
        raise Unreachable("There is no ssh on PATH", hint="install OpenSSH's client, or take `consul_access: ssm`")
    keys = HostKeys(lab.name, facts.instance_id)
    keys.tell(facts.host_keys)
    is_known = bool(keys.known())
    host = spec.host or facts.public_name
    way = Way(spec, host, facts.instance_id, inside)
    with _connected(way, keys, is_known) as (ssh, ports):
        if not is_known:
            # EC2 shows what an instance has written on its console only for a while, and late
            prints = ", ".join(keys.fingerprints())
            say(f"EC2 does not tell the host key of {facts.instance_id}; trusted at first sight, from now on: {prints}")
        try:
            yield ports.address()
        except Unreachable as error:
            # its ports are closed a moment before it has ended
            if ssh.ended(within=ENDING_SECONDS):
                raise _failure("The SSH tunnel broke", host, ssh, keys) from error
            raise


@dataclass(frozen=True)
class Way:
    """To which host, as whom, under which name its key is known, and what lies behind it."""

    spec: SshSpec
    host: str
    name: str
    inside: ConsulAddress


@contextlib.contextmanager
def _connected(way: Way, keys: HostKeys, is_known: bool) -> Iterator[tuple[HelperProcess, Ports]]:
    """An ssh whose tunnel leads to Consul."""
    for tries_left in reversed(range(TRIES)):
        ports = free_ports()
        argv = command(way, ports, known_hosts=str(keys.path), is_known=is_known)
        with HelperProcess(argv, lambda line: line == READY) as ssh:
            if ssh.await_ready(READY_SECONDS) and leads_to_consul(ports):
                yield ssh, ports
                return
        # only now it has said all that it had to say
        if not tries_left or not any(_TAKEN in line for line in ssh.said()):
            raise _failure("No SSH tunnel to the Consul server", way.host, ssh, keys)


def command(way: Way, ports: Ports, *, known_hosts: str, is_known: bool) -> list[str]:
    """The command line of ssh. What the user's own configuration says of the host holds, but for these options."""
    options = {
        # those that are newer than an old ssh
        "IgnoreUnknown": "ForkAfterAuthentication,KnownHostsCommand",
        "BatchMode": "yes",
        "ConnectTimeout": str(CONNECT_SECONDS),
        "ServerAliveInterval": str(ALIVE_SECONDS),
        "ServerAliveCountMax": str(ALIVE_COUNT),
        "ExitOnForwardFailure": "yes",
        # it runs once the ports are open
        "PermitLocalCommand": "yes",
        "LocalCommand": f"echo {READY}",
        "LogLevel": "INFO",
        # a connection of its own, which ends with it
        "ControlMaster": "no",
        "ControlPath": "none",
        "ControlPersist": "no",
        "ForkAfterAuthentication": "no",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        # an instance keeps its id and its keys, whatever its address
        "HostKeyAlias": way.name,
        "StrictHostKeyChecking": "yes" if is_known else "accept-new",
        "UserKnownHostsFile": f'"{known_hosts}"',
        "GlobalKnownHostsFile": "/dev/null",
        "KnownHostsCommand": "none",
        "VerifyHostKeyDNS": "no",
        "HashKnownHosts": "no",
        "UpdateHostKeys": "no",
        "CheckHostIP": "no",
    }
    told = [word for option, value in options.items() for word in ("-o", f"{option}={value}")]
    spec, inside = way.spec, way.inside
    key = ["-i", spec.key, "-o", "IdentitiesOnly=yes"] if spec.key else []
    # the usual port is left to the user's configuration
    port = ["-p", str(spec.port)] if spec.port != SshSpec().port else []
    forwards = (
        f"{LOOPBACK}:{ports.http}:{inside.http_host}:{inside.http_port}",
        f"{LOOPBACK}:{ports.dns}:{inside.dns_host}:{inside.dns_port}",
    )
    tunnels = [word for forward in forwards for word in ("-L", forward)]
    return ["ssh", "-N", "-T", *told, *key, *port, "-l", spec.user, *tunnels, "--", way.host]


def _failure(what: str, host: str, ssh: HelperProcess, keys: HostKeys) -> Unreachable:
    ssh.close()
    said = [line for line in ssh.said() if not line.startswith("Warning: Permanently added")]
    return Unreachable(what, where=f"ssh to {host}", why="\n".join(said) or "ssh said nothing", hint=hint(said, keys))


def hint(said: Sequence[str], keys: HostKeys) -> str:
    """What to do about what ssh said."""
    text = "\n".join(said)
    for signs, found in _HINTS:
        if any(sign in text for sign in signs):
            return found.format(known_hosts=keys.path)
    return "`ssh` to the server by hand shows more; aws.ssh in the config says how"
