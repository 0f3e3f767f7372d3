"""What a lab in containers stands on: its network, its machines' agents and its runtime; and how it is cleared."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from ....docker.build import remove
from ....docker.engine import Engine, Left, client, labels
from ..lab_dir import LabDir
from . import bridge_network as network
from .consul_agents import ConsulAgentContainers
from .containers import DockerContainers
from .engine_container import EngineContainer, gone_is_fine

if TYPE_CHECKING:
    from docker import APIClient

CLEARED_AT_ONCE = 8


class DockerRuntime:
    """The containers of one region. Making it makes the network; raises LabError when the engine does not."""

    def __init__(self, home: LabDir, url: str, agent_image: str, consul_binary: str) -> None:
        self._home = home
        self._engine = Engine(url)
        self._docker = client(url)
        marks = labels(home.lab, home.root)
        net = network.create(self._docker, home.lab, marks)
        self.consul_agents = ConsulAgentContainers(self._docker, net, home, agent_image, consul_binary, marks)
        self.containers = DockerContainers(self._docker, net, marks, url.removeprefix("unix://"))

    def close(self) -> None:
        """Take away what is left of the lab's containers, and its network."""
        clear(self._docker, self._engine.left(self._home.lab, self._home.root), images=False)
        self._docker.close()


def clear(docker: APIClient, left: Left, *, images: bool) -> None:
    """Remove all of it; with `images` those too."""
    with ThreadPoolExecutor(CLEARED_AT_ONCE) as pool:
        list(pool.map(lambda found: EngineContainer(docker, found).remove(), left.containers))
    for found in left.networks:
        with gone_is_fine():
            docker.remove_network(found)
    for found in left.images if images else ():
        remove(docker, found)
