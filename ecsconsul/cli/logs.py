"""`ecsconsul logs`: shows the log lines of services' tasks, and which of these tasks have ended."""

from __future__ import annotations

import click

from .common import check_has_tasks, common_options, settings
from .complete import services as complete_services
from .moments import DURATION_OR_TIME, Moment

LINES = 20
# with --since, what counts is the time
MAX_LINES = 10000


@click.command("logs")
@click.argument("services", metavar="SERVICE...", nargs=-1, required=True, shell_complete=complete_services)
@click.option(
    "-n", "--lines", type=click.IntRange(0, MAX_LINES), help=f"Lines per task.  [default: {LINES}; all with --since]"
)
@click.option("--since", type=Moment(), metavar=DURATION_OR_TIME, help="Only lines from then on: 10m, 12:03:07, …")
@click.option("-f", "--follow", is_flag=True, help="Keep printing new lines.")
@common_options
def command(services: tuple[str, ...], lines: int | None, since: float | None, follow: bool) -> None:
    """Show the last log lines of services' tasks, each prefixed with the start of the task's ID.

    Tasks that have ended are marked, with the reason as far as ECS still knows it.
    """
    from .log_lines import LogPrinter
    from .log_stream import ends, follow_all

    lab = settings().lab(sources=False)
    target = settings().open_target(lab)
    names = list(dict.fromkeys(services))
    for name in names:
        check_has_tasks(lab, target, name)
    count = (LINES if since is None else MAX_LINES) if lines is None else lines
    when = "yet" if since is None else "since then"
    view = settings().view() if settings().as_json else None
    printer = LogPrinter(names, view, colourless=settings().colourless, when=when)
    if follow:
        for item in follow_all(lab, target, names, count, since):
            printer.stream(item)
        return
    tasks = ends(lab, target, names)
    printer.show({name: target.last_lines(name, count, since=since) for name in names}, tasks)
