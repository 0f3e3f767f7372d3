"""The runtime in which everything is a container, and the removal of its containers, networks, volumes and images."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from docker import APIClient

from ....docker.build import remove
from ....docker.engine import Engine, Left, client, labels
from ..lab_dir import LabDir
from .bridge_network import create_network
from .consul_agents import ConsulAgentContainers
from .containers import DockerContainers
from .engine_container import EngineContainer, ignore_gone

MAX_REMOVALS = 8


class DockerRuntime:
    """Runs Consul agents and tasks as containers on a network of the lab. Raises LabError without a usable engine."""

    def __init__(self, lab_dir: LabDir, url: str, agent_image: str, consul_binary: str) -> None:
        self._lab_dir = lab_dir
        self._engine = Engine(url)
        self._docker = client(url)
        owner = labels(lab_dir.lab, lab_dir.root)
        network = create_network(self._docker, lab_dir.lab, owner)
        self.consul_agents = ConsulAgentContainers(self._docker, network, lab_dir, agent_image, consul_binary, owner)
        self.containers = DockerContainers(self._docker, network, owner, url.removeprefix("unix://"), lab_dir.lab)

    def close(self) -> None:
        """Remove the lab's containers and its network."""
        clear(self._docker, self._engine.left(self._lab_dir.lab, self._lab_dir.root), images=False)
        self._docker.close()


def clear(docker: APIClient, leftovers: Left, *, images: bool) -> None:
    """Remove a lab's containers, networks and volumes, and its images with `images`."""
    with ThreadPoolExecutor(MAX_REMOVALS) as pool:
        list(pool.map(lambda found: EngineContainer(docker, found).remove(), leftovers.containers))
    for found in leftovers.networks:
        with ignore_gone():
            docker.remove_network(found)
    for found in leftovers.volumes:
        with ignore_gone():
            docker.remove_volume(found, force=True)
    for found in leftovers.images if images else ():
        remove(docker, found)
