"""The ACLs of the lab's Consul: creates its policies and tokens, and gives tasks the tokens that they need.

In AWS a Consul server's boot script sends the same requests.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import closing

from ..consul.acl import ALREADY_THERE, AclRequest, acl_requests, service_requests
from ..consul.lab_secrets import MANAGEMENT, LabSecrets, service_holder
from ..errors import LabError
from ..registrator.consul_client import ConsulClient, ConsulRefused
from .runtimes.interface import CannotStart, Ec2Instance

log = logging.getLogger(__name__)

LEADER_TIMEOUT = 60.0
# Consul has no event for an election, and refuses ACLs for some milliseconds after it.
RETRY_DELAY = 0.02
_CHECK_TTL = re.compile(r"SERVICE_(?:(\d+)_)?CHECK_TTL")


class ConsulAcl:
    """The ACLs of one lab. `ready` is set as soon as agents can join."""

    def __init__(self, lab_secrets: LabSecrets) -> None:
        self._secrets = lab_secrets
        self._services: set[str] = set()
        self.ready = threading.Event()

    def use(self, lab_secrets: LabSecrets) -> None:
        """Give tasks that start from now on tokens of these secrets."""
        self._secrets = lab_secrets
        self._services = set()

    def create(self, server: Ec2Instance) -> None:
        """Create policies and tokens through a server, once it has a leader; gives up when that takes too long."""
        end = time.monotonic() + LEADER_TIMEOUT
        while not server.stopping.is_set():
            try:
                self._await_leader(server, end)
                self._send(server, acl_requests(self._secrets))
            except LabError as error:
                if time.monotonic() > end:
                    log.error("Consul's ACLs were not created at %s: %s", server.instance_id, error)
                    return
                server.stopping.wait(RETRY_DELAY)
            else:
                self.ready.set()
                return

    def _await_leader(self, server: Ec2Instance, end: float) -> None:
        """Returns at the end of the time, too. Raises LabError while the server does not answer."""
        with closing(ConsulClient(server.http)) as consul:
            while not consul.leader() and time.monotonic() < end and not server.stopping.wait(RETRY_DELAY):
                pass

    def task_environment(self, environment: Mapping[str, str], instance: Ec2Instance) -> dict[str, str]:
        """The variables with which a container reports to its service's `ttl` check; empty if it has none.

        Its token may write that service and no other. Raises CannotStart.
        """
        service = _service_with_ttl(environment)
        if not service:
            return {}
        if service not in self._services:
            try:
                self._send(instance, service_requests(self._secrets, [service]))
            except LabError as error:
                raise CannotStart(f"ResourceInitializationError: no Consul token for {service}: {error}") from error
            self._services.add(service)
        token = self._secrets.token(service_holder(service))
        variables = {"CONSUL_HTTP_ADDR": instance.http_url, "CONSUL_HTTP_TOKEN": token}
        # An agent's certificate names no address; and the connection does not leave the instance.
        return {**variables, **({"CONSUL_HTTP_SSL_VERIFY": "false"} if instance.consul.https > 0 else {})}

    def _send(self, instance: Ec2Instance, requests: Iterable[AclRequest]) -> None:
        """Raises LabError."""
        with closing(ConsulClient(instance.http, self._secrets.token(MANAGEMENT))) as consul:
            for path, body in requests:
                try:
                    consul.put(path, body)
                except ConsulRefused as refusal:
                    if ALREADY_THERE not in refusal.why:
                        raise


def _service_with_ttl(environment: Mapping[str, str]) -> str:
    """The name of the service whose check the container itself reports to; "" if there is none."""
    for variable in environment:
        if found := _CHECK_TTL.fullmatch(variable):
            port = found.group(1)
            return environment.get(f"SERVICE_{port}_NAME", "") or environment.get("SERVICE_NAME", "")
    return ""
