"""The variables of a container's links, as Docker sets them: NAME_PORT_5432_TCP_ADDR and their like. Pure.

https://docs.docker.com/engine/network/links/#environment-variables. Between containers a link's name resolves too; a
process has no names of its own, so there these variables, and NAME_HOST, are all there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..registrator.rules import Container, PortBinding
from .ecs.container_order import link_aliases
from .ecs.model import Task
from .runtimes.interface import RunningContainer


def link_variables(
    task: Task, definition: Mapping[str, Any], running: Mapping[str, RunningContainer]
) -> dict[str, str]:
    """The variables of all links of a container."""
    found: dict[str, str] = {}
    for name, alias in link_aliases(definition).items():
        if name in running:
            found |= _variables(alias, definition["name"], running[name].snapshot)
    return found


def _variables(alias: str, container: str, linked: Container) -> dict[str, str]:
    prefix = re.sub(r"\W", "_", alias).upper()
    found = {f"{prefix}_NAME": f"/{container}/{alias}"}
    endpoints = list(_endpoints(linked))
    if endpoints:
        _, address, port, protocol = endpoints[0]
        found |= {f"{prefix}_HOST": address, f"{prefix}_PORT": f"{protocol}://{address}:{port}"}
    for number, address, port, protocol in endpoints:
        start = f"{prefix}_PORT_{number}_{protocol.upper()}"
        found |= {start: f"{protocol}://{address}:{port}", f"{start}_ADDR": address}
        found |= {f"{start}_PORT": str(port), f"{start}_PROTO": protocol}
    return found


def _endpoints(linked: Container) -> Iterator[tuple[int, str, int, str]]:
    """Container port, address, port and protocol where each port is reached, in the order of the ports."""
    for port in sorted(linked.ports, key=lambda one: (one.container_port, one.protocol)):
        yield (port.container_port, *_place(linked, port), port.protocol)


def _place(linked: Container, port: PortBinding) -> tuple[str, int]:
    """Inside of a container's network it's the container's own port; a process listens on its host port itself."""
    return (linked.ip, port.container_port) if linked.ip else (port.host_ip, port.host_port or port.container_port)
