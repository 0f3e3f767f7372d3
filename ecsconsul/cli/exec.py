"""`ecsconsul exec`: a command where a task of a service runs."""

from __future__ import annotations

import click

from ..errors import WrongUsage
from .common import common_options, settings


@click.command("exec", context_settings={"allow_interspersed_args": False})
@click.argument("service")
@click.argument("words", nargs=-1, required=True, metavar="[--] CMD...", type=click.UNPROCESSED)
@click.option("--task", metavar="ID", help="The task, by the first digits of its id.  [default: the newest]")
@common_options
def command(service: str, words: tuple[str, ...], task: str | None) -> int:
    """Run a command in a running task of a service, with this terminal; its exit code is passed on."""
    lab = settings().lab(sources=False)
    if lab.service(service) is None:
        known = ", ".join(one.name for one in lab.services)
        raise WrongUsage(f"The lab has no service {service}", where=f"lab {lab.name}", hint=f"it has: {known}")
    argv = words[1:] if words[0] == "--" else words
    if not argv:
        raise WrongUsage("exec needs a command", hint=f"ecsconsul exec {service} -- env")
    return settings().open_target(lab).execute(service, argv, task=task)
