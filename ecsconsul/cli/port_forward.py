"""`ecsconsul port-forward`: forwards a port of this machine to the instances of a service that pass in Consul."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import click

from .common import common_options, find_service, settings
from .complete import services, tasks

if TYPE_CHECKING:
    from ..deploy.port_forwarding import Request

LOOPBACK = "127.0.0.1"


@click.command("port-forward")
@click.argument("service", shell_complete=services)
@click.argument("port", default="", metavar="[[LOCAL:]PORT]")
@click.option("--task", metavar="ID", shell_complete=tasks, help="Only the task whose ID starts like this.")
@click.option("--address", default=LOOPBACK, show_default=True, metavar="IP", help="The loopback address to listen at.")
@common_options
def command(service: str, port: str, task: str | None, address: str) -> None:
    """Forward connections to a local port to passing instances of a service, until Ctrl-C.

    Consul is asked anew for each connection. LOCAL is the port on this machine (by default a free one), and PORT the
    container port or the name in Consul, for a service with several.
    """
    from ..consul.relay import Relay, listen
    from ..deploy.port_forwarding import PassingInstances, parse, task_of

    lab = settings().lab(sources=False)
    request = parse(find_service(lab, service), port)
    target = settings().open_target(lab)
    # raises TargetAbsent if the lab isn't running
    target.client("ecs")
    chosen = task_of(lab, service, task, target) if task else None
    with (
        listen(address, request.local) as listener,
        target.reach() as reach,
        PassingInstances(request.name, target, chosen) as passing,
    ):
        # raises NameNotFound: nothing is forwarded to a service that nobody can use
        passing.endpoints()
        _show(service, request, listener, chosen.task if chosen else None)
        asyncio.run(Relay(passing.endpoints, reach, _note).serve(listener))


def _show(service: str, request: Request, listener: socket.socket, task: str | None) -> None:
    """Say where it listens, once it does: a line of text, or of JSON (docs/cli.md)."""
    address, port = listener.getsockname()[:2]
    if settings().as_json:
        found = {"address": address, "port": port, "service": service, "name": request.name}
        settings().view().document("listening", {**found, "container_port": request.port.port, "task": task})
        return
    at = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    to = f"task {task[:8]} of {service}" if task else f"passing instances of {request.name}"
    click.echo(f"Forwarding {at} to {to}. Press Ctrl-C to stop.")


def _note(text: str) -> None:
    click.echo(text, err=True)
