"""The configuration of Consul agents, and the option names that differ between Consul's versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .lab_secrets import AGENT, MANAGEMENT, LabSecrets

# Since 1.11 acl.tokens.master is called initial_management. https://developer.hashicorp.com/consul/docs/upgrade/version-specific
INITIAL_MANAGEMENT_SINCE = (1, 11)
# Since 1.12 the TLS options are in a `tls` block.
TLS_BLOCK_SINCE = (1, 12)
# Since 1.14 every server opens one more port unless told not to; earlier versions reject the key.
GRPC_TLS_SINCE = (1, 14)

# Since 1.15 start_join is another name of retry_join.
RETRY_JOIN_ALONE_SINCE = (1, 15)

# For Prometheus, which scrapes every 15 seconds (docs/monitoring). It must be at least twice the interval. What isn't
# updated for that long is forgotten: a longer time costs memory, a shorter one loses what is rare, as elections are.
# https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/telemetry
TELEMETRY = {"prometheus_retention_time": "5m", "disable_hostname": True}

CA_FILE, SERVER_CERTIFICATE_FILE, SERVER_KEY_FILE = "ca.pem", "server.pem", "server-key.pem"
OFF = -1


@dataclass(frozen=True)
class ConsulPorts:
    """Where a Consul agent listens. https://developer.hashicorp.com/consul/docs/reference/architecture/ports"""

    http: int = 8500
    dns: int = 8600
    server: int = 8300
    serf_lan: int = 8301
    https: int = OFF


@dataclass(frozen=True)
class AgentSpec:
    """One agent: its node name, its address and ports, and its folders.

    `dns_addresses`, `http_addresses` and `https_addresses` are where its DNS and its API listen; an API may also listen
    at a Unix socket, `unix:///path`. `files` is the folder with its certificates, as the agent sees it.
    """

    node: str
    address: str
    dns_addresses: tuple[str, ...]
    http_addresses: tuple[str, ...]
    ports: ConsulPorts
    data_dir: str
    files: str
    https_addresses: tuple[str, ...] = ()
    recursors: tuple[str, ...] = ()

    @property
    def serf(self) -> str:
        """host:port of its gossip, which others join."""
        return f"{self.address}:{self.ports.serf_lan}"


def client_config(agent: AgentSpec, lab_secrets: LabSecrets, *, join: Sequence[str], version: str) -> dict[str, Any]:
    """The configuration of an agent in client mode; `join` are the servers' gossip addresses.

    https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file
    """
    security = security_config(lab_secrets, server=False, files=agent.files, version=version)
    # An agent that knows no server when it first compares its services with theirs tries again some seconds later.
    first = {"start_join": list(join)} if _numbers(version) < RETRY_JOIN_ALONE_SINCE else {}
    return {**_config(agent, join, version), **security, **first}


def server_config(
    agent: AgentSpec, lab_secrets: LabSecrets, *, join: Sequence[str], expect: int, version: str
) -> dict[str, Any]:
    """The configuration of a server; the first `expect` servers bootstrap the quorum, later ones join it."""
    security = security_config(lab_secrets, server=True, files=agent.files, version=version)
    config = {**_config(agent, join, version), **security, "server": True}
    return {**config, "bootstrap_expect": expect} if len(join) <= expect else config


def security_config(
    lab_secrets: LabSecrets, *, server: bool, files: str, version: str, transition: bool = False
) -> dict[str, Any]:
    """Gossip encryption, ACLs and TLS of an agent, and its telemetry, which both worlds configure alike.

    Servers have a certificate of the lab's CA in the folder `files`; agents get theirs from the servers (auto-encrypt).
    With `transition`, servers also accept who has no certificate and no token, as long as others of the lab are still
    without them. https://developer.hashicorp.com/consul/docs/secure/encryption/tls/enable/existing/builtin
    """
    return {
        "encrypt": lab_secrets.gossip_key,
        "acl": _acl(lab_secrets, server, version, transition),
        **(_signing(lab_secrets) if server else {"auto_encrypt": {"tls": True}}),
        **_tls(server, files, version, transition),
        "telemetry": TELEMETRY,
    }


