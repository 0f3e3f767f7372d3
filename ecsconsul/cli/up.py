"""`ecsconsul up`: make the lab as the config wants it."""

from __future__ import annotations

import time

import click

from ..errors import ExitCode
from .changes import agreed, all_steps, document, refuse_if_blocked
from .common import common_options, runtime_option, settings


@click.command("up")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before something is made that costs.")
@common_options
@runtime_option
def command(yes: bool) -> int:
    """Make the lab as the config wants it; resumes what was interrupted; a second time changes nothing."""
    from ..deploy import executor as walk
    from ..deploy.lab_status import runtime_of

    begun = time.monotonic()
    lab = settings().lab()
    target = settings().open_target(lab, runtime=lab.runtime)
    view = settings().view()
    with target.lock():
        steps = all_steps(lab, target)
        refuse_if_blocked(steps)
        confirmation = None if yes else target.confirmation()
        if confirmation and not agreed(f"{confirmation}\nMake it?", "up"):
            click.echo("Nothing was made.", err=True)
            return ExitCode.FAILED
        # how long somebody thought about it is nobody's business
        begun = time.monotonic() if confirmation else begun
        settings().begun = True
        with view.progress() as observer:
            changes = walk.up(steps, observer)
    found = document(lab, target, changes, time.monotonic() - begun)
    view.up({**found, **runtime_of(target), "portal": target.portal_url()})
    return ExitCode.DONE
