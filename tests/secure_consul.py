"""A real Consul server and agent of a lab, with its ACLs, TLS and gossip encryption."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex

import pytest
import requests

from ecsconsul.consul.agent_config import AgentSpec
from ecsconsul.consul.lab_secrets import LabSecrets, new_secrets
from ecsconsul.region.consul_acl import ConsulAcl
from ecsconsul.region.instances import Ec2Instances
from ecsconsul.region.runtimes.addresses import Addresses, must_share_address
from ecsconsul.region.runtimes.interface import Ec2Instance
from ecsconsul.region.runtimes.lab_dir import LabDir
from ecsconsul.region.runtimes.processes.consul_agents import ConsulAgentProcesses
from tests.consul_server import consul_binary

TIMEOUT = 60.0
HTTPS_PORT = 8501


def is_refused(answer: requests.Response) -> bool:
    return answer.status_code >= 400 and ("denied" in answer.text or "ACL not found" in answer.text)


@dataclass(frozen=True)
class SecureConsul:
    """A server and an agent of a lab, with all ACLs."""

    secrets: LabSecrets
    acl: ConsulAcl
    instances: Ec2Instances
    server: Ec2Instance
    client: Ec2Instance

    def ask_server(self, path: str) -> requests.Response:
        """A GET to the server without a token."""
        return requests.get(f"http://{self.server.http}/v1/{path}", timeout=10)

    def ask(self, method: str, path: str, token: str = "", body: object = None) -> requests.Response:
        """A request to the agent with a holder's token."""
        headers = {"X-Consul-Token": self.secrets.token(token)} if token else {}
        url = f"http://{self.client.http}/v1/{path}"
        return requests.request(method, url, headers=headers, data=json.dumps(body) if body else None, timeout=10)


class AgentsWithHttps(ConsulAgentProcesses):
    """Agents that also listen with HTTPS, as those in AWS do."""

    def spec(self, instance: Ec2Instance) -> AgentSpec:
        found = super().spec(instance)
        return replace(found, https_addresses=(instance.address,), ports=replace(found.ports, https=HTTPS_PORT))


@contextmanager
def secure_consul(home: Path, runtime: type[ConsulAgentProcesses] = ConsulAgentProcesses) -> Iterator[SecureConsul]:
    """Both run until the end of the context."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECSCONSUL_HOME", str(home))
        # labs of one name begin with the same addresses: two modules may run at once
        name = f"acl-{token_hex(3)}"
        lab_dir, lab_secrets = LabDir(name), new_secrets(name)
        acl = ConsulAcl(lab_secrets)
        agents = runtime(lab_dir, consul_binary(), Addresses(name, must_share_address()))
        instances = Ec2Instances(lab_dir, agents, "1.8.7", 1, lab_secrets, acl)
        try:
            instances.warm_up(1)
            assert acl.ready.wait(TIMEOUT)
            server = instances.launch(instances.next_instance_id(), "consul-server")
            client = instances.launch(instances.next_instance_id(), "ecs-instance")
            yield SecureConsul(lab_secrets, acl, instances, server, client)
        finally:
            instances.close()