def _signing(lab_secrets: LabSecrets) -> dict[str, Any]:
    """Servers sign the agents' certificates with the lab's authority.

    By default each cluster makes an authority of its own. An only server that is replaced would then start a cluster
    that refuses the certificates of all agents that are there.
    """
    authority = {"private_key": lab_secrets.ca_key, "root_cert": lab_secrets.ca_certificate}
    connect = {"enabled": True, "ca_provider": "consul", "ca_config": authority}
    return {"auto_encrypt": {"allow_tls": True}, "connect": connect}


def _acl(lab_secrets: LabSecrets, server: bool, version: str, transition: bool) -> dict[str, Any]:
    tokens = {"agent": lab_secrets.token(AGENT)}
    if server:
        new = _numbers(version) >= INITIAL_MANAGEMENT_SINCE
        tokens["initial_management" if new else "master"] = lab_secrets.token(MANAGEMENT)
    policy = "allow" if transition else "deny"
    # An agent whose servers do not answer goes on with what it knows.
    return {"enabled": True, "default_policy": policy, "down_policy": "extend-cache", "tokens": tokens}


def _tls(server: bool, files: str, version: str, transition: bool) -> dict[str, Any]:
    """HTTPS asks for no certificate: a token says who may do what."""
    strict = not (server and transition)
    pair = {"cert_file": f"{files}/{SERVER_CERTIFICATE_FILE}", "key_file": f"{files}/{SERVER_KEY_FILE}"}
    certificates = {"ca_file": f"{files}/{CA_FILE}", **(pair if server else {})}
    if _numbers(version) < TLS_BLOCK_SINCE:
        rules = {"verify_outgoing": strict, "verify_server_hostname": strict, "verify_incoming_rpc": strict}
        return {**certificates, **rules}
    rpc = {"verify_incoming": strict, "verify_server_hostname": strict}
    return {"tls": {"defaults": {**certificates, "verify_outgoing": strict}, "internal_rpc": rpc}}


def _config(agent: AgentSpec, join: Sequence[str], version: str) -> dict[str, Any]:
    return {
        "node_name": agent.node,
        "data_dir": agent.data_dir,
        "bind_addr": agent.address,
        "addresses": {
            "dns": " ".join(agent.dns_addresses),
            "http": " ".join(agent.http_addresses),
            **({"https": " ".join(agent.https_addresses)} if agent.https_addresses else {}),
        },
        "ports": _ports(agent.ports, version),
        # The folder of a Unix socket decides who may connect.
        "unix_sockets": {"mode": "0666"},
        **({"recursors": list(agent.recursors)} if agent.recursors else {}),
        "retry_join": [address for address in join if address != agent.serf],
        "retry_interval": "200ms",
        # The fastest election that Consul allows: all servers are on this machine.
        "performance": {"raft_multiplier": 1, "leave_drain_time": "0s"},
        # Mark a truncated UDP answer as such, or clients take it for the whole.
        "dns_config": {"enable_truncate": True},
        # Publish a check's output when it changes, not only every five minutes.
        "check_update_interval": "0s",
        "disable_update_check": True,
        # A server that stops must also leave the quorum, or the remaining ones lose it.
        "leave_on_terminate": True,
        "log_level": "info",
    }


def _ports(ports: ConsulPorts, version: str) -> dict[str, int]:
    listening = {"http": ports.http, "https": ports.https, "dns": ports.dns}
    cluster = {"server": ports.server, "serf_lan": ports.serf_lan}
    unused = ["serf_wan", "grpc", *(["grpc_tls"] if _numbers(version) >= GRPC_TLS_SINCE else [])]
    return {**listening, **cluster, **dict.fromkeys(unused, OFF)}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
