"""`ecsconsul rollback`: goes back to an earlier revision of a service."""

from __future__ import annotations

import time

import click

from .changes import document
from .common import common_options, find_service, settings
from .complete import services
from .durations import timeout_option, wait_option


@click.command("rollback")
@click.argument("service", shell_complete=services)
@click.option(
    "--to", type=click.IntRange(1), metavar="REVISION", help="The revision to run.  [default: the last stable]"
)
@wait_option
@timeout_option
@common_options
def command(service: str, to: int | None, wait: bool, timeout: float | None) -> None:
    """Go back to the revision that was stable before this one. A second time goes further back."""
    from ..deploy import executor
    from ..deploy.shipping import Shipping, find_rollback, rollback_steps, summary

    begun = time.monotonic()
    lab = settings().lab(sources=False)
    spec = find_service(lab, service)
    target = settings().open_target(lab)
    # raises TargetAbsent if the lab isn't running
    target.client("ecs")
    view = settings().view()
    with target.lock("rollback"):
        revision, before = find_rollback(lab, service, target, to)
        steps = rollback_steps(lab, spec, revision, target, Shipping(wait=wait, timeout=timeout))
        settings().changing = True
        with view.progress() as observer:
            changes = executor.up(steps, observer)
        found = document(lab, target, changes, time.monotonic() - begun)
        view.rollback({**found, **summary(lab, service, target), "waited": wait, "before": before})
