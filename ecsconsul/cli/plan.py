"""`ecsconsul plan`: shows what `up` would change."""

from __future__ import annotations

import time

import click

from ..errors import ExitCode
from .changes import all_steps, document
from .common import common_options, runtime_option, settings, update_ami_option
from .estimate import begin

PENDING = ("create", "update", "destroy")


@click.command("plan")
@click.option("--exit-code", is_flag=True, help="Exit with 5 if changes are pending.")
@update_ami_option
@common_options
@runtime_option
def command(exit_code: bool, update_ami: bool) -> int:
    """Show what `up` would change, without changing anything."""
    from ..deploy.executor import plan

    begun = time.monotonic()
    lab = settings().lab()
    target = settings().open_target(lab, runtime=lab.runtime, update_ami=update_ami)
    estimate = begin(target)
    changes = plan(all_steps(lab, target))
    settings().view().plan({**document(lab, target, changes, time.monotonic() - begun), **estimate()})
    pending = any(change.op in PENDING for change in changes)
    return ExitCode.CHANGES_PENDING if exit_code and pending else ExitCode.DONE
