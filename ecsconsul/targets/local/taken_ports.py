"""Finds the fixed host ports of a lab that other programs of this machine have."""

from __future__ import annotations

from collections.abc import Iterable

from ...config.lab import ServiceSpec
from ...errors import LabError
from ...region.runtimes.addresses import LOOPBACK, is_free, who_listens


def taken_ports(services: Iterable[ServiceSpec], own: Iterable[int]) -> list[LabError]:
    """An error for each fixed host port that isn't free; `own` are those that the lab itself forwards."""
    own = set(own)
    return [
        LabError(
            f"Port {service.host_port} is taken",
            where=f"service {service.name}, host_port {service.host_port}",
            why=who_listens(service.host_port),
            hint="stop the program that listens there, or give the service another host_port in the config",
        )
        for service in services
        if service.host_port and service.host_port not in own and not is_free(LOOPBACK, service.host_port)
    ]
