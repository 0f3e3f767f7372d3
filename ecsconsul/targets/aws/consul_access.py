"""Opens a way to Consul inside the VPC: an SSH tunnel, a Session Manager tunnel, or the server's address itself.

A tunnel ends with its context, and also when this process is killed.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from ...config.lab import Lab
from ..base import ConsulAddress, Say
from .consul_server import HTTPS_PORT, ON_SERVER, ConsulServer, require_name
from .ssh_tunnel import ssh_tunnel
from .ssm_tunnel import ssm_tunnel


def open_access(
    lab: Lab,
    server: ConsulServer,
    client: Callable[[str], Any],
    *,
    profile: str = "",
    say: Say | None = None,
    remote: ConsulAddress = ON_SERVER,
) -> AbstractContextManager[ConsulAddress]:
    """A context manager that yields Consul's address as seen from here. Raises Unreachable.

    `client` creates boto3 clients, for Session Manager and for the certificate of the lab's authority. `say` receives
    notices for the user; by default they go to stderr. `remote` is where Consul listens, as seen from the server.
    """
    if lab.aws.consul_access == "ssh":
        return ssh_tunnel(lab, server, say or _to_stderr, remote)
    if lab.aws.consul_access == "ssm":
        return ssm_tunnel(server, client("ssm"), profile, remote)
    return _direct(lab, server, client)


@contextlib.contextmanager
def _direct(lab: Lab, server: ConsulServer, client: Callable[[str], Any]) -> Iterator[ConsulAddress]:
    from ...consul.pki import SERVER_NAME
    from .consul_secrets import authority_file

    require_name(server, "launch it in a subnet that assigns public addresses, or set `consul_access: ssm`")
    host, authority = server.public_name, str(authority_file(client("ssm"), lab.name))
    yield ConsulAddress(host, HTTPS_PORT, host, ON_SERVER.dns_port, ca_file=authority, server_name=SERVER_NAME)


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - a notice for the user, whichever command runs
