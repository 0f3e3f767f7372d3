"""Finds the fixed host ports of the lab's services that other programs have taken."""

from __future__ import annotations

from ...config.lab import Lab
from ...errors import LabError
from ...region.runtimes.lab_dir import RegionInfo


def taken_ports(lab: Lab, info: RegionInfo | None) -> list[LabError]:
    """An error for each port that neither is free nor forwarded by the lab's own region."""
    from ...region.runtimes.addresses import LOOPBACK, is_free, who_listens

    # a TCP port and a UDP port don't get in each other's way
    tcp = [(service.name, port) for service in lab.services for port in service.host_ports if port.protocol == "tcp"]
    ports = [(name, port.host_port or 0) for name, port in tcp]
    own = info.forwarded_ports if info else ()
    return [
        LabError(
            f"Port {port} is taken",
            where=f"service {name}, host_port {port}",
            why=who_listens(port),
            hint="stop the program that listens there, or give the service another host_port in the config",
        )
        for name, port in ports
        if port not in own and not is_free(LOOPBACK, port)
    ]
