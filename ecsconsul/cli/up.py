"""`ecsconsul up`: creates or updates the lab."""

from __future__ import annotations

import threading
import time
from importlib import import_module

import click

from ..errors import ExitCode
from .changes import all_steps, confirm, document, refuse_if_blocked
from .common import common_options, runtime_option, settings, update_ami_option
from .durations import timeout_option, wait_option
from .resource_changes import replacements


@click.command("up")
@click.option("-y", "--yes", is_flag=True, help="Don't ask before creating what costs money, or replacing instances.")
@update_ami_option
@wait_option
@timeout_option
@common_options
@runtime_option
def command(yes: bool, update_ami: bool, wait: bool, timeout: float | None) -> int:
    """Create or update the lab. Resumes after an interruption; running it again changes nothing."""
    from ..deploy import executor
    from ..deploy.endpoints import endpoints_of, notes_of
    from ..deploy.lab_status import runtime_of

    begun = time.monotonic()
    lab = settings().lab()
    target = settings().open_target(lab, runtime=lab.runtime, update_ami=update_ami)
    view = settings().view()
    with target.lock("up"):
        steps = all_steps(lab, target, wait=wait)
        refuse_if_blocked(steps)
        confirmation = None if yes else target.confirmation(lambda: replacements(steps))
        if confirmation:
            view.preview(document(lab, target, executor.plan(steps), 0.0))
            if not confirm(f"{confirmation}\nContinue?", "up"):
                click.echo("Nothing was changed.", err=True)
                return ExitCode.FAILED
            begun = time.monotonic()  # excludes the time spent at the prompt
        settings().changing = True
        # discovery is the last step: its HTTP library loads while the others wait for AWS
        threading.Thread(target=import_module, args=("consul.std",), daemon=True).start()
        with view.progress() as observer:
            changes = executor.up(steps, observer, timeout=timeout)
    found = document(lab, target, changes, time.monotonic() - begun)
    # only here do tasks run as processes, which may listen elsewhere than they were told
    notes = notes_of(endpoints_of(target.client("ecs"), lab.name)) if target.is_here else []
    view.up({**found, "waited": wait, "notes": notes, **runtime_of(target), "portal": target.portal_url()})
    return ExitCode.DONE
