"""`ecsconsul exec`: runs a command in a running task."""

from __future__ import annotations

import click

from ..errors import WrongUsage
from .common import check_has_tasks, common_options, settings
from .complete import services, tasks


@click.command("exec", context_settings={"allow_interspersed_args": False})
@click.argument("service", shell_complete=services)
@click.argument("words", nargs=-1, required=True, metavar="[--] CMD...", type=click.UNPROCESSED)
@click.option(
    "--task", metavar="ID", shell_complete=tasks, help="The task whose ID starts like this.  [default: the newest]"
)
@common_options
def command(service: str, words: tuple[str, ...], task: str | None) -> int:
    """Run a command in a running task of a service, attached to this terminal. Exits with the command's exit code."""
    lab = settings().lab(sources=False)
    target = settings().open_target(lab)
    check_has_tasks(lab, target, service)
    argv = words[1:] if words[0] == "--" else words
    if not argv:
        raise WrongUsage("exec needs a command", hint=f"ecsconsul exec {service} -- env")
    return target.execute(service, argv, task=task)
