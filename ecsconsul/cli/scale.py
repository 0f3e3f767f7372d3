"""`ecsconsul scale`: another desired count, waited for until Consul sees it."""

from __future__ import annotations

import time

import click

from ..config.lab import Lab
from ..errors import WrongUsage
from .changes import document
from .common import common_options, settings

MOST = 1000


@click.command("scale")
@click.argument("wishes", nargs=-1, required=True, metavar="SERVICE=N...")
@common_options
def command(wishes: tuple[str, ...]) -> None:
    """Set how many tasks of a service run, and wait until Consul sees them. The config stays as it is."""
    from ..deploy import executor as walk
    from ..deploy.lab_steps import scaling_steps

    begun = time.monotonic()
    lab = settings().lab(sources=False)
    counts = _counts(lab, wishes)
    target = settings().open_target(lab)
    # the lab must be there: a count is no reason to make it
    target.client("ecs")
    view = settings().view()
    settings().begun = True
    with target.lock(), view.progress() as observer:
        changes = walk.up(scaling_steps(lab, counts, target), observer)
    view.scale(document(lab, target, changes, time.monotonic() - begun))


def _counts(lab: Lab, wishes: tuple[str, ...]) -> dict[str, int]:
    """What is wished for of each service. Raises WrongUsage."""
    counts: dict[str, int] = {}
    for wish in wishes:
        name, count = _parse(lab, wish)
        if counts.setdefault(name, count) != count:
            raise WrongUsage(f"{name} is to have two counts", where=" ".join(wishes), hint="name each service once")
    return counts


def _parse(lab: Lab, wish: str) -> tuple[str, int]:
    name, _, count = wish.partition("=")
    service = lab.service(name)
    if service is None:
        known = ", ".join(service.name for service in lab.services)
        raise WrongUsage(f"The lab has no service {name}", where=wish, hint=f"it has: {known}")
    if not count.isdecimal() or len(count) > len(str(MOST)) or int(count) > MOST:
        raise WrongUsage(
            f"{wish} does not say how many", why=f"after = stands a number from 0 to {MOST}", hint=f"{name}=3"
        )
    if service.host_port and int(count) > lab.instances:
        why = f"one task per instance can have port {service.host_port}, and instances are {lab.instances}"
        raise WrongUsage(f"{wish} is too many", why=why, hint="more `instances`, or no host_port, in the config")
    return name, int(count)
