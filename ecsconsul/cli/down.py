"""`ecsconsul down`: take the lab away, and prove that nothing is left."""

from __future__ import annotations

import time

import click

from ..errors import ExitCode
from .changes import agreed, all_steps, document
from .common import common_options, settings


@click.command("down")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@common_options
def command(yes: bool) -> int:
    """Take all of it away, and prove that nothing is left; asks first."""
    from ..deploy import executor as walk

    begun = time.monotonic()
    lab = settings().lab(sources=False)
    target = settings().open_target(lab)
    view = settings().view()
    if not yes and not agreed(f"Take the lab {lab.name} ({target.name}) away?", "down"):
        click.echo("It stays as it is.", err=True)
        return ExitCode.FAILED
    settings().begun = True
    with target.lock(), view.progress() as observer:
        changes = walk.down(all_steps(lab, target), observer)
    left = target.leftovers()
    found = document(lab, target, changes, time.monotonic() - begun)
    view.down({**found, "left": left, "kept": target.retained()})
    return ExitCode.FAILED if left else ExitCode.DONE
