"""The Docker network of a lab: a bridge with an automatic subnet, whose lower half belongs to the lab's machines.

Docker hands the upper half out to the tasks. So a machine keeps its address while it is down, and no task gets it.
"""

from __future__ import annotations

import ipaddress
import secrets
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docker import APIClient

# another network may take the subnet between the two requests that it needs
ATTEMPTS = 5


@dataclass
class LabNetwork:
    """One network; `gateway` is the address of this machine on it, where the tasks' host ports are published."""

    id: str
    subnet: ipaddress.IPv4Network
    gateway: str
    _taken: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> str:
        """An address that no other machine of the lab has."""
        with self._lock:
            free = (str(a) for a in machines_half(self.subnet) if str(a) not in self._taken | {self.gateway})
            address = next(free)
            self._taken.add(address)
            return address

    def give_back(self, address: str) -> None:
        """The machine is gone; its address may serve another."""
        with self._lock:
            self._taken.discard(address)


def machines_half(subnet: ipaddress.IPv4Network) -> list[ipaddress.IPv4Address]:
    """The first 254 addresses for machines."""
    lower = next(subnet.subnets(1))
    return [subnet.network_address + n for n in range(1, min(255, lower.num_addresses))]


def tasks_half(subnet: ipaddress.IPv4Network) -> str:
    """The range from which Docker gives addresses to tasks."""
    return str(list(subnet.subnets(1))[1])


def create(docker: APIClient, lab: str, labels: dict[str, str]) -> LabNetwork:
    """Make the network of a lab. Raises docker.errors.APIError."""
    from docker.errors import APIError

    for attempt in range(ATTEMPTS):
        name = f"{lab}-{secrets.token_hex(3)}"
        subnet, gateway = _automatic_subnet(docker, name, labels)
        try:
            made = docker.create_network(name, driver="bridge", labels=labels, ipam=_ipam(subnet, gateway))
        except APIError:
            if attempt == ATTEMPTS - 1:
                raise
        else:
            return LabNetwork(made["Id"], subnet, gateway)
    raise AssertionError("unreachable")


def _automatic_subnet(docker: APIClient, name: str, labels: dict[str, str]) -> tuple[ipaddress.IPv4Network, str]:
    """Docker gives fixed addresses only in a subnet that it was told; so let it choose one, and tell it that."""
    made = docker.create_network(name, driver="bridge", labels=labels)["Id"]
    try:
        chosen = docker.inspect_network(made)["IPAM"]["Config"][0]
    finally:
        docker.remove_network(made)
    return ipaddress.IPv4Network(chosen["Subnet"]), chosen["Gateway"]


def _ipam(subnet: ipaddress.IPv4Network, gateway: str) -> Any:
    from docker.types import IPAMConfig, IPAMPool

    return IPAMConfig(pool_configs=[IPAMPool(str(subnet), iprange=tasks_half(subnet), gateway=gateway)])
