"""Runs the instances' Consul agents as containers: the host's consul binary on a base image of the services.

Each agent has a fixed address on the lab's network, and answers DNS on port 53, the only one that Docker supports.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from docker import APIClient
from docker.errors import APIError, ContainerError
from requests.exceptions import RequestException

from ....consul.agent_config import AgentSpec, ConsulPorts
from ....docker.engine import INSTANCE_LABEL
from ....errors import LabError
from ..addresses import LOOPBACK, Ports, claim_consul_ports
from ..interface import CannotRun, Ec2Instance, Role
from ..lab_dir import LabDir
from .bridge_network import LabNetwork
from .engine_container import EngineContainer
from .log_copy import LOG_CONFIG, LogCopy
from .security import SECURITY

DNS_PORT, HTTPS_PORT = 53, 8501
BINARY, FILES, SOCKETS, DATA = "/ecsconsul/consul", "/ecsconsul/files", "/ecsconsul/sockets", "/ecsconsul/data"
SOCKET = "http.sock"
# As in Docker: systemd-resolved's own file first, whose name servers a container can reach.
RESOLV_CONFS = (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf"))
CHECK_TIMEOUT = 30.0


class ConsulAgentContainers:
    """The Consul agents of one lab, as containers."""

    def __init__(
        self, docker: APIClient, network: LabNetwork, lab_dir: LabDir, image: str, binary: str, labels: dict[str, str]
    ) -> None:
        self._docker = docker
        self._network = network
        self._lab_dir = lab_dir
        self._image = image
        self._binary = binary
        self._labels = labels
        self._ports = Ports(network.gateway)
        self._recursors = name_servers(RESOLV_CONFS)
        self._containers: dict[str, EngineContainer] = {}

    def create(self, instance_id: str, role: Role, folder: Path, *, lead: bool) -> Ec2Instance:
        return Ec2Instance(
            instance_id,
            role,
            self._network.take(),
            ConsulPorts(dns=DNS_PORT, https=HTTPS_PORT),
            self._ports,
            folder,
            own_address=False,
            also_on_loopback=lead,
            loopback_ports=self._loopback_ports() if lead else None,
            http_socket=str(_sockets(folder) / SOCKET),
        )

    def _loopback_ports(self) -> ConsulPorts:
        """Consul's default ports on 127.0.0.1 if they are free, else other free ports."""
        if claim_consul_ports(self):
            return ConsulPorts()
        free = Ports(LOOPBACK)
        return ConsulPorts(http=free.take(), dns=free.take())

    def spec(self, instance: Ec2Instance) -> AgentSpec:
        """Tasks reach its API over HTTPS only, and this user, who owns the folder, at a Unix socket.

        It forwards other domains than its own to the host's name servers.
        """
        return AgentSpec(
            instance.instance_id,
            instance.address,
            dns_addresses=(LOOPBACK, instance.address),
            http_addresses=(LOOPBACK, f"unix://{SOCKETS}/{SOCKET}"),
            https_addresses=(instance.address,),
            ports=instance.consul,
            data_dir=DATA,
            files=FILES,
            recursors=tuple(self._recursors),
        )

    def start(self, instance: Ec2Instance) -> EngineContainer:
        try:
            container = self._containers.get(instance.instance_id) or self._create(instance)
            self._docker.start(container.id)
        except APIError as error:
            raise CannotRun(str(error.explanation)) from error
        except RequestException as error:
            raise CannotRun(str(error)) from error
        # After a restart, the log continues where the previous copy ended.
        tail = 0 if instance.agent else "all"
        LogCopy(self._docker, container.id, self._lab_dir.logs / f"consul-{instance.instance_id}.log", tail=tail)
        return container

    def forget(self, instance: Ec2Instance) -> None:
        self._containers.pop(instance.instance_id, None)
        self._network.give_back(instance.address)

    def _create(self, instance: Ec2Instance) -> EngineContainer:
        docker = self._docker
        loopback = instance.loopback_ports
        published = {} if loopback is None else {"53/tcp": loopback.dns, "53/udp": loopback.dns}
        sockets = _sockets(instance.folder)
        sockets.mkdir(exist_ok=True)
        host = docker.create_host_config(
            binds=[f"{self._binary}:{BINARY}:ro", f"{instance.folder}:{FILES}:ro", f"{sockets}:{SOCKETS}"],
            port_bindings={port: (LOOPBACK, number) for port, number in published.items()},
            restart_policy={"Name": "always"},
            log_config=LOG_CONFIG,
            network_mode=self._network.id,
            **SECURITY,
        )
        endpoint = docker.create_endpoint_config(ipv4_address=instance.address)
        created = docker.create_container(
            self._image,
            entrypoint=[BINARY],
            command=["agent", "-config-file", f"{FILES}/consul.json"],
            name=f"{self._lab_dir.lab}-{instance.instance_id}",
            hostname=instance.instance_id,
            user="0:0",
            ports=[(53, "tcp"), (53, "udp")] if published else None,
            # Consul registers itself, so the instance's Registrator must ignore this container.
            labels={**self._labels, INSTANCE_LABEL: instance.instance_id, "SERVICE_IGNORE": "true"},
            host_config=host,
            networking_config=docker.create_networking_config({self._network.id: endpoint}),
            healthcheck={"test": ["NONE"]},
        )
        container = EngineContainer(docker, created["Id"])
        self._containers[instance.instance_id] = container
        return container


def _sockets(folder: Path) -> Path:
    """The only folder of this machine that an agent may write to."""
    return folder / "sockets"


def name_servers(files: tuple[Path, ...]) -> list[str]:
    """The name servers in the first file that exists, except loopback ones, which no container can reach."""
    for path in files:
        with contextlib.suppress(OSError):
            words = [line.split() for line in path.read_text().splitlines()]
            found = [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"]
            return [address for address in found if not address.startswith("127.") and address != "::1"]
    return []


def check_binary(docker: APIClient, image: str, binary: str, labels: dict[str, str]) -> None:
    """Raise LabError unless the consul binary runs on the image: a dynamically linked one needs the right libc."""
    container = ""
    try:
        host = docker.create_host_config(binds=[f"{binary}:{BINARY}:ro"], network_mode="none", log_config=LOG_CONFIG)
        container = docker.create_container(
            image, entrypoint=[BINARY], command=["version"], host_config=host, labels=labels, user="0:0"
        )["Id"]
        docker.start(container)
        code = docker.wait(container, timeout=CHECK_TIMEOUT)["StatusCode"]
        output = docker.logs(container, tail=5).decode(errors="replace").strip()
    except (APIError, ContainerError) as error:
        code, output = 127, str(getattr(error, "explanation", "") or error)
    finally:
        if container:
            EngineContainer(docker, container).remove()
    if code:
        raise LabError(
            "The consul binary does not run in a container",
            where=f"{binary} on {image}",
            why=output or f"it exited with {code}",
            hint="set ECSCONSUL_CONSUL_BIN to another binary; HashiCorp's releases are statically linked",
        )
