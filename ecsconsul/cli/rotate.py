"""`ecsconsul rotate`: replaces the lab's Consul tokens and gossip key while it runs."""

from __future__ import annotations

import time

import click

from ..errors import ExitCode
from .changes import confirm, document
from .common import common_options, settings


@click.command("rotate")
@click.option("-y", "--yes", is_flag=True, help="Don't ask before instances are replaced.")
@common_options
def command(yes: bool) -> int:
    """Replace Consul's tokens and its gossip key, and revoke the old ones. Resumes after an interruption."""
    from ..consul.lab_secrets import continued
    from ..deploy import executor
    from ..deploy.rotation_steps import rotation_steps

    begun = time.monotonic()
    lab = settings().lab(sources=False)
    target = settings().open_target(lab)
    view = settings().view()
    with target.lock("rotate"):
        rotation = continued(target.rotation(), target.consul_secrets())
        cost = None if yes else target.rotation_cost()
        if cost and not confirm(f"{cost}\nContinue?", "rotate"):
            click.echo("Nothing was rotated.", err=True)
            return ExitCode.FAILED
        settings().changing = True
        target.keep_rotation(rotation)
        with view.progress() as observer:
            changes = executor.up(rotation_steps(lab, target, rotation), observer)
    view.rotate(document(lab, target, changes, time.monotonic() - begun))
    return ExitCode.DONE
