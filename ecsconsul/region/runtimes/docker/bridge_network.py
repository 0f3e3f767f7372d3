"""A lab's Docker network: a bridge whose subnet Docker chooses.

The lower half of the subnet holds the fixed addresses of the EC2 instances; Docker assigns the upper half to tasks.
So an instance keeps its address while its agent restarts.
"""

from __future__ import annotations

import ipaddress
import secrets
import threading
from dataclasses import dataclass, field
from typing import Any

from docker import APIClient
from docker.errors import APIError
from docker.types import IPAMConfig, IPAMPool

# Another network may take the subnet between the two requests that are needed.
MAX_ATTEMPTS = 5


@dataclass
class LabNetwork:
    """A lab's network. `gateway` is the host's address on it, where the tasks' host ports are published."""

    id: str
    subnet: ipaddress.IPv4Network
    gateway: str
    _taken: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> str:
        """An address that no other instance of the lab has."""
        with self._lock:
            free = (str(a) for a in instance_addresses(self.subnet) if str(a) not in self._taken | {self.gateway})
            address = next(free)
            self._taken.add(address)
            return address

    def give_back(self, address: str) -> None:
        """Return the address of a terminated instance."""
        with self._lock:
            self._taken.discard(address)


def instance_addresses(subnet: ipaddress.IPv4Network) -> list[ipaddress.IPv4Address]:
    """The addresses for instances: up to 254 of the lower half."""
    lower = next(subnet.subnets(1))
    return [subnet.network_address + n for n in range(1, min(255, lower.num_addresses))]


def task_range(subnet: ipaddress.IPv4Network) -> str:
    """The range for tasks: the upper half."""
    return str(list(subnet.subnets(1))[1])


def create_network(docker: APIClient, lab: str, labels: dict[str, str]) -> LabNetwork:
    """Create a lab's network. Raises docker.errors.APIError."""
    for attempt in range(MAX_ATTEMPTS):
        name = f"{lab}-{secrets.token_hex(3)}"
        subnet, gateway = _automatic_subnet(docker, name, labels)
        try:
            created = docker.create_network(name, driver="bridge", labels=labels, ipam=_ipam(subnet, gateway))
        except APIError:
            if attempt == MAX_ATTEMPTS - 1:
                raise
        else:
            return LabNetwork(created["Id"], subnet, gateway)
    raise AssertionError("unreachable")


def _automatic_subnet(docker: APIClient, name: str, labels: dict[str, str]) -> tuple[ipaddress.IPv4Network, str]:
    """A free subnet that Docker chooses: fixed addresses are allowed only in a network with an explicit subnet."""
    network_id = docker.create_network(name, driver="bridge", labels=labels)["Id"]
    try:
        chosen = docker.inspect_network(network_id)["IPAM"]["Config"][0]
    finally:
        docker.remove_network(network_id)
    return ipaddress.IPv4Network(chosen["Subnet"]), chosen["Gateway"]


def _ipam(subnet: ipaddress.IPv4Network, gateway: str) -> Any:
    return IPAMConfig(pool_configs=[IPAMPool(str(subnet), iprange=task_range(subnet), gateway=gateway)])
