"""`ecsconsul down`: removes the lab, then checks that nothing is left."""

from __future__ import annotations

import time

import click

from ..errors import ExitCode
from .changes import all_steps, confirm, document
from .common import common_options, settings


@click.command("down")
@click.option("-y", "--yes", is_flag=True, help="Don't ask for confirmation.")
@common_options
def command(yes: bool) -> int:
    """Remove everything, then check that nothing is left. Asks for confirmation."""
    from ..deploy import executor

    begun = time.monotonic()
    lab = settings().lab(sources=False)
    target = settings().open_target(lab)
    view = settings().view()
    if not yes:
        if not confirm(f"Remove the lab {lab.name} ({target.name})?", "down"):
            click.echo("Nothing was removed.", err=True)
            return ExitCode.FAILED
        begun = time.monotonic()  # excludes the time spent at the prompt
    settings().changing = True
    with target.lock("down"), view.progress() as observer:
        changes = executor.down(all_steps(lab, target), observer)
    left = target.leftovers()
    found = document(lab, target, changes, time.monotonic() - begun)
    view.down({**found, "left": left, "kept": target.retained()})
    return ExitCode.FAILED if left else ExitCode.DONE
