"""`ecsconsul scale`: another desired count, waited for until Consul sees it."""

from __future__ import annotations

import time

import click

from ..errors import WrongUsage
from ..lab import Lab
from .common import common_options, settings
from .walks import document

MOST = 1000


@click.command("scale")
@click.argument("wishes", nargs=-1, required=True, metavar="SERVICE=N...")
@common_options
def command(wishes: tuple[str, ...]) -> None:
    """Set how many tasks of a service run, and wait until Consul sees them. The config stays as it is."""
    from .. import walk
    from ..steps import scaling_steps

    begun = time.monotonic()
    lab = settings().lab(sources=False)
    counts = dict(_parse(lab, wish) for wish in wishes)
    target = settings().open_target(lab)
    # the lab must be there: a count is no reason to make it
    target.client("ecs")
    view = settings().view()
    with target.exclusive(), view.progress() as observer:
        changes = walk.up(scaling_steps(lab, counts, target), observer)
    view.scale(document(lab, target, changes, time.monotonic() - begun))


def _parse(lab: Lab, wish: str) -> tuple[str, int]:
    name, _, count = wish.partition("=")
    if lab.service(name) is None:
        known = ", ".join(service.name for service in lab.services)
        raise WrongUsage(f"The lab has no service {name}", where=wish, hint=f"it has: {known}")
    if not count.isdecimal() or int(count) > MOST:
        raise WrongUsage(
            f"{wish} does not say how many", why=f"after = stands a number from 0 to {MOST}", hint=f"{name}=3"
        )
    return name, int(count)
