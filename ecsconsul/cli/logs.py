"""`ecsconsul logs`: shows the log lines of a service's tasks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from .common import check_has_tasks, common_options, settings

if TYPE_CHECKING:
    from ..targets.base import LogLine


@click.command("logs")
@click.argument("service")
@click.option("-n", "--lines", type=click.IntRange(0, 10000), default=20, show_default=True, help="Lines per task.")
@click.option("-f", "--follow", is_flag=True, help="Keep printing new lines.")
@common_options
def command(service: str, lines: int, follow: bool) -> None:
    """Show the last log lines of a service's tasks, each prefixed with the start of the task's ID."""
    lab = settings().lab(sources=False)
    target = settings().open_target(lab)
    check_has_tasks(lab, target, service)
    as_json = settings().as_json
    if follow:
        show = _print_json if as_json else _print
        show(target.follow(service, lines))
        return
    found = target.last_lines(service, lines)
    if as_json:
        settings().view().result({"service": service, "lines": [{"task": x.task, "text": x.text} for x in found]})
        return
    _print(found)
    if not found and lines:
        click.echo(f"No task of {service} has logged anything yet.", err=True)


def _print_json(lines: Iterable[LogLine]) -> None:
    """Prints one document per line, since the stream doesn't end."""
    for line in lines:
        click.echo(json.dumps({"task": line.task, "text": line.text}))


def _print(lines: Iterable[LogLine]) -> None:
    for line in lines:
        click.echo(f"{click.style(line.task, dim=True)} {line.text}", color=False if settings().colourless else None)
