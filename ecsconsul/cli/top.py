"""`ecsconsul top`: shows what the tasks use of CPU and memory, beside their limits."""

from __future__ import annotations

import sys

import click

from .common import check_has_tasks, common_options, settings
from .complete import services

SECONDS = 2.0
FIRST_SECONDS = 1.0


@click.command("top")
@click.argument("service", required=False, shell_complete=services)
@click.option("--once", is_flag=True, help="Print one table and exit, as in a pipe.")
@common_options
def command(service: str | None, once: bool) -> None:
    """Show the CPU and memory that tasks use, beside their limits; again every two seconds in a terminal."""
    from ..observe.usage import document, running_containers

    lab = settings().lab(sources=False)
    target = settings().open_target(lab)
    if service:
        check_has_tasks(lab, target, service)
    view = settings().view()
    seconds, repeat = FIRST_SECONDS, not once and sys.stdout.isatty() and not settings().as_json
    while True:
        state, _ = target.ecs_state(-1, 0.0)
        usages = target.usage(running_containers(state.tasks, service), seconds)
        if repeat:
            click.clear()
        view.top({"lab": lab.name, "target": target.name, "tasks": document(usages)})
        if not repeat:
            return
        seconds = SECONDS
