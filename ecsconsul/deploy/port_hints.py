"""What to do about a program whose port is taken on this machine: a process has no port mapping as a container has."""

from __future__ import annotations

from pathlib import Path

from ..config.lab import ServiceSpec
from ..errors import LabError

# What the region says of a task that runs as a process, where another one listens already.
PORT_IN_USE = "PortInUse"
# what it says of one that isn't content with its instance's address
EVERY_ADDRESS = "every address"
_CONTAINERS = "run the lab in containers, which map ports: `ecsconsul up --runtime docker`"


def port_hint(service: ServiceSpec, reasons: str) -> str:
    """The ways out for a service that fails for these reasons; "" if no port is taken."""
    if EVERY_ADDRESS in reasons:
        return f"let it listen at $HOST alone, its instance's own address: {_change(service)}; or {_CONTAINERS}"
    if PORT_IN_USE not in reasons:
        return ""
    hint = f"let it listen at $PORT: {_change(service)}; or {_CONTAINERS}"
    if f"{service.name}'s task" not in reasons:
        return hint
    return f"{hint}; or let it run once only: `ecsconsul scale {service.name}=0` makes room for a new version"


def _change(service: ServiceSpec) -> str:
    example = "such as `command: [sh, -c, 'exec flask run --host=$HOST --port=$PORT']`"
    if service.command or service.entry_point:
        return f"change its `command` in the config, {example}"
    return f"change {_place(service)}, or set a command {example}"


def _place(service: ServiceSpec) -> str:
    """Where its Dockerfile says what to run, as far as that is known: the task may have several containers."""
    from ..docker.dockerfile import command_place

    if not service.path or service.containers:
        return "the CMD of its Dockerfile"
    try:
        return f"the CMD of its Dockerfile ({command_place(Path(service.path))})"
    except LabError:
        return "the CMD of its Dockerfile"
