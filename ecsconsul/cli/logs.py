"""`ecsconsul logs`: what a service's tasks wrote."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from ..errors import WrongUsage
from .common import common_options, settings

if TYPE_CHECKING:
    from ..targets.base import LogLine


@click.command("logs")
@click.argument("service")
@click.option("-n", "--lines", type=click.IntRange(0, 10000), default=20, show_default=True, help="Lines of each task.")
@click.option("-f", "--follow", is_flag=True, help="Go on as more are written.")
@common_options
def command(service: str, lines: int, follow: bool) -> None:
    """Show the last lines of a service's tasks, each line behind the first digits of its task."""
    lab = settings().lab(sources=False)
    target = settings().open_target(lab)
    if lab.service(service) is None:
        known = ", ".join(one.name for one in lab.services)
        raise WrongUsage(f"The lab has no service {service}", where=f"lab {lab.name}", hint=f"it has: {known}")
    if follow:
        show = _print_json if settings().output == "json" else _print
        show(target.follow(service, lines))
        return
    found = target.last_lines(service, lines)
    if settings().output == "json":
        settings().view().result({"service": service, "lines": [{"task": x.task, "text": x.text} for x in found]})
        return
    _print(found)
    if not found and lines:
        click.echo(f"No task of {service} has written anything yet.", err=True)


def _print_json(lines: Iterable[LogLine]) -> None:
    """A document for each line, since there is no end at which one could hold them all."""
    for line in lines:
        click.echo(json.dumps({"task": line.task, "text": line.text}))


def _print(lines: Iterable[LogLine]) -> None:
    for line in lines:
        click.echo(
            f"{click.style(line.task, dim=True)} {line.text}",
            color=False if settings().colourless else None,
        )
