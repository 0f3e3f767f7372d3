"""Finds the fixed host ports of the lab's services that other programs have taken."""

from __future__ import annotations

from ...config.lab import Lab
from ...errors import LabError
from ...region.runtimes.lab_dir import RegionInfo


def taken_ports(lab: Lab, info: RegionInfo | None) -> list[LabError]:
    """An error for each port that neither is free nor forwarded by the lab's own region."""
    from ...region.runtimes.addresses import LOOPBACK, is_free, who_listens

    own = info.forwarded_ports if info else ()
    return [
        LabError(
            f"Port {service.host_port} is taken",
            where=f"service {service.name}, host_port {service.host_port}",
            why=who_listens(service.host_port),
            hint="stop the program that listens there, or give the service another host_port in the config",
        )
        for service in lab.services
        if service.host_port and service.host_port not in own and not is_free(LOOPBACK, service.host_port)
    ]
